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

import pytest

MODES = [False]  # the scripts choose their own precision

EXAMPLE = pathlib.Path(__file__).parent.parent / "examples" / "sharded_regression.py"

# Prints, for parameters that are spread over the first axis of one leaf and the last of another, what became of their
# sharding, the shapes of L-BFGS's memory on one device, and what is communicated: kind, sizes, what for.
SHARDED_PARAMS = """
import json, math, re
import jax, jax.numpy as jnp, optax
import gdjax
from gdjax.running.programs import descend
from gdjax.request import prepare
from jax.sharding import AxisType, NamedSharding, PartitionSpec

def loss(p):
    scale = lambda x: 1 + jnp.arange(x.shape[0]).astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1)) / 8
    return sum(jnp.sum(scale(x) * (x - 1) ** 2) for x in jax.tree.leaves(p))

def program(start, method):  # with its arguments
    key, arrays = prepare(loss, start, (), method=method).split()
    return descend.lower(key, False, arrays).compile(), arrays

def under_jit(start, method):
    return jax.jit(lambda p: gdjax.minimize(loss, p, method=method)).lower(start).compile(), start

lbfgs, adam = gdjax.LBFGS(memory=5), gdjax.Optax(optax.adam, learning_rate=0.1)
descent = gdjax.GradientDescent(gdjax.BarzilaiBorwein())
cases = {"lbfgs": (AxisType.Auto, program, lbfgs),
         "lbfgs, explicit axes, under jit": (AxisType.Explicit, under_jit, lbfgs),
         "conjugate gradients": (AxisType.Auto, program, gdjax.ConjugateGradient()),
         "trust region": (AxisType.Auto, program, gdjax.TrustRegion()),
         "gradient descent": (AxisType.Auto, program, descent), "optax": (AxisType.Auto, program, adam)}
sent = re.compile(r"= (.*?) (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\\(")
shape = re.compile(r"\\[([\\d,]*)\\]")
alone, report = {"a": jnp.zeros(64), "b": jnp.zeros((3, 32))}, {}
for name, (axes, make, method) in cases.items():
    mesh = jax.make_mesh((4,), ("x",), axis_types=(axes,))
    put = lambda a, *spec: jax.device_put(a, NamedSharding(mesh, PartitionSpec(*spec)))
    compiled, given = make({"a": put(alone["a"], "x"), "b": put(alone["b"], None, "x")}, method)
    result, one = compiled(given), gdjax.minimize(loss, alone, method=method)
    text = compiled.as_text()
    size = lambda shape: math.prod(int(n) for n in shape.split(",") if n)
    pairs = zip(jax.tree.leaves(jax.device_get(result.params)), jax.tree.leaves(one.params))
    report[name] = dict(
        converged=result.converged and one.converged,
        difference=max(float(jnp.max(jnp.abs(a - b))) for a, b in pairs),
        spread=[str(x.sharding.spec) for x in jax.tree.leaves(result.params)],
        memory=sorted(set(re.findall(r"f32\\[10,[\\d,]+\\]", text))),
        sent=[(kind, [size(s) for s in shape.findall(shapes)]) for shapes, kind in sent.findall(text)],
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

# Prints, for steps of one's own on data and on params over four devices, and inside a shard_map, whether they are those
# of one device, and where the params are. In a shard_map each shard fits its own data, unless the loss sums over them.
OWN_LOOP = """
import jax, jax.numpy as jnp, numpy as np, optax
import gdjax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

mesh = jax.make_mesh((4,), ("x",), axis_types=(AxisType.Auto,))
place = NamedSharding(mesh, P("x"))
loss = lambda w, x: jnp.mean((x - w[:1]) ** 2) + jnp.mean((w - 1) ** 2)
everywhere = lambda w, x: jax.lax.pmean(loss(w, x), "x")
x, w = jnp.arange(8.0), jnp.zeros(8)

def five(loss, w, x, method, new_data):
    state = gdjax.init(loss, w, x, method=method)
    go = lambda state, _: (gdjax.step(loss, state, x, new_data=new_data), None)
    return jax.lax.scan(go, state, None, length=5)[0]

