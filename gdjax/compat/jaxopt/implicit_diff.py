"""`jaxopt.implicit_diff`: derivatives of a solution that satisfies ``optimality_fun(solution, *args) = 0``.

By `jax.lax.custom_root`: so in forward mode too, to any order, and with respect to what a function closes over.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import cg

from gdjax.compat.jaxopt.absent import Absent, where_to_go
from gdjax.jaxtools.pytrees import is_traceable

Solve = Callable[..., Any]  # of (matvec, b)


def solve_normal_cg(matvec: Callable[[Any], Any], b: Any) -> Any:
    """``A x = b`` by conjugate gradients on ``A'A x = A'b``."""
    transposed = jax.linear_transpose(matvec, b)
    normal = lambda x: transposed(matvec(x))[0]
    return cg(normal, transposed(b)[0])[0]


def linear(matvec: Callable[[Any], Any], b: Any, solve: Solve | None) -> Any:
    """``A^-1 b`` as a linear function of b, with its transpose."""
    chosen = solve_normal_cg if solve is None else solve
    flat, tree = ravel_pytree(b)  # one vector: a leaf that does not change with the data would have no transpose
    row = lambda tree: ravel_pytree(tree)[0]
    on_rows = lambda matvec, v: row(chosen(lambda x: tree(matvec(row(x))), tree(v)))
    return tree(jax.lax.custom_linear_solve(lambda v: row(matvec(tree(v))), flat, on_rows, on_rows))


def by_place(reference: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """The arguments in the places that a signature (or that of a function) has for them; by name what has no place."""
    try:
        signature = reference if isinstance(reference, inspect.Signature) else inspect.signature(reference)
        bound = signature.bind(*args, **kwargs)
    except (TypeError, ValueError):  # it has none, or none for these
        return args, kwargs
    return bound.args, bound.kwargs


def custom_root(
    optimality_fun: Callable[..., Any],
    has_aux: bool = False,
    solve: Solve | None = None,
    reference_signature: Any = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: a function ``solver(init, *args, **kwargs)`` gets the derivatives of the root that it finds.

    Args:
        optimality_fun: ``F(params, *args, **kwargs)``, a pytree like params; 0 at the solution.
        has_aux: whether the solver returns (params, aux), of which aux gets no derivative.
        solve: of ``(matvec, b)``, for the linear system. Default: conjugate gradients on the normal equations.
        reference_signature: a function, or a signature, with the names and places of the arguments, where that of
            ``optimality_fun`` does not tell.
    """
    reference = optimality_fun if reference_signature is None else reference_signature

    def decorate(solver: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(solver)
        def run(init: Any, *args: Any, **kwargs: Any) -> Any:
            placed, named = by_place(reference, init, *args, **kwargs)
            function = lambda params: optimality_fun(params, *placed[1:], **named)
            still = lambda tree: jax.tree.map(lambda x: jax.lax.stop_gradient(x) if is_traceable(x) else x, tree)
            found = still(solver(still(init), *still(args), **still(kwargs)))
            params, aux = found if has_aux else (found, None)
            tangent = lambda matvec, b: linear(matvec, b, solve)
            root = jax.lax.custom_root(function, params, lambda _, x: x, tangent)
            return (root, aux) if has_aux else root

        return run

    return decorate


def custom_fixed_point(
    fixed_point_fun: Callable[..., Any],
    has_aux: bool = False,
    solve: Solve | None = None,
    reference_signature: Any = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The same for ``fixed_point_fun(params, *args) = params``."""

    def optimality_fun(params: Any, *args: Any, **kwargs: Any) -> Any:
        return jax.tree.map(lambda new, old: new - old, fixed_point_fun(params, *args, **kwargs), params)

    reference = fixed_point_fun if reference_signature is None else reference_signature
    return custom_root(optimality_fun, has_aux, solve, reference)


def root_vjp(
    optimality_fun: Callable[..., Any], sol: Any, args: tuple[Any, ...], cotangent: Any, solve: Solve = solve_normal_cg
) -> Any:
    """The cotangents of the args that belong to one of the solution."""
    transposed = jax.vjp(lambda x: optimality_fun(x, *args), sol)[1]
    u = solve(lambda v: transposed(v)[0], jax.tree.map(lambda x: -x, cotangent))
    return jax.vjp(lambda *a: optimality_fun(sol, *a), *args)[1](u)


def root_jvp(
    optimality_fun: Callable[..., Any],
    sol: Any,
    args: tuple[Any, ...],
    tangents: tuple[Any, ...],
    solve: Solve = solve_normal_cg,
) -> Any:
    """The tangent of the solution that belongs to tangents of the args."""
    change = jax.jvp(lambda *a: optimality_fun(sol, *a), args, tangents)[1]
    matvec = lambda v: jax.jvp(lambda x: optimality_fun(x, *args), (sol,), (v,))[1]
    return solve(matvec, jax.tree.map(lambda x: -x, change))


def __getattr__(name: str) -> Absent:
    """What is not here: used, it says where to go."""
    return where_to_go("implicit_diff", name)
