"""Small descents of every kind, each held against the minimum that is known: what must be right on any device."""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gdjax
from benchmarks.losses import rosenbrock
from gdjax import penalties
from gdjax.vectors import vector

CENTER = (1.5, 0.2, -1.0)


def bowl(x: jax.Array) -> jax.Array:
    """Condition number 10, minimum 0 at 1."""
    return 0.5 * jnp.sum(jnp.linspace(1.0, 10.0, x.size, dtype=x.dtype) * (x - 1) ** 2)


def squares(x: jax.Array) -> jax.Array:
    """Half the squared distance from `CENTER`."""
    return 0.5 * jnp.sum((x - jnp.asarray(CENTER)) ** 2)


def distance(x: jax.Array, center: jax.Array) -> jax.Array:
    """Quartic, and condition number 4: minimum 0 at the center."""
    return jnp.sum(jnp.asarray([1.0, 4.0]) * (x - center) ** 2) + jnp.sum((x - center) ** 4)


def near(what: str, got: Any, want: Any, double: float, single: float) -> None:
    """Raise unless every number is so near, in float64 or in float32."""
    bound = double if jnp.zeros(()).dtype == jnp.float64 else single
    error = float(np.max(np.abs(np.asarray(got) - np.asarray(want)), initial=0))
    if not error <= bound:
        raise AssertionError(f"{what} is off by {error:.3g}, more than {bound:g}")


def converged(result: gdjax.Result) -> None:
    """Raise, with the message of the first that is not, unless all have."""
    for index in np.flatnonzero(~np.atleast_1d(np.asarray(result.converged))):
        raise AssertionError(str(result[index] if np.ndim(result.converged) else result))


def descent(method: Any, loss: Any = rosenbrock) -> None:
    """One of `minimize`, to a minimum where every entry is 1."""
    result = gdjax.minimize(loss, jnp.zeros(6), method=method, max_steps=20_000)
    converged(result)
    near("params", result.params, 1, 1e-4, 2e-2)


def tree() -> None:
    """Parameters of several shapes and dtypes, one complex."""
    start = {"a": jnp.zeros((2, 3)), "b": [jnp.zeros(2, jnp.complex64), jnp.zeros((), jnp.bfloat16)]}
    wide = lambda x: jnp.sum(jnp.abs(x - jnp.asarray(1, x.dtype)) ** 2).astype(jnp.float32)
    result = gdjax.minimize(lambda p: sum(wide(x) for x in jax.tree.leaves(p)), start)
    converged(result)
    for leaf in jax.tree.leaves(result.params):
        near("a leaf", leaf.astype(jnp.complex64), 1, 0.1, 0.1)


def penalised(penalty: Any, want: Any, method: Any = None) -> None:
    """The proximal point of `CENTER`."""
    result = gdjax.minimize(squares, jnp.full(3, 1 / 3), penalty=penalty, method=method)
    converged(result)
    near("params", result.params, want, 1e-5, 1e-3)


def vmapped(method: Any) -> None:
    """Lanes that end at different times."""
    starts = jnp.linspace(-1, 1, 32)[:, None] * jnp.ones(4)
    result = jax.jit(jax.vmap(lambda x: gdjax.minimize(rosenbrock, x, method=method)))(starts)
    converged(result)
    near("values", result.value, 0, 1e-8, 4)  # the other minimum of Rosenbrock-4 is at 3.7
    near("gradients", jax.vmap(jax.grad(rosenbrock))(result.params), 0, 1e-4, 1e-1)


def many(method: Any = None, **options: Any) -> None:
    """More problems than lanes."""
    centers = jnp.stack([jnp.linspace(-2, 2, 300), jnp.linspace(3, -1, 300) ** 2], axis=1)
    result = gdjax.minimize_many(distance, jnp.zeros(2), centers, in_axes=(None, 0), method=method, **options)
    converged(result)
    near("params", result.params, centers, 1e-4, 1e-2)


