"""The solvers as functions to be traced: name -> program(loss, x0, tol, limit), each as its own documentation says.

``tol`` is what the solver itself compares with: the infinity norm of the gradient (optax, by hand), that times
min(1 + |f|, G) (gdjax), its 2-norm (jaxopt), rtol = atol on the changes of value and parameters (optimistix, which
has no gradient test). ``limit`` is on evaluations, but for jaxopt, which has one on steps alone. Parameters may be
any pytree.
"""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optimistix

import gdjax

Program = Callable[..., "Answer"]


class Answer(NamedTuple):
    """What a program returns, traced."""

    params: Any
    claimed: Any  # whether it says that it succeeded
    evals: Any  # values with gradients
    steps: Any  # accepted points


def of_gdjax(method: Any) -> Program:
    """A method of gdjax."""

    def program(loss: Any, x0: Any, tol: Any, limit: Any) -> Answer:
        r = gdjax.minimize(loss, x0, method=method, tol=tol, max_evals=limit, max_steps=limit)
        return Answer(r.params, r.converged, r.num_evals, r.num_steps)

    return program


def by_hand(rate: float, tested: bool = True) -> Program:
    """Gradient descent as one writes it: a while_loop of value_and_grad and an update, with a gradient test or none."""

    def program(loss: Any, x0: Any, tol: Any, limit: Any) -> Answer:
        def unfinished(carry: Any) -> jax.Array:
            _, _, norm, evals = carry
            return (norm > tol) & (evals < limit) if tested else evals < limit

        def step(carry: Any) -> Any:
            x, _, norm, evals = carry
            value, grad = jax.value_and_grad(loss)(x)
            norm = optax.tree.norm(grad, ord=jnp.inf) if tested else norm
            return jax.tree.map(lambda a, g: a - rate * g, x, grad), value, norm, evals + 1

        inf = jnp.asarray(jnp.inf, jax.tree.leaves(x0)[0].dtype)
        x, value, norm, evals = jax.lax.while_loop(unfinished, step, (x0, inf, inf, jnp.asarray(0, jnp.int32)))
        claimed = jnp.isfinite(value)  # without a use of the value XLA would not compute it
        return Answer(x, claimed & (norm <= tol) if tested else claimed, evals, evals)

    return program


def of_optax(make: Callable[[], Any]) -> Program:
    """The loop of optax's L-BFGS example, with the infinity norm and a count of evaluations."""

    def program(loss: Any, x0: Any, tol: Any, limit: Any) -> Answer:
        optimiser = make()
        value_and_grad = optax.value_and_grad_from_state(loss)
        norm = lambda state: optax.tree.norm(optax.tree.get(state, "grad"), ord=jnp.inf)

        def unfinished(carry: Any) -> jax.Array:
            _, state, evals, _ = carry
            return (evals == 0) | ((evals < limit) & (norm(state) > tol))

        def step(carry: Any) -> Any:
            x, state, evals, steps = carry
            fresh = ~jnp.isfinite(optax.tree.get(state, "value"))
            value, grad = value_and_grad(x, state=state)
            updates, state = optimiser.update(grad, state, x, value=value, grad=grad, value_fn=loss)
            evals += fresh + optax.tree.get(state, "num_linesearch_steps")
            return optax.apply_updates(x, updates), state, evals, steps + 1

        x, state, evals, steps = jax.lax.while_loop(unfinished, step, (x0, optimiser.init(x0), 0, 0))
        return Answer(x, norm(state) <= tol, evals, steps)

    return program


def of_jaxopt(name: str, library: str = "jaxopt", **options: Any) -> Program:
    """A solver of jaxopt; its own count has one evaluation a step that is never made (call-backs show it).

    ``library`` is what is imported: it is no longer maintained, and not everywhere.
    """

    def program(loss: Any, x0: Any, tol: Any, limit: Any) -> Answer:
        jaxopt = importlib.import_module(library)
        x, state = getattr(jaxopt, name)(loss, tol=tol, maxiter=limit, **options).run(x0)
        return Answer(x, state.error <= tol, state.num_fun_eval - state.iter_num, state.iter_num)

    return program


def of_optimistix(name: str, **options: Any) -> Program:
    """A solver of optimistix, one evaluation a trip; it does not say how many were accepted. The limit is static."""

    def program(loss: Any, x0: Any, tol: Any, limit: int) -> Answer:
        solver = getattr(optimistix, name)(tol, tol, **options)
        solution = optimistix.minimise(lambda x, _: loss(x), solver, x0, max_steps=limit, throw=False)
        claimed, trips = solution.result == optimistix.RESULTS.successful, solution.stats["num_steps"]
        return Answer(solution.value, claimed, trips, trips)

    return program


GDJAX: dict[str, Program] = {"gdjax.LBFGS": of_gdjax(gdjax.LBFGS()), "gdjax.BFGS": of_gdjax(gdjax.BFGS())}
PEERS: dict[str, Program] = {
    "optax.lbfgs": of_optax(optax.lbfgs),
    "jaxopt.LBFGS": of_jaxopt("LBFGS"),
    "jaxopt.BFGS": of_jaxopt("BFGS"),
    "optimistix.LBFGS": of_optimistix("LBFGS"),
    "optimistix.BFGS": of_optimistix("BFGS"),
}


def claimed_tol(name: str, dtype: Any) -> float | None:
    """The tolerance of a solver that has no gradient test, where all others are asked for one; None for those."""
    return None if not name.startswith("optimistix") else 1e-8 if dtype == jnp.float64 else 1e-5
