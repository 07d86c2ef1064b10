"""Many data sets at once: lane for lane what curve_fit gives; what a mask leaves out counts for nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status

MODES = [True]

X = np.linspace(0.0, 4.0, 24)
RANDOM = np.random.default_rng(4)
DECAYS = np.array([0.8, 1.0, 1.3, 1.6])
Y = 2.0 * np.exp(-DECAYS[:, None] * X) + 0.3 + RANDOM.normal(0.0, 0.02, (4, 24))
SIGMA = RANDOM.uniform(0.5, 2.0, (4, 24))
USE = RANDOM.uniform(size=(4, 24)) < 0.6
HOLES = np.where(USE, Y, np.nan)
START = {"height": 1.0, "rate": 1.0, "base": 0.0}


def decay(p, x):
    return p["height"] * jnp.exp(-p["rate"] * x) + p["base"]


def slopes(p, x):
    e = jnp.exp(-p["rate"] * x)
    return {"height": e, "rate": -p["height"] * x * e, "base": jnp.ones_like(x)}


def assert_lane_is(fits, i, one):
    """The same fit, with the same errors."""
    assert fits[i].status is one.status is Status.CONVERGED
    assert int(fits.freedom[i]) == int(one.freedom)
    for a, b in (
        (fits[i].params, one.params),
        (fits[i].standard_errors, one.standard_errors),
        (fits[i].intervals()[0], one.intervals()[0]),
        (fits.reduced_chi2[i], one.reduced_chi2),
    ):
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5)


HOW = {
    "masks and sigmas": dict(mask=USE, sigma=SIGMA),
    "one mask, absolute sigmas": dict(mask=USE[0], sigma=SIGMA, absolute_sigma=True),
    "masks, one sigma, HC3, own Jacobian": dict(mask=USE, sigma=SIGMA[0], cov_type="HC3", jac=slopes),
    "masks, a robust loss": dict(mask=USE, robust=gdjax.Huber(0.03)),
}


@pytest.mark.sample("masks and sigmas")
@pytest.mark.parametrize("options", HOW.values(), ids=HOW.keys())
def test_lane_for_lane_the_fit_of_the_data_that_the_mask_leaves(options):
    y = np.where(options["mask"], Y, np.nan)
    fits = gdjax.curve_fit_many(decay, START, X, y, **options)
    i, shared = 2, {"mask": 1, "sigma": 1}
    own = {k: v[i] if k in shared and v.ndim == 2 else v for k, v in options.items()}
    one = gdjax.curve_fit(decay, START, X, y[i], **own)
    assert_lane_is(fits, i, one)
    assert jax.tree.structure(fits) == jax.tree.structure(one)
    keep = own.pop("mask")
    own |= {"sigma": own["sigma"][keep]} if "sigma" in own else {}
    assert_lane_is(fits, i, gdjax.curve_fit(decay, START, X[keep], y[i][keep], **own))
    counts = np.broadcast_to(options["mask"], Y.shape).sum(axis=1)
    np.testing.assert_array_equal(fits.freedom, counts - 3)
    assert (fits.status == Status.CONVERGED).all()


@pytest.mark.sweep
def test_residuals_made_zero_count_as_data_and_a_mask_does_not():
    """What the function is for: with a third of the data the errors of the zeros are too small by half."""
    few = np.arange(24) % 3 == 0
    fits = gdjax.curve_fit_many(decay, START, X, Y, mask=few)
    zeros = lambda p, x, y: jnp.where(few, decay(p, x) - y, 0)
    wrong = gdjax.least_squares_many(zeros, START, X, Y, in_axes=(None, None, 0))
    assert (fits.status == Status.CONVERGED).all()
    assert (wrong.status == Status.CONVERGED).all()
    np.testing.assert_allclose(fits.params["rate"], wrong.params["rate"], rtol=1e-6)
    ratio = fits.standard_errors["rate"] / wrong.standard_errors["rate"]
    np.testing.assert_allclose(ratio, np.sqrt((24 - 3) / (8 - 3)), rtol=1e-5)


@pytest.mark.sweep
@pytest.mark.parametrize("absolute", [False, True])
def test_a_pixel_with_too_few_data_has_no_error_bars_and_troubles_nobody(absolute):
    use = USE.copy()
    use[0], use[1] = False, np.arange(24) < 2
    fits = gdjax.curve_fit_many(decay, START, X, np.where(use, Y, np.nan), mask=use, absolute_sigma=absolute)
    assert (fits.freedom[:2] <= 0).all()
    assert jnp.isnan(fits.reduced_chi2[:2]).all()
    errors = np.stack(list(fits.standard_errors.values()), axis=-1)
    assert np.isnan(errors[0]).all()
    assert np.isnan(errors[1]).any() if absolute else np.isnan(errors[1]).all()
    assert not np.isnan(errors[2:]).any()
    assert (fits.status[2:] == Status.CONVERGED).all()
    assert (fits[0].status, fits[0].converged) == (Status.NO_DATA, False)
    assert "the mask leaves no data" in str(fits[0])
    np.testing.assert_array_equal(fits[0].flat, [0.0, 1.0, 1.0])  # where it started


@pytest.mark.sweep
def test_starts_and_x_of_their_own_complex_data_and_traces():
    starts = {"height": np.full(4, 1.5), "rate": np.linspace(0.9, 1.4, 4), "base": 0.1}
    axes = {"height": 0, "rate": 0, "base": None}
    xs = np.stack([X, X + 0.1, X + 0.2, X + 0.3], axis=1)
    wave = lambda p, x: (1 + 2j) * decay(p, x).astype(complex)
    ys = np.asarray(jax.vmap(lambda rate, x: wave(dict(START, rate=rate), x), (0, 1))(DECAYS, xs)) + HOLES
    solve = lambda y: gdjax.curve_fit_many(wave, starts, xs, y, in_axes=(axes, 1), mask=USE)
    fits = solve(ys)
    one = gdjax.curve_fit(wave, {"height": 1.5, "rate": starts["rate"][3], "base": 0.1}, xs[:, 3], ys[3], mask=USE[3])
    assert_lane_is(fits, 3, one)
    np.testing.assert_array_equal(fits.freedom, 2 * USE.sum(axis=1) - 3)
    traced = jax.jit(lambda mask: gdjax.curve_fit_many(wave, starts, xs, ys, in_axes=(axes, 1), mask=mask))(USE)
    assert_lane_is(traced, 3, one)


def test_a_shared_mask_may_be_traced():
    solve = lambda mask: gdjax.curve_fit_many(decay, START, X, Y, mask=mask, max_steps=2)
    fits = jax.jit(solve)(USE[0])
    np.testing.assert_array_equal(fits.freedom, np.full(4, USE[0].sum() - 3))
    assert (fits.status == Status.MAX_STEPS).all()


WRONG = {
    "y has shape .24,.: it needs an axis of problems": dict(y=Y[0]),
    "there are no problems: y has shape .0, 24.": dict(y=Y[:0]),
    "x holds 24 problems .axis 0 of shape .24,.., y 4": dict(in_axes=(None, 0)),
    "in_axes must be an axis or a tuple": dict(in_axes=(None, None, 0)),
    "mask has shape .4,., y .24,.": dict(mask=np.ones(4, bool)),
    r"sigma has shape .4,., y .4, 24.: .* as sigma\[:, None\]": dict(sigma=np.ones(4)),
    "sigma has shape .24, 24., y .4, 24.": dict(sigma=np.eye(24)),
    "sigma must be positive": dict(sigma=-1.0),
    "no option 'p0'": dict(p0=[1.0]),
    "callback watches a single descent": dict(callback=print),
    "the model returned an array of shape .24,.; y has shape .23,.": dict(y=Y[:, 1:]),
}


@pytest.mark.parametrize("words", WRONG)
def test_what_does_not_fit_is_named(words):
    given = dict(y=Y) | WRONG[words]
    with pytest.raises((TypeError, ValueError), match=words):
        gdjax.curve_fit_many(decay, START, X, given.pop("y"), **given)


def test_what_a_mask_leaves_out_needs_no_sigma():
    hidden = np.where(USE, SIGMA, 0.0)
    one, other = (gdjax.curve_fit_many(decay, START, X, Y, mask=USE, sigma=s) for s in (SIGMA, hidden))
    assert (other.status == Status.CONVERGED).all()
    np.testing.assert_array_equal(one.flat, other.flat)
    with pytest.raises(ValueError, match="positive where the mask lets data count"):
        gdjax.curve_fit_many(decay, START, X, Y, mask=USE, sigma=0.0 * SIGMA)


def curve(p, x):
    return p["a"] * jnp.exp(-p["k"] * x)


TIMES, SIZES = np.linspace(0.0, 2.0, 9), np.array([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize("space", [None, {"k": gdjax.spaces.Positive()}])
def test_starts_of_each_curve_without_in_axes_are_told_apart(space):
    y = SIZES[:, None] * np.exp(-TIMES)
    with pytest.raises(Exception, match="incompatible shapes") as caught:
        gdjax.curve_fit_many(curve, {"a": SIZES, "k": 1.0}, TIMES, y, space=space)
    note = caught.value.__notes__[-1]
    assert "there are 4 problems, and in_axes says that all of them share params['a'] of shape (4,)" in note
    assert "in_axes=(0, None)" in note
    found = gdjax.curve_fit_many(curve, {"a": SIZES, "k": 1.0}, TIMES, y, in_axes=({"a": 0, "k": None}, None))
    assert found.converged.all()


def test_x_of_each_curve_without_in_axes_is_told_apart():
    y = SIZES[:, None] * np.exp(-TIMES)
    with pytest.raises(ValueError, match="the model returned an array of shape") as caught:
        gdjax.curve_fit_many(curve, {"a": 1.0, "k": 1.0}, np.tile(TIMES, (4, 1)), y)
    assert "all of them share args[0] of shape (4, 9)" in caught.value.__notes__[-1]


@pytest.mark.parametrize(
    ("in_axes", "words"),
    [
        (({"a": 0}, None), r"in_axes does not fit params: .* or one for each of params\['a'\], params\['k'\]"),
        ((None, None, 0), r"a tuple of two, \(params, x\)"),
    ],
)
def test_in_axes_that_do_not_fit_are_refused_in_words(in_axes, words):
    with pytest.raises(ValueError, match=words):
        gdjax.curve_fit_many(curve, {"a": SIZES, "k": 1.0}, TIMES, SIZES[:, None] * TIMES, in_axes=in_axes)
