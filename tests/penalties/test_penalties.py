"""Every prox is the minimiser it claims to be; projections land in their sets; errors name what is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from penalty_cases import FUNCTIONS, SETS
from scipy.optimize import lsq_linear

from gdjax import penalties
from gdjax.penalties import (
    L1,
    L2,
    AffineSet,
    Box,
    BoxSection,
    ElasticNet,
    L2Ball,
    NonNegative,
    NuclearNorm,
    Simplex,
    TotalVariation1D,
    by_leaf,
)


def points(count, x64, seed=0):
    dtype = np.float64 if x64 else np.float32
    return np.random.default_rng(seed).standard_normal((count, 2, 3)).astype(dtype) * 2


def run(penalty, x, u):
    """prox of x, and of that, at step 0.6; values at x, there, at u and next to it; in one compiled call."""

    @jax.jit
    def everything(x, u):
        prox, value = jax.vmap(lambda v, t: penalty.prox(v, t), (0, None)), jax.vmap(penalty.value)
        z = prox(x, 0.6)
        near = z + 1e-3 * u
        values = value(jnp.concatenate([x, z, u, near])).reshape(4, -1)
        return z, prox(z, 0.6), near, values

    return jax.tree.map(np.asarray, everything(x, u))


@pytest.mark.parametrize("penalty", FUNCTIONS.values(), ids=FUNCTIONS)
def test_prox_is_the_minimiser(penalty, x64):
    """(x - z) / step is a subgradient at z: g(u) >= g(z) + <x - z, u - z> / step for all u, near or far."""
    x, u = points(8, x64), points(8, x64, 1)
    z, _, near, (_, at_z, at_u, at_near) = run(penalty, x, u)
    tol = 1e-12 if x64 else 1e-5
    assert (at_u[None] - at_z[:, None] - np.einsum("kij,klij->kl", x - z, u[None] - z[:, None]) / 0.6 >= -tol).all()
    assert (at_near - at_z - np.sum((x - z) * (near - z), (1, 2)) / 0.6 >= -tol).all()  # where it is sharp
    assert not np.allclose(z, x)


@pytest.mark.parametrize("penalty", SETS.values(), ids=SETS)
def test_projection_lands_in_the_set_at_the_nearest_point(penalty, x64):
    x, u = points(8, x64), points(8, x64, 1)
    x[0] = np.array([50, -50, 50])
    tol = 1e-12 if x64 else 2e-5
    z, again, _, (at_x, at_z, _, _) = run(penalty, np.concatenate([x, u]), np.concatenate([u, x]))
    assert at_x[0] == np.inf
    assert (at_z == 0).all()
    np.testing.assert_allclose(again, z, atol=tol)  # idempotent
    zx, zu = z[:8], z[8:]
    length = lambda d: np.linalg.norm(d.reshape(8, -1), axis=1)
    assert (length(zx - zu) <= length(x - u) + tol).all()  # nonexpansive
    # every other point of the set is on the far side: <x - z, v - z> <= 0
    assert (np.einsum("kij,klij->kl", x - zx, zu[None] - zx[:, None]) <= 100 * tol).all()


def test_boxes_hold_to_the_last_bit(x64):
    dtype = np.float64 if x64 else np.float32
    lower, upper = dtype(0.1), dtype(0.3)
    for penalty in (Box(lower, upper), BoxSection(np.array([1.0, 3.0, 7.0]), 2.0, lower, upper)):
        z = jax.jit(lambda v, p=penalty: p.prox(v, 1.0))(np.array([-1.0, 0.2, 5.0], dtype))
        assert (np.asarray(z) >= lower).all()
        assert (np.asarray(z) <= upper).all()
    if x64:  # a bound of more digits than the parameters have is rounded inwards
        z = Box(np.float64(0.1), np.float64(0.3)).prox(jnp.array([-1.0, 1.0], jnp.float32), 1.0)
        assert float(z[0]) >= 0.1
        assert float(z[1]) <= 0.3


def test_total_variation_against_its_dual_solved_by_scipy(x64):
    rng = np.random.default_rng(0)
    prox = jax.jit(lambda y, s: TotalVariation1D(s).prox(y, 1.0))
    difference = np.diff(np.eye(12), axis=0)
    for k in range(12):
        y = rng.standard_normal(12).cumsum() if k % 2 else np.round(3 * rng.standard_normal(12))
        strength = [0.01, 0.3, 1.0, 20.0][k % 4]
        dual = lsq_linear(difference.T, y, (-strength, strength), method="bvls", tol=1e-14)
        want = y - difference.T @ dual.x
        np.testing.assert_allclose(prox(y if x64 else y.astype(np.float32), strength), want, atol=1e-9 if x64 else 2e-5)


@pytest.mark.float64
def test_complex_entries_lose_modulus_and_keep_their_phase():
    x = jnp.array([3 + 4j, 0.3j, 0], jnp.complex64)
    np.testing.assert_allclose(L1(1.0).prox(x, 1.0), [(3 + 4j) * 0.8, 0, 0], atol=1e-6)
    np.testing.assert_allclose(L2(1.0).prox(x, 1.0), np.asarray(x) * (1 - 1 / np.linalg.norm(x)), atol=1e-6)
    assert NuclearNorm(1.0).prox(x[None], 1.0).dtype == jnp.complex64
    with pytest.raises(TypeError, match="for real parameters"):
        Box(0.0).prox(x, 1.0)


def test_pytrees_prefixes_and_leaves_left_alone():
    x = {"w": jnp.array([3.0, -0.2]), "b": [jnp.array(2.0), jnp.array([-5.0])]}
    z = by_leaf({"w": L1(1.0), "b": [None, NonNegative()]}).prox(x, 1.0)
    np.testing.assert_allclose(z["w"], [2.0, 0.0])
    assert (float(z["b"][0]), float(z["b"][1][0])) == (2.0, 0.0)
    assert by_leaf({"w": Box(0.0), "b": None}).is_box
    lower, upper = by_leaf({"w": Box(0.0), "b": None}).bounds(x)
    assert (float(lower["w"][0]), float(upper["b"][1][0])) == (0.0, np.inf)
    clipped = Box({"w": 0.0, "b": None}, 2.5).prox(x, 1.0)
    np.testing.assert_allclose(clipped["w"], [2.5, 0.0])
    assert float(clipped["b"][1][0]) == -5.0


def test_entries_left_out_have_no_penalty_and_unknown_ones_are_named():
    x = {"w": jnp.array([3.0]), "b": {"c": jnp.array([2.0]), "d": jnp.array([-1.0])}}
    penalty = by_leaf({"b": {"d": NonNegative()}})
    z = penalty.prox(x, 1.0)
    assert [float(leaf[0]) for leaf in (z["w"], z["b"]["c"], z["b"]["d"])] == [3, 2, 0]
    assert float(penalty.bounds(x)[0]["w"][0]) == -np.inf
    with pytest.raises(ValueError, match="penalty has an entry 'v', but params has not"):
        by_leaf({"v": NonNegative()}).prox(x, 1.0)


def test_lists_of_numbers_are_arrays_where_a_parameter_is_one():
    np.testing.assert_allclose(Box([0, 0.5], [1, 2]).prox(jnp.array([-3.0, 3.0]), 1.0), [0, 2])
    np.testing.assert_allclose(L1([[1.0, 0.0]]).prox(jnp.array([[3.0, 3.0]]), 1.0), [[2, 3]])
    z = Box({"a": [0.0, 1.0]}).prox({"a": jnp.zeros(2)}, 1.0)
    np.testing.assert_allclose(z["a"], [0, 1])
    pair = Box([0.0, 1.0]).prox([jnp.zeros(2), jnp.zeros(2)], 1.0)  # for each leaf its own
    np.testing.assert_allclose(pair, [[0, 0], [1, 1]])


@pytest.mark.float64
def test_leaves_of_size_zero():
    x = {"a": jnp.array([3.0, 1.0]), "e": jnp.zeros((0, 3)), "f": jnp.zeros((2, 0))}
    np.testing.assert_allclose(Simplex().prox(x, 1.0)["a"], [1, 0])
    rows = by_leaf({"a": Simplex(axis=-1), "e": Simplex(axis=-1)})
    np.testing.assert_allclose(rows.prox(x, 1.0)["a"], [1, 0])
    assert float(rows.value(rows.prox(x, 1.0))) == 0
    assert float(Simplex().value(Simplex().prox(x, 1.0))) == 0
    for axis in (0, 1):
        smooth = TotalVariation1D(1.0, axis=axis)
        assert smooth.prox({"e": x["e"], "f": x["f"]}, 1.0)["f"].shape == (2, 0)
        assert float(smooth.value({"e": x["e"], "f": x["f"]})) == 0


def test_zero_vectors_make_no_nan():
    for penalty in (FUNCTIONS["L2"], FUNCTIONS["GroupLasso"], SETS["L1Ball"], SETS["L2Ball"], SETS["BoxSection"]):
        assert np.isfinite(penalty.prox(jnp.zeros((2, 3)), 1.0)).all()
        assert np.isfinite(penalty.prox(jnp.zeros((2, 3)), 0.0)).all()


@pytest.mark.float64
def test_large_equal_numbers_keep_the_scale_of_the_simplex():
    np.testing.assert_allclose(Simplex().prox(jnp.full(4, 1e7, jnp.float32), 1.0), 0.25)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: L1(-1.0), ValueError, "strength must not be negative"),
        (lambda: L1("strong"), TypeError, "strength must be a number"),
        (lambda: ElasticNet(1.0, -1.0), ValueError, "l2 must not be negative"),
        (lambda: Box(2.0, 1.0), ValueError, "lower must not be above upper"),
        (lambda: Box(np.nan), ValueError, "lower must not be NaN"),
        (lambda: Simplex(0.0), ValueError, "scale must be positive"),
        (lambda: L2Ball(-1.0), ValueError, "radius must be positive"),
        (lambda: AffineSet(np.ones((2, 3)), np.array([1.0, 2.0])), ValueError, "no x satisfies"),
        (lambda: AffineSet(np.ones(3), np.ones(1)), ValueError, "must have shapes"),
        (lambda: by_leaf({"w": L1}), TypeError, "pytree of penalties holds penalties and None"),
        (lambda: Box(np.zeros(3)).prox(jnp.zeros(2), 1.0), ValueError, "lower has shape"),
        (lambda: L1({"a": 1.0}).prox({"b": jnp.zeros(2)}, 1.0), ValueError, "strength must be a number, an array or"),
        (lambda: NuclearNorm(1.0).prox(jnp.zeros(3), 1.0), ValueError, "needs matrices"),
        (lambda: TotalVariation1D(1.0).prox(jnp.zeros(()), 1.0), TypeError, "real arrays with an axis"),
    ],
)
def test_errors_name_what_is_wrong(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_everything_public_is_tested_here():
    tested = {type(p).__name__ for p in [*FUNCTIONS.values(), *SETS.values()]} | {"Penalty", "by_leaf"}
    assert set(penalties.__all__) <= tested
