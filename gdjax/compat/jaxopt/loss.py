"""`jaxopt.loss`: losses of one sample, the label first, by optax, which takes the prediction first.

Labels of the binary losses are 0 or 1; `jax.vmap` makes them losses of many samples.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gdjax.penalties.sets import mixed

sparse_plus = jax.nn.sparse_plus
sparse_sigmoid = jax.nn.sparse_sigmoid


def signed(label: Any, score: Any) -> jax.Array:
    """-1 or 1 for 0 or 1, in the dtype of the score."""
    return jnp.where(jnp.asarray(label) > 0, 1, -1).astype(jnp.result_type(score))


def huber_loss(target: Any, pred: Any, delta: float = 1.0) -> jax.Array:
    """Squares up to ``delta``, linear beyond. Target and prediction may be integers."""
    pred = jnp.asarray(pred, jnp.result_type(float, pred, target))
    return optax.losses.huber_loss(pred, target, delta=delta)


def binary_logistic_loss(label: Any, logit: Any) -> jax.Array:
    """``log(1 + exp(-s logit))``, s = -1 or 1."""
    return jax.nn.softplus(-signed(label, logit) * logit)


def binary_hinge_loss(label: Any, score: Any) -> jax.Array:
    """``max(0, 1 - s score)``."""
    return optax.losses.hinge_loss(score, signed(label, score))


def binary_perceptron_loss(label: Any, score: Any) -> jax.Array:
    """``max(0, -s score)``."""
    return optax.losses.perceptron_loss(score, signed(label, score))


def binary_sparsemax_loss(label: Any, logit: Any) -> jax.Array:
    """The sparse analogue of the logistic loss."""
    return sparse_plus(-signed(label, logit) * logit)


def multiclass_logistic_loss(label: Any, logits: Any) -> jax.Array:
    """Cross entropy of a softmax."""
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(label))


def multiclass_hinge_loss(label: Any, scores: Any) -> jax.Array:
    """Crammer and Singer's: ``max_k (score_k + [k is not the label]) - score of the label``."""
    hit = jax.nn.one_hot(label, jnp.shape(scores)[-1], dtype=jnp.result_type(scores))
    return jnp.max(scores + 1 - hit, axis=-1) - jnp.sum(scores * hit, axis=-1)


def multiclass_perceptron_loss(label: Any, scores: Any) -> jax.Array:
    """The largest score less that of the label."""
    hit = jax.nn.one_hot(label, jnp.shape(scores)[-1], dtype=jnp.result_type(scores))
    return jnp.max(scores, axis=-1) - jnp.sum(scores * hit, axis=-1)


def multiclass_sparsemax_loss(label: Any, scores: Any) -> jax.Array:
    """The sparse analogue of cross entropy."""
    with mixed():
        return optax.losses.multiclass_sparsemax_loss(scores[None], jnp.asarray(label)[None])[0]


def make_fenchel_young_loss(max_fun: Callable[..., Any]) -> Callable[..., jax.Array]:
    """``loss(y_true, scores) = max_fun(scores) - <y_true, scores>``."""
    made = optax.losses.make_fenchel_young_loss(max_fun)
    return lambda y_true, scores, *args, **kwargs: made(scores, y_true, *args, **kwargs)
