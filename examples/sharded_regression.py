"""One regression on one device, on several, or on several processes: the same code.

The rows of the data are spread over all devices, the parameters are on each of them. XLA sees that the mean over the
rows needs one sum over the devices (an all-reduce of gradient and value, 12 numbers here) and puts it into the
compiled loop; no row ever leaves its device: the script counts the communication in the compiled program.

    python examples/sharded_regression.py                                          # one device
    XLA_FLAGS=--xla_force_host_platform_device_count=4 python examples/sharded_regression.py  # four simulated ones
    python examples/sharded_regression.py --coordinator localhost:9999 --processes 2 --process 0 &
    python examples/sharded_regression.py --coordinator localhost:9999 --processes 2 --process 1

On a cluster (SLURM, Cloud TPU, Open MPI) start the script once on each node with ``--cluster``: JAX finds the rest.
"""

import argparse
import re

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import gdjax

ROWS, FEATURES = 4096, 10
TRUTH = np.linspace(-1.0, 1.0, FEATURES)


def rows(begin, end):
    """Some rows of the data; a real program reads them from its own part of the files."""
    x = np.stack([np.random.default_rng(i).standard_normal(FEATURES + 1) for i in range(begin, end)])
    return x[:, :-1], x[:, :-1] @ TRUTH + 2.0 + 0.1 * x[:, -1]


def spread_data():
    """Features and target as arrays over all devices; each process makes only the rows of its own devices."""
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    over_rows = NamedSharding(mesh, PartitionSpec("data"))
    here = ROWS // jax.process_count()
    x, y = rows(jax.process_index() * here, (jax.process_index() + 1) * here)
    make = jax.make_array_from_process_local_data
    return make(over_rows, x, (ROWS, FEATURES)), make(over_rows, y, (ROWS,))


def loss(params, x, y):
    """Mean squared error, with a slight penalty."""
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2) + 1e-4 * jnp.sum(params["w"] ** 2)


def fit(x, y):
    """The fit; the parameters are on every device."""
    return gdjax.minimize(loss, {"w": jnp.zeros(FEATURES), "b": jnp.zeros(())}, x, y, tol=1e-8)


def collectives(x, y):
    """How often each kind of communication between devices occurs in the compiled program."""
    text = jax.jit(fit).lower(x, y).compile().as_text()
    kinds = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
    return {kind: len(re.findall(rf"= .*\b{kind}(?:-start)?\(", text)) for kind in kinds}


def main():
    """Start the processes if asked, fit, report from the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coordinator", help="address of process 0, such as localhost:9999")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--cluster", action="store_true", help="let JAX find the processes")
    args = parser.parse_args()
    if args.cluster:
        jax.distributed.initialize()
    elif args.processes > 1:
        jax.distributed.initialize(args.coordinator, args.processes, args.process)
    x, y = spread_data()
    found = collectives(x, y)
    result = jax.block_until_ready(fit(x, y))
    if jax.process_index() == 0:
        print(f"{jax.process_count()} processes, {jax.device_count()} devices, {ROWS} rows")
        print(f"communication in the compiled loop: {found}")
        print(f"w = {np.asarray(result.params['w']).round(6)}, b = {float(result.params['b']):.6f}")
        print(result)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
