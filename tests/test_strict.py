"""Every method works under JAX's strict switches, and in each shard of a `jax.shard_map`."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import gdjax
from gdjax import Status

SWITCHES = {
    "checking_leaks": jax.checking_leaks,
    "debug_infs": lambda: jax.debug_infs(True),
    "debug_nans": lambda: jax.debug_nans(True),
    "rank promotion": lambda: jax.numpy_rank_promotion("raise"),
    "transfer_guard": lambda: jax.transfer_guard("disallow"),
}
L1 = gdjax.penalties.L1(0.1)
METHODS = {
    "default": {},
    "Hager-Zhang": dict(method=gdjax.LBFGS(line_search=gdjax.HagerZhang())),
    "weak Wolfe": dict(method=gdjax.BFGS(line_search=gdjax.WeakWolfe())),
    "conjugate gradient": dict(method=gdjax.ConjugateGradient(line_search=gdjax.Backtracking())),
    "trust region": dict(method=gdjax.TrustRegion()),
    "backtracking": dict(method=gdjax.GradientDescent(gdjax.Backtracking(), momentum=0.5)),
    "Barzilai-Borwein": dict(method=gdjax.GradientDescent(gdjax.BarzilaiBorwein())),
    "accelerated": dict(method=gdjax.AcceleratedGradient()),
    "adam": dict(method=optax.adam(0.1)),
    "box": dict(penalty=gdjax.penalties.Box(-0.5, 0.5)),
    "space": dict(space=gdjax.spaces.Interval(-2.0, 3.0)),
    "PANOC": dict(penalty=L1),
    "FISTA": dict(penalty=L1, method=gdjax.AcceleratedProximalGradient()),
    "searched prox-gradient": dict(penalty=L1, method=gdjax.ProximalGradient(gdjax.Backtracking())),
}


def bowl(p, center):
    return jnp.sum((p - center) ** 2) + 0.1 * jnp.sum(p**4)


def by_hand(p, center):
    return 2 * (p - center) + 0.4 * p**3


@pytest.mark.sample("default", "space")
@pytest.mark.parametrize("options", METHODS.values(), ids=METHODS)
def test_a_descent_under_all_strict_switches(options):
    start, center = jnp.zeros(3), jnp.asarray(1.0)
    with contextlib.ExitStack() as stack:
        for switch in SWITCHES.values():
            stack.enter_context(switch())
        result = gdjax.minimize(bowl, start, center, **options)
    assert result.status == Status.CONVERGED


@pytest.mark.sample("adam")
@pytest.mark.float64
@pytest.mark.parametrize("options", [*METHODS.values(), dict(grad=by_hand)], ids=[*METHODS, "grad"])
def test_a_descent_in_each_shard(options):
    """With one shard, too, the types of what varies over an axis must agree."""
    mesh = jax.make_mesh((1,), ("i",))
    centers = jax.device_put(jnp.ones(1), NamedSharding(mesh, PartitionSpec("i")))

    def of_shard(centers):
        result = gdjax.minimize(bowl, jnp.zeros(3), centers[0], **options)
        return result.params[None], result.code[None]

    spec = PartitionSpec("i")
    params, codes = jax.jit(jax.shard_map(of_shard, mesh=mesh, in_specs=spec, out_specs=(spec, spec)))(centers)
    assert codes[0] == Status.CONVERGED
    alone = gdjax.minimize(bowl, jnp.zeros(3), 1.0, **options).params
    np.testing.assert_allclose(params[0], alone, rtol=1e-3)


@pytest.mark.float64
def test_a_descent_of_the_sum_over_shards():
    mesh, spec = jax.make_mesh((1,), ("i",)), PartitionSpec("i")
    data = jax.device_put(jnp.arange(4.0), NamedSharding(mesh, spec))
    of_all = lambda data: lambda p: jax.lax.psum(jnp.sum((p - data) ** 2), "i")
    solve = jax.shard_map(
        lambda data: gdjax.minimize(of_all(data), 0.0).params, mesh=mesh, in_specs=spec, out_specs=PartitionSpec()
    )
    assert float(jax.jit(solve)(data)) == pytest.approx(1.5, abs=1e-3)


TIMES = np.linspace(0.1, 2.0, 25, dtype=np.float32)
MEASURED = 1.5 * np.exp(-TIMES) + 0.05 * np.sin(40 * TIMES)
FITS = {
    "default": {},
    "box": dict(penalty=gdjax.penalties.Box(0.5, 3.0)),
    "robust": dict(robust=gdjax.Huber(0.05)),
    "HC3": dict(cov_type="HC3"),
    "acceleration": dict(method=gdjax.LevenbergMarquardt(acceleration=True)),
    "conjugate gradients": dict(method=gdjax.LevenbergMarquardt(solver="cg")),
}


def model(p, t):
    return p[0] * jnp.exp(-p[1] * t)


def misfit(p, t, y):
    return model(p, t) - y


def many_rows(p):
    """For the rules of matrices with more columns."""
    return jnp.concatenate([p - 2, 0.1 * (jnp.roll(p, 1) * p - 1)])


@pytest.mark.sample("default")
@pytest.mark.parametrize("options", FITS.values(), ids=FITS)
def test_a_fit_under_all_strict_switches(options):
    start, data = jnp.ones(2), (jnp.asarray(TIMES), jnp.asarray(MEASURED))
    with contextlib.ExitStack() as stack:
        for switch in SWITCHES.values():
            stack.enter_context(switch())
        fit = gdjax.least_squares(misfit, start, *data, **options)
    assert fit.status == Status.CONVERGED


@pytest.mark.sweep
def test_what_a_fit_tells_without_rank_promotion():
    box = gdjax.penalties.Box(np.full(2, 0.5, np.float32), np.full(2, 3.0, np.float32))
    shared = dict(in_axes=(None, None, 0))
    with jax.numpy_rank_promotion("raise"):
        fit = gdjax.curve_fit(model, jnp.ones(2), TIMES, MEASURED, sigma=0.1, mask=TIMES > 0.2, cov_type="HC1")
        found = gdjax.multistart(misfit, box, TIMES, MEASURED, by=gdjax.least_squares, num_starts=4)
        some = gdjax.profile(misfit, found.best, TIMES, MEASURED, parameter=1)
        fits = gdjax.least_squares_many(
            misfit, jnp.ones(2), TIMES, MEASURED[None] * np.ones((3, 1), np.float32), **shared
        )
        larger = [gdjax.least_squares(many_rows, jnp.ones(n), cov_type="HC1") for n in (10, 40)]
        known = gdjax.least_squares_many(misfit, jnp.ones(2), TIMES, MEASURED[None], absolute_sigma=True, **shared)
        assert known.band(model, TIMES)[1].shape == (1, 25)
        told = fit.band(model, TIMES), fits.derived(lambda p: 2 * p).intervals(), fits.intervals(), str(fit), str(found)
    assert fit.converged
    assert found.best.converged
    assert all(x.converged for x in larger)
    assert np.all(fits.converged)
    assert some.lower < found.best.params[1] < some.upper
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(told[:3]))
