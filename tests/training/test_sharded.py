"""Rows over two devices, on axes that JAX may use as it likes and on explicit ones: the numbers of one device."""

import json
import os
import subprocess
import sys

import pytest

MODES = [False]

SCRIPT = """
import json
import jax, jax.numpy as jnp, numpy as np, optax
import gdjax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
y = x @ np.array([1.0, -2.0, 0.5], np.float32)
loss = lambda w, rows: jnp.mean((rows["x"] @ w - rows["y"]) ** 2)
start, report = jnp.zeros(3), []
kinds = {"validation": lambda d: dict(validation=d), "share": lambda d: dict(validation=0.2),
         "in order": lambda d: dict(shuffle=False)}
for kind, options in kinds.items():
    train = lambda d: gdjax.train(loss, start, d, batch_size=8, epochs=2, method=optax.adam(1e-2), **options(d))
    want = train({"x": x, "y": y})
    for axes in (AxisType.Auto, AxisType.Explicit):
        mesh = jax.make_mesh((2,), ("i",), axis_types=(axes,))
        spread = jax.device_put({"x": x, "y": y}, NamedSharding(mesh, P("i")))
        found = train(spread)
        same = np.allclose(found.params, want.params, atol=1e-6) and np.allclose(found.value, want.value, rtol=1e-4)
        report.append([kind, str(axes), found.status.name, bool(same), len(found.params.devices())])
        if kind == "in order":
            for chunk in (10, 7):
                total = gdjax.mean_over(loss, spread, chunk=chunk)
                fit = gdjax.minimize(total, jax.device_put(start, NamedSharding(mesh, P())))
                right = np.allclose(fit.params, [1.0, -2.0, 0.5], atol=1e-3)
                report.append([f"chunks of {chunk}", str(axes), fit.status.name, bool(right), 2])
print(json.dumps(report))
"""


@pytest.mark.sweep
def test_rows_over_two_devices_give_the_training_and_the_sums_of_one():
    flags = dict(XLA_FLAGS="--xla_force_host_platform_device_count=2", JAX_PLATFORMS="cpu")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=os.environ | flags, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert len(report) == 10
    for kind, axes, status, same, devices in report:
        assert status == ("CONVERGED" if kind.startswith("chunks") else "EPOCHS_DONE"), (kind, axes)
        assert same, (kind, axes)
        assert devices == 2, (kind, axes)
