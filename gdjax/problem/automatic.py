"""What a gradient is compared with that JAX has not derived: one that was given, or the rule around a callback."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

from gdjax.jaxtools.small_programs import programs_in
from gdjax.problem.problem import Problem, call_loss
from gdjax.vectors.layout import Flat, Layout
from gdjax.vectors.vector import Vector


def make_automatic(problem: Problem, params: Any, layout: Layout, sign: float) -> Callable[[Vector], Vector] | None:
    """The gradient of `jax.grad`, in the minimiser's sign, where another one was given; None if JAX has none.

    That is found out here, while tracing: JAX cannot differentiate what a callback computes.
    """
    if not problem.has_gradient:
        return None
    try:
        jaxpr = jax.make_jaxpr(jax.grad(lambda p: call_loss(problem, p)[0]))(params)
    except Exception:
        return None
    treedef = jax.tree.structure(params)

    def automatic(x: Vector) -> Vector:
        grad = jax.tree.unflatten(treedef, jaxpr_as_fun(jaxpr)(*jax.tree.leaves(layout.unravel(x))))
        return layout.ravel(jax.tree.map(lambda g: jnp.conj(g) * jnp.asarray(sign, g.dtype), grad))

    return automatic


def witness(layout: Layout, unproved: bool) -> str | None:
    """What a gradient is compared with that JAX has not derived: a given one, or the rule around a callback.

    "differences" of the loss; "nothing" if params are in pieces on several devices; None if JAX has derived it. (Where
    `jax.grad` can tell, it is "jax.grad".)
    """
    if not unproved:
        return None
    return "differences" if isinstance(layout, Flat) else "nothing"


def calls_python(jaxpr: Any) -> bool:
    """Whether a program asks Python for numbers, of which JAX cannot know the derivative."""
    asks = lambda eqn: eqn.primitive.name in ("pure_callback", "io_callback") and len(eqn.outvars) > 0
    return any(asks(eqn) or any(map(calls_python, programs_in(eqn))) for eqn in jaxpr.eqns)
