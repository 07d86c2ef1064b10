"""A descent that starts with what another one has learnt: curvature pairs, moments, velocity."""

from typing import Any

from gdjax.jaxtools.pytrees import named_leaves
from gdjax.methods.base import Method

Signature = list[tuple[str, tuple[int, ...], str]]


def begin(method: Method, state: Any, old: Any | None) -> Any:
    """The state before the first evaluation, with what the ``old`` one of the same method has learnt.

    Raises:
        ValueError: if the old state is of another method, or of parameters of another shape or dtype.
    """
    if old is None:
        return state
    learnt: dict[str, Any] = {}
    difference: str | None = f"its state is a {type(old).__name__}, that of the method a {type(state).__name__}"
    if type(old) is type(state):
        learnt = method.learnt(old)
        fresh = {field: getattr(state, field) for field in learnt}
        difference = first_difference(signature("state", fresh), signature("state", learnt))
    if difference is not None:
        raise ValueError(
            f"the result to start from is of another method or shape: {difference}. To start only at its point, give "
            "result.params"
        )
    return state._replace(**learnt)


def signature(name: str, tree: Any) -> Signature:
    """Place, shape and dtype of every leaf: these must agree for one pytree of arrays to replace another."""
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
