"""Data and parameters over several devices and processes: same answers, and no more communication than needed.

The devices are simulated, which must be asked for before JAX starts: each test runs scripts of its own.
"""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys

MODES = [False]  # the scripts choose their own precision

EXAMPLE = pathlib.Path(__file__).parent.parent / "examples" / "sharded_regression.py"

# Prints, for parameters sharded over the first axis of their leaves, what became of their sharding, the shapes of
# L-BFGS's memory on one device, and the number of entries of every array that is communicated.
SHARDED_PARAMS = """
import json, re
import jax, jax.numpy as jnp, numpy as np, optax
import gdjax
from jax.sharding import NamedSharding, PartitionSpec

mesh = jax.make_mesh((4,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
put = lambda a: jax.device_put(a, NamedSharding(mesh, PartitionSpec("x")))
one, two = jnp.zeros((64, 2)), {"a": jnp.zeros(64), "b": jnp.zeros((32, 2))}
adam = gdjax.Optax(optax.adam, learning_rate=0.1)
cases = {"lbfgs": (gdjax.LBFGS(memory=5), one), "lbfgs, two leaves": (gdjax.LBFGS(memory=5), two),
         "conjugate gradients": (gdjax.ConjugateGradient(), one), "optax, two leaves": (adam, two)}
kinds = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"

def loss(p):
    scale = lambda x: 1 + jnp.arange(x.shape[0]).astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1)) / 8
    return sum(jnp.sum(scale(x) * (x - 1) ** 2) for x in jax.tree.leaves(p))

report = {}
for name, (method, start) in cases.items():
    solve = jax.jit(lambda p: gdjax.minimize(loss, p, method=method))
    compiled = solve.lower(jax.tree.map(put, start)).compile()
    sharded, alone = compiled(jax.tree.map(put, start)), solve(start)
    text = compiled.as_text()
    sent = re.findall(rf"= (.*?) (?:{kinds})(?:-start)?\\(", text)
    shapes = [s for t in sent for s in re.findall(r"\\[([\\d,]*)\\]", t)]
    pairs = zip(jax.tree.leaves(jax.device_get(sharded.params)), jax.tree.leaves(alone.params))
    report[name] = dict(
        converged=sharded.converged and alone.converged,
        difference=max(float(jnp.max(jnp.abs(a - b))) for a, b in pairs),
        still_sharded=all(tuple(x.sharding.spec)[:1] == ("x",) for x in jax.tree.leaves(sharded.params)),
        memory=sorted({int(n) for n in re.findall(r"f32\\[10,(\\d+)\\]", text)}),
        largest_sent=max(int(np.prod([int(n) for n in s.split(",") if n])) for s in shapes),
    )
print(json.dumps(report))
"""


# Prints, for problems on the second device, and spread over both, where the results are and what they are.
MANY = """
import jax, jax.numpy as jnp, numpy as np
import gdjax
from jax.sharding import NamedSharding, PartitionSpec

mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
loss = lambda p, center: jnp.sum((p - center) ** 2)
for place in (jax.devices()[1], NamedSharding(mesh, PartitionSpec("x"))):
    centers = jax.device_put(jnp.arange(8.0), place)
    axes, method = (None, 0), gdjax.GradientDescent(0.4)
    result = gdjax.minimize_many(loss, np.zeros(2), centers, in_axes=axes, method=method)
    error = abs(result.params - np.arange(8.0)[:, None]).max()
    print(sorted(d.id for d in result.params.devices()), bool(result.converged.all()), float(error) < 1e-3)
"""


def run(arguments, devices=1):
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(process):
    try:
        out, err = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return out


def answer(text):
    """Communication counted, and the fit as printed."""
    counts = {kind: int(n) for kind, n in re.findall(r"'([a-z-]+)': (\d+)", text)}
    return counts, text[text.index("w =") :]


def test_data_over_four_devices_or_two_processes_takes_one_all_reduce_and_gives_the_same_fit():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    counts, fit = answer(output(run([EXAMPLE])))
    assert not any(counts.values())
    assert "CONVERGED" in fit
    only_one = {kind: int(kind == "all-reduce") for kind in counts}
    assert answer(output(run([EXAMPLE], devices=4))) == (only_one, fit)
    options = ["--coordinator", address, "--processes", 2, "--process"]
    processes = [run([EXAMPLE, *options, i]) for i in (0, 1)]
    first, second = [output(p) for p in processes]
    assert "2 processes, 2 devices" in first
    assert answer(first) == (only_one, fit)
    assert "w =" not in second


def test_parameters_over_four_devices_stay_there_with_the_memory():
    report = json.loads(output(run(["-c", SHARDED_PARAMS], devices=4)).splitlines()[-1])
    for name, found in report.items():
        assert found["converged"], name
        assert found["difference"] < 1e-4, name
        assert found["still_sharded"], name
    for name in ("lbfgs", "lbfgs, two leaves"):
        assert max(report[name]["memory"]) == 32  # a quarter of 128 on each device
    for name in ("lbfgs", "conjugate gradients", "optax, two leaves"):
        assert report[name]["largest_sent"] <= 20, name  # scalars and products with the memory, no vector of 128
    assert report["lbfgs, two leaves"]["largest_sent"] == 64  # to be joined, leaves change devices: one leaf at a time


def test_many_problems_are_solved_where_they_are():
    assert output(run(["-c", MANY], devices=2)).splitlines() == ["[1] True True", "[0, 1] True True"]
