"""Every map is a bijection with the slopes, determinant and gradient that it says, strictly inside its space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gdjax.spaces import (
    Above,
    Below,
    CorrelationCholesky,
    CovarianceCholesky,
    Fixed,
    Free,
    Interval,
    Ordered,
    Positive,
    Scaled,
    Simplex,
    UnitVector,
)

rng = np.random.default_rng(0)


def factor(n, correlation):
    """The Cholesky factor of a random covariance or correlation matrix."""
    a = rng.normal(size=(n, n))
    c = a @ a.T + 0.1 * np.eye(n)
    d = np.sqrt(np.diag(c)) if correlation else np.ones(n)
    return np.linalg.cholesky(c / d[:, None] / d)


direction = rng.normal(size=4)
direction /= np.linalg.norm(direction)
CASES = {
    "free": (Free(), rng.normal(size=3)),
    "positive": (Positive(), np.exp(rng.normal(size=(2, 3)))),
    "above": (Above(1.5), 1.5 + np.exp(rng.normal(size=3))),
    "above each": (Above(np.array([1.0, -2.0])), np.array([1.5, 0.0])),
    "below": (Below(-2.0), -2 - np.exp(rng.normal(size=3))),
    "interval": (Interval(-1.0, 3.0), rng.uniform(-1, 3, 4)),
    "scaled": (Scaled(np.array([2.0, 1e-9])), np.array([1.0, 2e-9])),
    "some fixed": (Fixed(np.array([True, False, False])), np.arange(3.0)),
    "simplex": (Simplex(), rng.dirichlet(np.ones(5), 2)),
    "ordered": (Ordered(), np.sort(rng.normal(size=(2, 4)))),
    "unit vector": (UnitVector(), direction),
    "covariance": (CovarianceCholesky(), factor(4, False)),
    "one variance": (CovarianceCholesky(), factor(1, False)),
    "correlation": (CorrelationCholesky(), factor(4, True)),
}
cases = pytest.mark.parametrize("name", CASES)
pytestmark = pytest.mark.float64


def bound(name):
    """The space, with what it takes from the start, and a point of it."""
    space, start = CASES[name]
    space.check("params", start)
    return space.bind(jnp.asarray(start)), jnp.asarray(start)


@pytest.mark.sample("positive", "simplex", "covariance")
@cases
def test_a_point_comes_back_from_its_free_numbers(name):
    space, u = bound(name)
    z = space.to_free(u)
    np.testing.assert_allclose(space.to_user(z), u, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(space.to_free(space.to_user(z + 0.3)), z + 0.3, rtol=1e-11, atol=1e-13)


@pytest.mark.sample("positive", "simplex", "correlation")
@cases
def test_the_gradient_by_the_parameter_belongs_to_that_by_the_free_numbers(name):
    space, u = bound(name)
    z = space.to_free(u)
    weights = jnp.asarray(rng.normal(size=u.shape))
    loss = lambda u: jnp.sum(weights * u + jnp.sin(u))
    by_free = jax.grad(lambda z: loss(space.to_user(z)))(z)
    found = space.grad_to_user(z, by_free)
    assert found.shape == u.shape
    np.testing.assert_allclose(jax.vjp(space.to_user, z)[1](found)[0], by_free, rtol=1e-9, atol=1e-12)
    if space.to_free(u).shape == u.shape and name != "correlation":  # nothing is lost
        np.testing.assert_allclose(found, jax.grad(loss)(u), rtol=1e-9, atol=1e-12)


@pytest.mark.sample("positive", "simplex", "correlation")
@cases
def test_the_determinant_is_that_of_the_slopes(name):
    space, u = bound(name)
    if name == "unit vector":
        pytest.skip("it has none: no density is asked for on a sphere")
    z = space.to_free(u)
    slopes = jax.jacfwd(space.to_user)(z).reshape(*u.shape, z.size)
    chosen = {
        "simplex": lambda s: s[:, :-1],
        "some fixed": lambda s: s[1:],
        "covariance": lambda s: s[np.tril_indices(4)],
        "correlation": lambda s: s[np.tril_indices(4, -1)],
    }.get(name, lambda s: s)(slopes)
    truth = np.linalg.slogdet(np.asarray(chosen).reshape(z.size, z.size))[1]
    np.testing.assert_allclose(space.log_det(z), truth, rtol=1e-10, atol=1e-12)


@pytest.mark.sample("float32")
@pytest.mark.parametrize("dtype", [np.float32, np.float64, "bfloat16"])
@pytest.mark.parametrize("far", [-2000.0, -150.0, -90.0, -30.0, 30.0, 80.0])
@pytest.mark.parametrize(
    ("space", "lower", "upper"),
    [
        (Positive(), 0, np.inf),
        (Above(1.0), 1, np.inf),
        (Below(-1.0), -np.inf, -1),
        (Interval(-1.0, 3.0), -1, 3),
        (Interval(0.0, 1e-30), 0, 1e-30),
    ],
)
def test_the_ends_are_never_reached(space, lower, upper, far, dtype):
    free = jnp.asarray([far], dtype)
    user, slope = jax.jvp(space.to_user, (free,), (jnp.ones_like(free),))
    assert np.isfinite(slope).all()
    assert user.dtype == free.dtype
    low, high = jnp.asarray(lower, dtype), jnp.asarray(upper, dtype)
    assert bool((user > low).all() and (user < high).all() | jnp.isinf(high)), user


def test_weights_stay_positive_and_finite_however_far():
    for dtype in (jnp.float32, jnp.float64):
        weights, slopes = jax.jvp(Simplex().to_user, (jnp.array([300.0, -2000.0], dtype),), (jnp.ones(2, dtype),))
        assert bool((weights > 0).all())
        assert bool(jnp.isfinite(slopes).all())
        assert abs(float(weights.sum()) - 1) < 1e-6


@pytest.mark.parametrize(
    ("space", "start", "words"),
    [
        (Positive(), 0.0, "not inside Positive"),
        (Positive(), np.array([1.0, -1.0]), "not inside Positive"),
        (Positive(), np.nan, "not inside Positive"),
        (Above(2.0), 2.0, "not inside Above"),
        (Below(2.0), 2.0, "not inside Below"),
        (Interval(0.0, 1.0), 1.0, "an end belongs to an infinite free number"),
        (Simplex(), np.array([0.5, 0.4]), "sum 1"),
        (Simplex(), np.array([1.0, 0.0]), "not 0"),
        (Simplex(), 1.0, "at least 2 entries"),
        (Ordered(), np.array([1.0, 1.0]), "above the one before"),
        (UnitVector(), np.array([1.0, 1.0]), "length must be 1"),
        (CovarianceCholesky(), np.ones((2, 2)), "0 above the diagonal"),
        (CovarianceCholesky(), np.ones(3), "square matrices"),
        (CorrelationCholesky(), 2 * np.eye(2), "rows must have length 1"),
        (Scaled(np.ones(3)), np.ones(2), "its scale has shape"),
        (Fixed(np.array([True, False])), np.ones(3), "its mask in Fixed"),
    ],
)
def test_a_start_that_is_not_inside_is_refused_in_words(space, start, words):
    with pytest.raises(ValueError, match=words):
        space.check("params['a']", start)


def test_numbers_that_make_no_space_are_refused():
    for make in (lambda: Interval(1.0, 1.0), lambda: Above(jnp.inf), lambda: Scaled(0.0)):
        with pytest.raises(ValueError, match=r"lower < upper|must be finite"):
            make()
    with pytest.raises(TypeError, match="must be of bools"):
        Fixed(np.array([0, 1]))
