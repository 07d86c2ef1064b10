"""A descent that begins with what another one has learnt: curvature pairs, moments, velocity."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gdjax.methods.gradient_descent import DescentState
from gdjax.methods.optax import OptaxState
from gdjax.methods.searching import SearchState
from gdjax.methods.trust_region import TrustRegionState
from gdjax.pytrees import named_leaves


def one_step_back(memory: Any) -> Any:
    """The memory of a rule for the rate, its step number as it was before the rate was chosen."""
    back = lambda x: jnp.maximum(x - 1, 0) if jnp.issubdtype(x.dtype, jnp.integer) else x
    return jax.tree.map(back, memory)


# What of an old state still holds where the loss may be another: never a point or its value, which are
# evaluated anew. States that are not listed keep nothing but the parameters. A schedule goes on with the rate of the
# step that was about to be taken; a trust region with what it knows of the scales.
LEARNT: dict[type, Callable[[Any], dict[str, Any]]] = {
    SearchState: lambda old: dict(memory=old.memory),
    DescentState: lambda old: dict(velocity=old.velocity, memory=one_step_back(old.memory)),
    OptaxState: lambda old: dict(optimizer=old.optimizer),
    TrustRegionState: lambda old: dict(inner=old.inner._replace(z=jax.tree.map(jnp.zeros_like, old.inner.z))),
}

Signature = list[tuple[str, tuple[int, ...], str]]


def begin(state: Any, old: Any | None) -> Any:
    """The state before the first evaluation, with what the ``old`` one has learnt.

    Raises:
        ValueError: if the old state is of another method, or of parameters of another shape or dtype.
    """
    if old is None:
        return state
    learnt = LEARNT.get(type(old), lambda _: {})(old)
    fresh = {field: getattr(state, field, None) for field in learnt}
    difference = first_difference(signature("state", fresh), signature("state", learnt))
    if type(old) is not type(state):
        difference = f"its state is a {type(old).__name__}, that of the method a {type(state).__name__}"
    if difference is not None:
        raise ValueError(
            f"the result that the descent is to begin with is of another method or shape: {difference}. Give "
            "result.params for the point alone"
        )
    return state._replace(**learnt)


def signature(name: str, tree: Any) -> Signature:
    """Place, shape and dtype of every leaf: what must agree for one pytree of arrays to stand in for another."""
    return [(path, tuple(leaf.shape), str(leaf.dtype)) for path, leaf in named_leaves(name, tree)]


def first_difference(wanted: Signature, given: Signature) -> str | None:
    """The first leaf that differs in place, shape or dtype, in words; None if none does."""
    for (path, *want), (other, *have) in zip(wanted, given, strict=False):
        if path != other:
            return f"it has {other} where {path} is needed"
        if want != have:
            return f"{path.lstrip('.')} has shape {have[0]} and dtype {have[1]} there, {want[0]} and {want[1]} here"
    if len(wanted) == len(given):
        return None
    shorter = min(len(wanted), len(given))
    return f"it lacks {wanted[shorter][0]}" if len(wanted) > shorter else f"it has {given[shorter][0]} besides"