for method, new_data in ((gdjax.LBFGS(), False), (gdjax.Optax(optax.adam, learning_rate=0.1), True)):
    wanted = five(loss, w, x, method, new_data).params
    near = lambda a, b=wanted: bool(np.allclose(a, b, rtol=1e-3))
    data = five(loss, w, jax.device_put(x, place), method, new_data).params
    both = five(loss, jax.device_put(w, place), jax.device_put(x, place), method, new_data).params
    inside = lambda loss: jax.jit(jax.shard_map(
        lambda x: five(loss, w, x, method, new_data).params[None], mesh=mesh, in_specs=P("x"), out_specs=P("x")))(x)
    own = [five(loss, w, x[2 * i : 2 * i + 2], method, new_data).params for i in range(4)]
    print(near(data), near(both), str(both.sharding.spec)[:5], near(inside(everywhere)[3]),
          near(inside(loss), jnp.stack(own)))
"""

# Fits of data in pieces over explicit axes, in all ways in which residuals are used.
EXPLICIT_FITS = """
import json
import jax, jax.numpy as jnp, numpy as np
import gdjax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

x = np.linspace(0, 4, 32, dtype=np.float32)
y = (2 * np.exp(-0.7 * x) + 0.05 * np.cos(9 * x)).astype(np.float32)
model = lambda p, x: p["a"] * jnp.exp(-p["b"] * x)
misfit = lambda p, x, y: model(p, x) - y
start = {"a": 1.0, "b": 1.0}
fit = lambda x, y, **options: gdjax.curve_fit(model, start, x, y, **options)
errors = lambda fit: fit.flat_errors
ways = {
    "estimates": lambda x, y: fit(x, y).flat,
    "HC3": lambda x, y: errors(fit(x, y, cov_type="HC3")),
    "mask": lambda x, y: errors(fit(x, y, mask=np.arange(32) != 3)),
    "derivative": lambda x, y: jax.grad(lambda y: fit(x, y).params["b"])(y),
    "profile": lambda x, y: np.array(gdjax.profile(misfit, fit(x, y), x, y, parameter="b").interval),
    "many": lambda x, y: gdjax.curve_fit_many(model, start, x, jnp.stack([y, y])).flat,
}
want = {name: np.asarray(way(x, y)) for name, way in ways.items()}
mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Explicit,))
jax.set_mesh(mesh)
pieces = [jax.device_put(a, NamedSharding(mesh, PartitionSpec("d"))) for a in (x, y)]
apart = lambda a, b: float(np.max(np.abs(np.asarray(a) - b)) / np.max(np.abs(b)))
print(json.dumps({name: apart(way(*pieces), want[name]) for name, way in ways.items()}))
"""


def run(arguments, devices=1):
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
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


@pytest.mark.sweep
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


@pytest.mark.sweep
def test_parameters_over_four_devices_stay_there_and_only_sums_are_exchanged():
    report = json.loads(output(run(["-c", SHARDED_PARAMS], devices=4)).splitlines()[-1])
    for name, found in report.items():
        assert found["converged"], name
        assert found["difference"] < 1e-3, name
        assert found["spread"][0] == "P('x',)", name
        assert found["spread"][1].startswith("P(None, 'x'"), name
        assert {kind for kind, _ in found["sent"]} == {"all-reduce"}, name
        assert max(max(sizes) for _, sizes in found["sent"]) <= 10, name  # scalars, and W g
    for name in ("lbfgs", "lbfgs, explicit axes, under jit"):
        sent = [sizes for _, sizes in report[name]["sent"]]
        memory = {"f32[10,16]", "f32[10,3,8]"}
        assert memory <= set(report[name]["memory"]), name  # a quarter of each leaf on each device,
        assert not {"f32[10,64]", "f32[10,3,32]"} & set(report[name]["memory"]), name  # and nowhere the whole
        # Slope and other sums at the point, with the value of the loss; the largest entry of the gradient; the products
        # of the memory with the gradient; and those of the new direction, which needs them. A fifth is in a branch that
        # is taken where the descent makes no progress: the share of the gradient's entries that is left.
        assert len(sent) == 5, name
        assert [sizes for sizes in sent if max(sizes) > 1] == [[10] * 2], name  # for each of two leaves


def test_many_problems_are_solved_where_they_are():
    assert output(run(["-c", MANY], devices=2)).splitlines() == ["[1] True True", "[0, 1] True True"]


@pytest.mark.sweep
def test_steps_of_ones_own_are_the_same_over_four_devices_and_in_a_shard_map():
    lines = output(run(["-c", OWN_LOOP], devices=4)).splitlines()
    assert lines == ["True True P('x' True True"] * 2


@pytest.mark.sweep
def test_fits_of_data_on_a_mesh_with_explicit_axes_are_those_of_the_data():
    apart = json.loads(output(run(["-c", EXPLICIT_FITS], devices=2)))
    assert len(apart) == 6
    assert max(apart.values()) < 2e-3, apart
