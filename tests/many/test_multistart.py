"""The best of many starts: minima are told apart and counted, and what did not converge is no minimum."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import GradientDescent, Status
from gdjax.starts import make_starts

MODES = [True]  # positions of minima to many digits
HIMMELBLAU = np.array([[3.0, 2.0], [-2.805118, 3.131312], [-3.779310, -3.283186], [3.584428, -1.848126]])


def himmelblau(p, lift=0.0):
    """Four minima of value 0 (D. Himmelblau, 1972); with a lift the left ones lie higher."""
    return (p[0] ** 2 + p[1] - 11) ** 2 + (p[0] + p[1] ** 2 - 7) ** 2 - lift * p[0]


def corner(key):
    return jax.random.uniform(key, (2,), minval=-5.0, maxval=5.0)


RATE = dict(method=GradientDescent(0.003), tol=1e-8)


def test_all_minima_are_found_and_counted():
    found = gdjax.multistart(himmelblau, corner, num_starts=200, **RATE)
    assert found.results.converged.all()
    assert found.minima.value.shape == (4,)
    order = np.argsort(found.minima.params[:, 0])
    want = HIMMELBLAU[np.argsort(HIMMELBLAU[:, 0])]
    np.testing.assert_allclose(found.minima.params[order], want, atol=1e-5)
    nearest = np.argmin(np.linalg.norm(found.results.params[:, None] - want, axis=2), axis=1)
    np.testing.assert_array_equal(found.minima.count[order], np.bincount(nearest))
    np.testing.assert_array_equal(found.minima.value, found.results.value[found.minima.lane])


def test_the_best_is_the_lowest_and_minima_are_sorted():
    found = gdjax.multistart(himmelblau, corner, 1.0, num_starts=200, key=jax.random.key(3), **RATE)
    assert found.best.status is Status.CONVERGED
    assert float(found.best.value) == found.minima.value[0] == float(found.results.value.min())
    assert (np.diff(found.minima.value) > 0.1).all()
    np.testing.assert_allclose(found.best.params, [3.58, -1.85], atol=0.1)
    text = str(found)
    head = "         value  reached    params[0]    params[1]\n"
    assert text.startswith(f"200 starts: 200 came to rest, at 4 distinct minima.\n{head}")
    assert f"{found.minima.count[0]:7d}  {found.best.params[0]:11.5g}  {found.best.params[1]:11.5g}\n" in text
    np.testing.assert_array_equal(np.bincount(found.reached), found.minima.count)
    np.testing.assert_allclose(found.results.value, found.minima.value[found.reached], rtol=1e-3)
    assert "The best: CONVERGED: after" in text


@pytest.mark.sweep
@pytest.mark.parametrize(("length", "height"), [(1e-6, 1e9), (1e6, 1e-9)])
def test_in_other_units_the_same_minima(length, height):
    starts = np.random.default_rng(0).uniform(-5, 5, (60, 2))
    scaled = lambda p, length, height: height * himmelblau(p / length, 1.0)
    one = gdjax.multistart(scaled, starts, 1.0, 1.0, method=gdjax.BFGS(), tol=1e-8)
    other = gdjax.multistart(scaled, starts * length, length, height, method=gdjax.BFGS(), tol=1e-8)
    assert len(one.minima.value) == len(other.minima.value) == 4
    np.testing.assert_allclose(other.minima.params / length, one.minima.params, rtol=1e-4)
    assert one.minima.count.sum() == other.minima.count.sum() == 60


def test_coarser_ideas_of_distinct_merge_minima():
    starts = np.random.default_rng(0).uniform(-5, 5, (60, 2))
    count = lambda distinct: len(gdjax.multistart(himmelblau, starts, distinct=distinct, **RATE).minima.value)
    assert [count(d) for d in (1e-3, 0.5, 1.0)] == [4, 3, 1]


def half_open(p):
    """A minimum of 0 at -1; on the right it falls below that for ever."""
    return jnp.where(p < 0, (p + 1) ** 2, 1 - p)


def test_what_did_not_converge_is_no_minimum_and_is_counted():
    starts = np.array([-3.0, -0.5, 2.0, -2.0, 4.0, jnp.nan])
    found = gdjax.multistart(half_open, starts, method=GradientDescent(0.3), max_steps=50)
    assert found.minima.value.shape == (1,)
    assert found.minima.count.tolist() == [3]
    np.testing.assert_allclose(found.minima.params, [-1], atol=1e-6)
    assert found.best.status is Status.CONVERGED
    text = str(found)
    assert "6 starts: 3 came to rest, at 1 distinct minimum; 3 did not: 2 MAX_STEPS, 1 NONFINITE_START." in text
    assert "Among those that did not converge results[4] is lower: -18 (MAX_STEPS)." in text


def test_where_none_converges_there_are_no_minima():
    found = gdjax.multistart(half_open, np.array([3.0, 5.0, jnp.nan]), method=GradientDescent(0.3), max_steps=5)
    assert found.minima.value.shape == (0,)
    assert found.best.status is Status.MAX_STEPS
    assert float(found.best.value) == float(found.results.value[1])
    assert str(found).startswith("3 starts: 0 came to rest, at 0 distinct minima; 3 did not")


@pytest.mark.sweep
def test_maxima_of_a_tree_of_complex_and_real_params():
    def loss(p):
        return -(jnp.abs(p["z"] ** 2 + 1) ** 2) - jnp.sum((p["x"] - 1) ** 2)

    def sampler(key):
        a, b, c = jax.random.split(key, 3)
        z = jax.lax.complex(jax.random.uniform(a, minval=-1.0), 2 * jax.random.uniform(b, minval=-1.0))
        return {"z": z, "x": jax.random.normal(c, (2,))}

    found = gdjax.multistart(loss, sampler, num_starts=20, key=1, maximize=True, method=gdjax.BFGS())
    assert found.results.converged.all()
    np.testing.assert_allclose(np.sort(found.minima.params["z"].imag), [-1, 1], atol=1e-4)
    np.testing.assert_allclose(found.minima.params["x"], 1, atol=1e-4)
    assert found.minima.count.sum() == 20
    assert "at 2 distinct maxima" in str(found)


def test_starts_all_equal_are_one_minimum():
    found = gdjax.multistart(himmelblau, np.ones((5, 2)), **RATE)
    assert found.minima.count.tolist() == [5]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (dict(starts=corner), "a sampler needs num_starts"),
        (dict(starts=corner, num_starts=0), "a sampler needs num_starts"),
        (dict(starts=np.ones((3, 2)), num_starts=3), "num_starts is for a sampler or a box"),
        (dict(starts=gdjax.penalties.Box(0.0, 1.0)), "a box needs num_starts"),
        (dict(starts=gdjax.penalties.Box(0.0, np.inf), num_starts=3), "has two finite ends"),
        (dict(starts=gdjax.penalties.Box(0.0), num_starts=3), "has two finite ends"),
        (dict(starts={"a": gdjax.penalties.Box(0.0, 1.0), "b": 3.0}, num_starts=3), "a pytree of boxes alone"),
        (dict(starts=np.ones((3, 2)), p0=[1.0], by=gdjax.curve_fit), "multistart has no p0"),
        (dict(starts=np.ones((3, 2)), by=gdjax.maximize), "by must be gdjax.minimize, gdjax.least_squares"),
        (dict(starts=np.ones((3, 2)), in_axes=0), "multistart has no in_axes"),
        (dict(starts=np.ones((3, 2)), distinct=-1.0), "distinct must be"),
        (dict(starts=gdjax.penalties.Box(0.0, 1.0), n_starts=20), "no option 'n_starts'; is num_starts meant"),
        (dict(starts=gdjax.penalties.Box(0.0, 1.0), num_starts=2, maxiter=3), "maxiter: max_steps="),
        (dict(starts=np.float64(1.0)), "params has shape"),
        (dict(starts=np.ones((3, 2)), callback=print), "callback watches a single descent"),
    ],
)
def test_what_does_not_fit_is_named(given, words):
    with pytest.raises((TypeError, ValueError), match=words):
        gdjax.multistart(himmelblau, given.pop("starts"), **given)


def test_not_inside_a_trace():
    with pytest.raises(ValueError, match="multistart counts distinct minima in Python"):
        jax.jit(lambda starts: gdjax.multistart(himmelblau, starts).best.params)(np.ones((3, 2)))


@pytest.mark.sweep
def test_leaves_of_size_zero_and_keys_in_aux():
    valleys = lambda p, key: (jnp.sum(p["x"] ** 4 - 4 * p["x"] ** 2 + p["x"]), jax.random.fold_in(key, 1))
    starts = {"x": jnp.linspace(-2, 2, 7), "none": jnp.zeros((7, 0))}
    found = gdjax.multistart(valleys, starts, jax.random.key(3), has_aux=True)
    assert found.best.status == Status.CONVERGED
    np.testing.assert_allclose(found.minima.value, [-5.444, -2.619], atol=1e-3)
    assert found.best.params["none"].shape == (0,)
    same = jax.random.key_data(jax.random.fold_in(jax.random.key(3), 1))
    np.testing.assert_array_equal(jax.random.key_data(found.best.aux), same)


T = np.linspace(0, 4, 30)
SUM = 2.0 * np.exp(-0.4 * T) + 1.0 * np.exp(-2.5 * T) + 0.003 * np.cos(50 * T)


def two_terms(p, t):
    return p["size"][0] * jnp.exp(-p["rate"][0] * t) + p["size"][1] * jnp.exp(-p["rate"][1] * t)


BOXES = {"size": gdjax.penalties.Box(np.zeros(2), 3 * np.ones(2)), "rate": gdjax.penalties.Box(np.zeros(2), np.ones(2))}


@pytest.mark.sweep
def test_fits_whose_terms_have_changed_places_are_one_fit():
    found = gdjax.multistart(two_terms, BOXES, T, SUM, by=gdjax.curve_fit, num_starts=24, sigma=0.01)
    assert type(found.best) is type(found.results) is gdjax.Fit
    assert found.best.status == Status.CONVERGED
    assert np.isfinite(found.best.covariance).all()
    np.testing.assert_allclose(np.sort(found.best.params["rate"]), [0.4, 2.5], rtol=0.02)
    there = found.minima.group == 0
    assert there.sum() == 2
    one, other = found.minima.params["rate"][there]
    np.testing.assert_allclose(one, other[::-1], rtol=1e-6)
    assert found.best_count == found.minima.count[there].sum() > found.minima.count.max()
    text = str(found)
    assert (
        f", the best of them reached from {found.best_count} starts: the residuals of the others are the same" in text
    )
    assert re.search(r"value +reached +group +rate\[0\] +rate\[1\] +size\[0\] +size\[1\]\n", text)
    assert "with parameters that have changed places, or that the data do not determine." in text
    assert "std. error" in text


def test_fits_along_a_flat_direction_are_one_fit():
    product = lambda p, t: p[0] * p[1] * t
    starts = np.random.default_rng(0).uniform(0.5, 2.0, (12, 2))
    found = gdjax.multistart(lambda p, t, y: product(p, t) - y, starts, T, SUM, by=gdjax.least_squares)
    assert found.results.converged.all()
    assert len(found.minima.value) > 5
    assert found.minima.group.tolist() == [0] * len(found.minima.value)
    assert found.best_count == 12


def test_losses_of_one_value_may_be_one_minimum():
    found = gdjax.multistart(himmelblau, corner, num_starts=40, **RATE)
    assert found.minima.group.tolist() == [0] * 4
    assert found.best_count == found.minima.count[0]
    words = "They have 1 value between them: some may be one, its parameters relabelled, or in a flat valley."
    assert words in str(found)
    lifted = gdjax.multistart(himmelblau, corner, 1.0, num_starts=40, **RATE)
    assert lifted.minima.group.tolist() == [0, 1, 2, 3]
    assert "between them" not in str(lifted)


def test_starts_in_a_box_are_one_in_each_part_of_each_range():
    box = gdjax.penalties.Box({"a": np.zeros(3), "b": -1.0}, {"a": np.array([1.0, 2.0, 3.0]), "b": 1.0})
    starts = make_starts(box, 16, 0)
    assert starts["a"].shape == (16, 3)
    assert starts["b"].shape == (16,)
    for entry, low, high in [*((starts["a"][:, i], 0, i + 1) for i in range(3)), (starts["b"], -1, 1)]:
        parts = np.floor((np.asarray(entry) - low) / (high - low) * 16)
        assert sorted(parts) == list(range(16))
    again = make_starts({"a": gdjax.penalties.Box(0.0, 1.0)}, 16, jax.random.key(1))
    assert not np.array_equal(np.argsort(again["a"]), np.argsort(starts["b"]))


@pytest.mark.sweep
def test_many_points_of_one_fit_do_not_hide_the_others():
    x = np.linspace(0, 5, 30)
    wave = lambda p, x, y: p["a"] * p["b"] * jnp.sin(p["pulse"] * x) - y
    box = {name: gdjax.penalties.Box(0.5, high) for name, high in (("a", 2.0), ("b", 2.0), ("pulse", 5.0))}
    found = gdjax.multistart(wave, box, x, np.sin(2 * x), by=gdjax.least_squares, num_starts=40)
    assert (np.bincount(found.minima.group) > 3).any()
    table = str(found).split("The best")[0]
    groups = [line.split()[2] for line in table.splitlines()[2:] if not line.startswith("and")]
    assert groups.count("0") == 3
    assert len(set(groups)) > 1
    assert re.search(r"value +reached +group +a +b +pulse\n", table)
    np.testing.assert_array_equal(found.results.converged, found.reached >= 0)
