"""The page for people who come from jaxopt: both sides of its table agree. (Its dialogues are doctests.)"""

import pathlib
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
import gdjax.compat.jaxopt as jaxopt

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "from_jaxopt.md"
ROWS = re.findall(r"^\| `(jaxopt\..*?\.run.*?)` \| `(gdjax\..*?)` \|$", PAGE.read_text(), re.MULTILINE)


def loss(x, a):
    return 0.5 * jnp.sum(jnp.array([1.0, 2.0, 4.0]) * (x - a) ** 2) + 0.1 * jnp.sum(x**4)


def residuals(x, a):
    return jnp.concatenate([x - a, 0.3 * x**2])


def own_prox(x, l1, scaling):
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - l1 * scaling, 0.0)


class OwnPenalty(NamedTuple):
    l1: float

    def prox(self, x, step):
        return own_prox(x, self.l1, step)


NAMES = dict(
    loss=loss, residuals=residuals, own_prox=own_prox, OwnPenalty=OwnPenalty, x0=jnp.full(3, 0.5),
    a=jnp.array([0.3, -1.0, 2.0]), jaxopt=jaxopt, gdjax=gdjax, jax=jax, optax=optax,
)  # fmt: skip


@pytest.mark.sample("0", "4")
@pytest.mark.parametrize("row", range(19))
def test_both_sides_of_the_table_agree(row):
    assert len(ROWS) == 19
    ours, native = (eval(text, dict(NAMES)) for text in ROWS[row])
    assert ours.state.result.converged
    assert native.converged or "max_evals" in ROWS[row][1]
    np.testing.assert_allclose(ours.params, native.params, atol=3e-3)