def many_penalised() -> None:
    """Each with the same penalty."""
    centers = jnp.linspace(-2, 2, 100)[:, None] * jnp.asarray([1.0, 0.5])
    loss = lambda x, center: 0.5 * jnp.sum((x - center) ** 2)
    result = gdjax.minimize_many(loss, jnp.zeros(2), centers, in_axes=(None, 0), penalty=penalties.L1(0.5))
    converged(result)
    near("params", result.params, jnp.sign(centers) * jnp.maximum(jnp.abs(centers) - 0.5, 0), 1e-5, 1e-3)


def multistart() -> None:
    """Both minima of a curve."""
    found = gdjax.multistart(lambda p: p**4 - 4 * p**2 + p, jnp.linspace(-2, 2, 9))
    near("the best value", np.min(np.asarray(found.best.value)), -5.444193, 1e-4, 1e-3)


def ridge(strength: jax.Array) -> jax.Array:
    """The first entry of a solution whose derivative is known: 3 / (1 + strength)."""
    return gdjax.minimize(lambda x: jnp.sum((x - 3) ** 2 + strength * x**2), jnp.zeros(2), tol=1e-8).params[0]


def implicit() -> None:
    """Both modes, twice, and under vmap."""
    at = jnp.asarray([0.5, 1.0])
    near("the derivative in reverse", jax.vmap(jax.grad(ridge))(at), -3 / (1 + at) ** 2, 1e-6, 1e-4)
    near("the derivative forward", jax.jacfwd(ridge)(at[0]), -3 / 1.5**2, 1e-6, 1e-4)
    near("the second derivative", jax.grad(jax.grad(ridge))(at[0]), 6 / 1.5**3, 1e-5, 1e-3)


def implicit_with_penalty() -> None:
    """By the strength of a penalty: 0 where the entry is 0."""
    solve = lambda strength: gdjax.minimize(squares, jnp.zeros(3), penalty=penalties.L1(strength)).params
    near("the derivative", jax.jacfwd(solve)(jnp.asarray(0.5)), jnp.asarray([-1.0, 0.0, 1.0]), 1e-6, 1e-4)


