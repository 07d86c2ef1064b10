"""implicit=False: the run itself is differentiated, whatever the method, in both modes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import GradientDescent, Status
from gdjax.jaxtools.forward_jacobian import piecewise
from gdjax.penalties import L1, Box

MODES = [True]  # finite differences

RNG = np.random.default_rng(0)
A, Y = RNG.standard_normal((20, 4)), RNG.standard_normal(20)
W = np.array([1.0, -2.0, 0.5, 3.0])


def ridge(w, strength, y):
    return jnp.mean((jnp.asarray(A) @ w - y) ** 2) + strength * jnp.sum(w**2)


def fit(strength, y, method=None, **options):
    return gdjax.minimize(ridge, jnp.zeros(4), strength, y, method=method, **options)


def score(w):
    return jnp.sum(jnp.sin(w) * jnp.asarray(W))


def by_hand(strength, w, rate):
    for _ in range(5):
        w = w - rate * jax.grad(ridge)(w, strength, jnp.asarray(Y))
    return score(w)


@pytest.mark.sweep
def test_unrolled_steps_are_differentiated_themselves():
    def unrolled(strength, w, rate):
        options = dict(method=GradientDescent(rate), max_steps=5, tol=0.0, implicit=False)
        result = gdjax.minimize(ridge, w, strength, jnp.asarray(Y), **options)
        return score(result.params), result

    args = jnp.asarray(0.1), jnp.ones(4), jnp.asarray(0.1)
    ours, result = jax.grad(unrolled, (0, 1, 2), has_aux=True)(*args)
    assert (int(result.code), int(result.num_steps)) == (Status.MAX_STEPS, 5)
    for a, b in zip(ours, jax.grad(by_hand, (0, 1, 2))(*args), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    adam = lambda s: score(fit(s, jnp.asarray(Y), method=optax.adam(0.1), max_steps=5, tol=0.0, implicit=False).params)
    np.testing.assert_allclose(jax.grad(adam)(0.1), jax.jvp(adam, (0.1,), (1.0,))[1], rtol=1e-4)


def test_unrolling_takes_the_same_steps_and_stops_by_the_same_tests():
    y = jnp.asarray(Y)
    options = dict(method=gdjax.LBFGS(), max_evals=60)
    looped, unrolled = fit(0.1, y, **options), fit(0.1, y, implicit=False, **options)
    assert (looped.status, unrolled.status) == (Status.CONVERGED,) * 2
    np.testing.assert_allclose(looped.params, unrolled.params, rtol=1e-5)
    assert int(looped.num_evals) == int(unrolled.num_evals)
    assert fit(0.1, y, max_evals=2, implicit=False).status == Status.MAX_EVALS


def test_unrolling_needs_a_number_of_evaluations():
    with pytest.raises(ValueError, match="implicit=False unrolls a fixed number of evaluations: give max_evals"):
        fit(0.1, jnp.asarray(Y), method=None, max_steps=5, implicit=False)
    with pytest.raises(ValueError, match="give max_evals as a Python number"):
        jax.jit(lambda n: fit(0.1, jnp.asarray(Y), max_evals=n, implicit=False).value)(5)


def valley(p, t, bent):
    """Bent: not defined beyond p = 1 / t. Not bent: the gradient is exactly zero at the minimum, t."""
    inside = lambda x: -jnp.log(jnp.where(bent > 0, x, 1))
    barrier = jnp.sum(inside(1 - p * t) + inside(1 + p)) + 3 * t * jnp.sum(p) + 5 * (p[1] - t * p[0] ** 2) ** 2
    return jnp.where(bent > 0, barrier, jnp.sum((p - t) ** 2))


METHODS = {
    "lbfgs": (gdjax.LBFGS(memory=2), None),
    "bfgs, weak wolfe": (gdjax.BFGS(line_search=gdjax.WeakWolfe()), None),
    "cg, hager zhang": (gdjax.ConjugateGradient(line_search=gdjax.HagerZhang()), None),
    "barzilai borwein": (GradientDescent(gdjax.BarzilaiBorwein()), None),
    "accelerated": (gdjax.AcceleratedGradient(), None),
    "trust region": (gdjax.TrustRegion(), None),
    "lbfgs in a box": (gdjax.LBFGS(memory=2), lambda t: Box(-0.4 * t, 1.0)),
    "panoc": (gdjax.PANOC(memory=2), lambda t: L1(0.1 * t)),
    "fista": (gdjax.AcceleratedProximalGradient(), lambda t: L1(0.1 * t)),
}


@pytest.mark.sweep
@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_searches_has_the_derivative_of_what_it_computes_in_reverse(name):
    method, penalty = METHODS[name]

    @jax.jit
    def both(t, p, bent):
        def total(t, p):
            options = dict(method=method, penalty=penalty and penalty(t), max_evals=9, tol=0.0, implicit=False)
            result = gdjax.minimize(valley, p, t, bent, **options)
            return jnp.sin(result.params) @ jnp.asarray([1.0, -2.0]) + result.value, result.num_evals

        return jax.value_and_grad(total, (0, 1), has_aux=True)(t, p)

    start, h = jnp.asarray([0.3, 0.89]), 1e-6
    value = lambda t, p: both(t, p, 1.0)[0][0]
    (_, evals), (by_t, by_p) = both(1.1, start, 1.0)
    assert evals == 9
    np.testing.assert_allclose(by_t, (value(1.1 + h, start) - value(1.1 - h, start)) / (2 * h), rtol=1e-5)
    bump = jnp.asarray([0.0, h])
    np.testing.assert_allclose(by_p[1], (value(1.1, start + bump) - value(1.1, start - bump)) / (2 * h), rtol=1e-5)
    assert by_p[1] != 0
    for end in (jnp.zeros(2), jnp.full(2, 0.75)):  # at the second the first gradient is exactly zero
        assert np.isfinite(np.concatenate([np.ravel(g) for g in both(0.75, end, 0.0)[1]])).all()


@pytest.mark.sweep
def test_the_step_of_a_search_is_part_of_the_derivative():
    """One step of steepest descent on a quadratic: alpha = g'g / g'Hg, itself a function of the start."""
    scale = jnp.asarray([1.0, 4.0])

    def found(p):
        loss = lambda w: 0.5 * jnp.sum(scale * w**2)
        method = GradientDescent(gdjax.Backtracking(initial=5.0))
        return gdjax.minimize(loss, p, method=method, max_evals=3, tol=0.0, implicit=False)

    def by_hand(p):
        g = scale * p
        return p - g @ g / (g @ (scale * g)) * g

    p = jnp.asarray([2.0, 0.02])
    assert found(p).num_steps == 1
    np.testing.assert_allclose(found(p).params, by_hand(p), rtol=1e-9)
    np.testing.assert_allclose(jax.jacrev(lambda p: found(p).params)(p), jax.jacobian(by_hand)(p), rtol=1e-6, atol=1e-9)


@pytest.mark.sweep
def test_second_derivatives_of_what_chooses_between_pieces():
    def broken(x, n):  # sqrt(x) x^n where x > 0
        return {"value": jnp.where(x > 0, jnp.sqrt(x) * x**n, 0), "count": n + 1}

    value = lambda x: piecewise(broken)(x, jnp.asarray(1, jnp.int32))["value"]
    smooth = lambda x: x**1.5
    for derive in (jax.grad, lambda f: jax.grad(jax.grad(f)), jax.hessian, lambda f: jax.jacfwd(jax.jacfwd(f))):
        np.testing.assert_allclose(derive(value)(0.3), derive(smooth)(0.3), rtol=1e-12)
        assert derive(value)(0.0) == 0
    np.testing.assert_allclose(jax.vmap(jax.grad(value))(jnp.asarray([0.3, 0.0])), [jax.grad(smooth)(0.3), 0])
    assert piecewise(broken)(jnp.asarray(4.0), 1)["count"] == 2
