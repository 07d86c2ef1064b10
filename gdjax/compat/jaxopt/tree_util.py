"""`jaxopt.tree_util`: arithmetic on pytrees, most of it by `optax.tree`."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import optax

tree_map = jax.tree.map
tree_reduce = jax.tree.reduce
tree_add = optax.tree.add
tree_sub = optax.tree.sub
tree_mul = optax.tree.mul
tree_div = optax.tree.div
tree_sum = optax.tree.sum
tree_scalar_mul = optax.tree.scale
tree_add_scalar_mul = optax.tree.add_scale
tree_zeros_like = optax.tree.zeros_like
tree_ones_like = optax.tree.ones_like
tree_conj = optax.tree.conj
tree_real = optax.tree.real
tree_where = optax.tree.where


def tree_vdot(tree_x: Any, tree_y: Any) -> jax.Array:
    """The inner product; complex for complex trees."""
    return jax.tree.reduce(operator.add, jax.tree.map(jnp.vdot, tree_x, tree_y))


def tree_vdot_real(tree_x: Any, tree_y: Any) -> jax.Array:
    """Its real part."""
    return jnp.real(tree_vdot(tree_x, tree_y))


def tree_dot(tree_x: Any, tree_y: Any) -> Any:
    """``jnp.dot`` leaf by leaf."""
    return jax.tree.map(jnp.dot, tree_x, tree_y)


def tree_l2_norm(tree_x: Any, squared: bool = False) -> jax.Array:
    """The Euclidean norm, or its square."""
    return optax.tree.norm(tree_x, squared=squared)


def tree_inf_norm(tree_x: Any) -> jax.Array:
    """The largest modulus."""
    return optax.tree.norm(tree_x, ord="inf")


def tree_negative(tree: Any) -> Any:
    """Minus the tree."""
    return jax.tree.map(operator.neg, tree)


def tree_imag(tree: Any) -> Any:
    """The imaginary parts."""
    return jax.tree.map(jnp.imag, tree)


def tree_mean(tree: Any) -> jax.Array:
    """The mean of the leaves' sums, each divided by its size: the mean of their means."""
    means = [jnp.mean(x) for x in jax.tree.leaves(tree)]
    return sum(means[1:], means[0]) / len(means)


def broadcast_pytrees(*trees: Any) -> tuple[Any, ...]:
    """Leaves that stand for a whole branch of another tree, copied to all leaves of that branch."""
    whole = max(trees, key=lambda tree: len(jax.tree.leaves(tree)))
    spread = lambda tree: jax.tree.map(lambda x, branch: jax.tree.map(lambda _: x, branch), tree, whole)
    return tuple(spread(tree) for tree in trees)