def resumed() -> None:
    """A descent that is stopped, and goes on from its checkpoint to the same end."""
    start = jnp.resize(jnp.asarray([-1.2, 1.0]), 6)
    whole = gdjax.minimize(rosenbrock, start, callback=lambda state: False, callback_every=5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "descent.npz"
        first = gdjax.minimize(
            rosenbrock, start, checkpoint=path, callback=lambda state: state.num_steps >= 10, callback_every=5
        )
        second = gdjax.resume(path, rosenbrock, start)
    if first.status != gdjax.Status.STOPPED_BY_CALLBACK:
        raise AssertionError(str(first))
    converged(second)
    near("the number of steps", second.num_steps, whole.num_steps, 0, 0)
    near("params", second.params, whole.params, 1e-12, 1e-6)


def recorded() -> None:
    """The history, and stepping by hand."""
    whole = gdjax.minimize(bowl, jnp.zeros(5), history=True)
    *_, last = gdjax.iterate(bowl, jnp.zeros(5))
    near("the last value", last.value, whole.value, 1e-12, 1e-6)
    near("the lowest value of the history", np.nanmin(np.asarray(whole.history.value)), whole.value, 1e-12, 1e-6)


def understood() -> None:
    """A saddle, and the way out."""
    valleys = lambda p: (p[0] ** 2 - 1) ** 2 + p[1] ** 2
    kind = gdjax.classify_critical_point(valleys, gdjax.minimize(valleys, jnp.zeros(2))).kind
    free = gdjax.minimize(valleys, jnp.zeros(2), escape_saddles=True)
    if kind.name != "SADDLE" or free.certificate.kind.name != "MINIMUM":
        raise AssertionError(f"{kind.name}, then {free.certificate.kind.name}")
    near("the value", free.value, 0, 1e-6, 1e-4)


def products() -> None:
    """Products with the memory of L-BFGS, as precise as their dtype: a GPU may round float32 to 10 bits."""
    rows, x = (np.random.default_rng(0).normal(size=shape) for shape in ((10, 5000), 5000))
    one, other = jnp.asarray(rows), jnp.asarray(x)
    near("W g", vector.products(one, other), rows @ x, 1e-10, 3e-3)
    near("c W", vector.combine(other[:10], one), x[:10] @ rows, 1e-12, 1e-5)


def least_squares(precision: str) -> None:
    """A linear fit with 300 x 40 numbers, whose loss asks for this precision, against its normal equations."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(300, 40)), rng.normal(size=300)
    x, y = jnp.asarray(a), jnp.asarray(b)
    loss = lambda w: 0.5 * jnp.mean((jnp.matmul(x, w, precision=precision) - y) ** 2)
    result = gdjax.minimize(loss, jnp.zeros(40))
    near("params", result.params, np.linalg.lstsq(a, b)[0], 1e-5, 1e-2)
    converged(result)


BACKTRACKING, SPECTRAL = (gdjax.GradientDescent(rule) for rule in (gdjax.Backtracking(), gdjax.BarzilaiBorwein()))
METHODS: dict[str, tuple[Any, ...]] = {
    "LBFGS": (gdjax.LBFGS(),),
    "LBFGS, Hager-Zhang": (gdjax.LBFGS(line_search=gdjax.HagerZhang()),),
    "LBFGS, 1000 variables": (gdjax.LBFGS(memory=5), lambda x: bowl(jnp.resize(x, 1000))),
    "BFGS": (gdjax.BFGS(),),
    "BFGS, weak Wolfe": (gdjax.BFGS(line_search=gdjax.WeakWolfe()),),
    "ConjugateGradient": (gdjax.ConjugateGradient(),),
    "TrustRegion": (gdjax.TrustRegion(),),
    "GradientDescent": (gdjax.GradientDescent(0.1), bowl),
    "momentum": (gdjax.GradientDescent(0.05, momentum=0.8, nesterov=True), bowl),
    "Backtracking": (BACKTRACKING, bowl),
    "BarzilaiBorwein": (SPECTRAL,),
    "AdaptiveStep": (gdjax.GradientDescent(gdjax.AdaptiveStep()), bowl),
    "PolyakStep": (gdjax.GradientDescent(gdjax.PolyakStep(0.0)), bowl),
    "AcceleratedGradient": (gdjax.AcceleratedGradient(), bowl),
    "optax.adam": (optax.adam(0.1), bowl),
}
BOX = penalties.Box(-0.5, 1.0)
CASES: dict[str, Callable[[], None]] = {
    "products with W": products,
    **{name: functools.partial(descent, *given) for name, given in METHODS.items()},
    "a pytree": tree,
    "Box": functools.partial(penalised, BOX, [1.0, 0.2, -0.5]),
    "Box, ProximalGradient": functools.partial(penalised, BOX, [1.0, 0.2, -0.5], gdjax.ProximalGradient()),
    "L1": functools.partial(penalised, penalties.L1(0.5), [1.0, 0.0, -0.5]),
    "L1, FISTA": functools.partial(penalised, penalties.L1(0.5), [1.0, 0, -0.5], gdjax.AcceleratedProximalGradient()),
    "Simplex": functools.partial(penalised, penalties.Simplex(), [1.0, 0.0, 0.0]),
    "vmap of LBFGS": functools.partial(vmapped, gdjax.LBFGS(memory=5)),
    "vmap of TrustRegion": functools.partial(vmapped, gdjax.TrustRegion()),
    "minimize_many": many,
    "minimize_many, LBFGS, small batches": functools.partial(many, gdjax.LBFGS(memory=4), batch_size=64),
    "minimize_many, L1": many_penalised,
    "multistart": multistart,
    "implicit derivatives": implicit,
    "implicit derivatives, L1": implicit_with_penalty,
    "checkpoint and resume": resumed,
    "history and iterate": recorded,
    "saddles": understood,
    "least squares, precision highest": functools.partial(least_squares, "highest"),
    "least squares, precision default": functools.partial(least_squares, "default"),
}
