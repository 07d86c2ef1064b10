"""`python -m benchmarks least_squares`: gdjax and its peers on nonlinear least squares.

Two sets: with --nist FOLDER NIST's 27 reference data sets from both starts each (a run is solved if every estimate
agrees with the certified one to 4 digits, in float32 to 2), and CUTEst's nonlinear equations from sif2jax with up to
100 variables (solved if the sum of squares is within 1e-4 of the least that any solver found, or 1e-12 of the start's).
A false claim is a success claimed at a point that is neither solved nor stationary to 1e-3, by the cosine between the
residuals and the columns of their Jacobian (NIST: not solved). Peers run as their documentation says, with the Jacobian
of JAX where they take one.
"""

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gdjax
from benchmarks.measuring import add_arguments as usual_arguments
from benchmarks.measuring import begin, load, machine
from benchmarks.nist import MODELS, Dataset, read
from benchmarks.saving import Record, Saved, add_resume

MOST = 3000  # evaluations of the residuals
DIGITS = {"float64": 4, "float32": 2}
Residuals = Callable[[Any], Any]


class Answer(NamedTuple):
    """What a solver returns."""

    x: Any
    success: bool
    evals: int
    status: str


def by_gdjax(method: Any) -> Callable[[Residuals, np.ndarray], Answer]:
    def solve(residuals: Residuals, start: np.ndarray) -> Answer:
        fit = gdjax.least_squares(residuals, start, method=method, max_evals=MOST)
        return Answer(fit.params, fit.converged, int(fit.num_evals), fit.status.name)

    return solve


def by_scipy(method: str, tol: float | None) -> Callable[[Residuals, np.ndarray], Answer]:
    def solve(residuals: Residuals, start: np.ndarray) -> Answer:
        import scipy.optimize

        f, jac = jax.jit(residuals), jax.jit(jax.jacfwd(residuals))
        tols = {} if tol is None else dict(xtol=tol, ftol=tol, gtol=tol)
        wide = lambda function: lambda x: np.asarray(function(jnp.asarray(x, start.dtype)), np.float64)
        found = scipy.optimize.least_squares(wide(f), start, wide(jac), method=method, max_nfev=MOST, **tols)
        return Answer(found.x, bool(found.success), int(found.nfev), str(found.status))

    return solve


def by_optimistix(name: str, tol: float) -> Callable[[Residuals, np.ndarray], Answer]:
    def solve(residuals: Residuals, start: np.ndarray) -> Answer:
        import optimistix

        solver = getattr(optimistix, name)(rtol=tol, atol=tol)

        def run(y: Any) -> tuple[Any, Any, Any]:  # (the solution itself holds what no compiled function can return)
            found = optimistix.least_squares(lambda y, _: residuals(y), solver, y, max_steps=MOST, throw=False)
            return found.value, found.result == optimistix.RESULTS.successful, found.stats["num_steps"]

        value, good, steps = jax.jit(run)(jnp.asarray(start))
        return Answer(value, bool(good), int(steps), "success" if good else "failure")

    return solve


def by_jaxopt(residuals: Residuals, start: np.ndarray) -> Answer:
    import jaxopt

    found = jaxopt.LevenbergMarquardt(residuals, maxiter=MOST, tol=1e-10).run(jnp.asarray(start))
    error = float(found.state.error)
    return Answer(found.params, error <= 1e-10, int(found.state.iter_num), f"error {error:.2g}")


SOLVERS: dict[str, Callable[[Residuals, np.ndarray], Answer]] = {
    "gdjax.LevenbergMarquardt": by_gdjax(None),
    "gdjax.LM accelerated": by_gdjax(gdjax.LevenbergMarquardt(acceleration=True)),
    "gdjax.LBFGS": by_gdjax(gdjax.LBFGS()),
    "optimistix.LM 1e-8": by_optimistix("LevenbergMarquardt", 1e-8),
    "optimistix.LM 1e-10": by_optimistix("LevenbergMarquardt", 1e-10),
    "optimistix.Dogleg 1e-8": by_optimistix("Dogleg", 1e-8),
    "SciPy lm": by_scipy("lm", None),
    "SciPy lm 1e-15": by_scipy("lm", 1e-15),
    "SciPy trf": by_scipy("trf", None),
    "jaxopt.LM 1e-10": by_jaxopt,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    usual_arguments(parser, "least_squares", repeats=1)
    parser.add_argument("--nist", type=Path, metavar="FOLDER", help="NIST's files of data; left out without it")
    add_resume(parser)
    parser.add_argument("--no-equations", action="store_true", help="leave CUTEst's equations out")


def main(options: argparse.Namespace) -> None:
    """Run or load, and print the tables."""
    if options.report:
        header, records = load(options.report)
    else:
        with Saved(options.json, machine() | begin(options), options.resume) as saved:
            run(options, saved)
        header, records = saved.header, saved.records
    print(f"{header['date']}, {header['dtype']}, {header['cores']} cores")
    for group in ("NIST", "equations"):
        rows = [r for r in records if r["set"] == group]
        if rows:
            print(table(group, judged(rows, DIGITS[header["dtype"]])))


def run(options: argparse.Namespace, saved: Saved) -> None:
    """All solvers on all problems of which there is no record."""
    chosen = {name: s for name, s in SOLVERS.items() if not options.solvers or name.startswith(tuple(options.solvers))}
    problems = [*(nist(options) if options.nist else ()), *(() if options.no_equations else equations(options))]
    for group, name, residuals, start, dataset in problems:
        if options.problems and not name.startswith(tuple(options.problems)):
            continue
        for solver, solve in chosen.items():
            if saved.lacks(solver, name):
                record = dict(set=group, problem=name, solver=solver)
                saved.add(record | measure(residuals, start, solve, dataset))
        jax.clear_caches()


def measure(residuals: Residuals, start: np.ndarray, solve: Any, dataset: Dataset | None) -> Record:
    """One run."""
    began = time.process_time()
    try:
        answer = solve(residuals, start)
    except Exception as error:
        return dict(failure=f"{type(error).__name__}: {str(error)[:80]}", success=False)
    seconds = time.process_time() - began
    x = np.asarray(answer.x, np.float64)
    record = dict(evals=answer.evals, success=answer.success, status=answer.status, cpu_seconds=seconds)
    if dataset is not None:
        return record | dict(digits=dataset.digits(x, dataset.certified))
    r = np.asarray(residuals(jnp.asarray(start)), np.float64)
    found, a = (np.asarray(f(jnp.asarray(x, start.dtype)), np.float64) for f in (residuals, jax.jacfwd(residuals)))
    with np.errstate(all="ignore"):
        cosine = np.abs(found @ a) / np.linalg.norm(a, axis=0) / np.linalg.norm(found)
    return record | dict(value=float(found @ found), start=float(r @ r), cosine=float(np.nanmax(cosine, initial=0)))


def nist(options: argparse.Namespace) -> Iterator[Any]:
    """NIST's data sets, two starts each."""
    dtype = np.dtype(options.dtype)
    for name in MODELS:
        d = read(options.nist, name)
        x, y = d.x.astype(dtype), d.y.astype(dtype)
        for i, start in enumerate(d.starts, 1):
            residuals = lambda b, d=d, x=x, y=y: d.model(b, x) - y
            yield "NIST", f"{name} {i}", residuals, start.astype(dtype), d


def equations(options: argparse.Namespace) -> Iterator[Any]:
    """CUTEst's nonlinear equations with up to 100 variables."""
    import sif2jax

    for problem in sif2jax.nonlinear_equations_problems:
        with contextlib.suppress(Exception):
            start = np.asarray(jax.flatten_util.ravel_pytree(problem.y0)[0], options.dtype)
            shapes = jax.eval_shape(problem.constraint, problem.y0)
            if start.size > 100 or shapes[1] is not None:
                continue
            unravel = jax.flatten_util.ravel_pytree(problem.y0)[1]
            residuals = lambda y, p=problem, u=unravel: jax.flatten_util.ravel_pytree(p.constraint(u(y))[0])[0]
            if np.isfinite(np.asarray(residuals(start))).all():
                yield "equations", type(problem).__name__, residuals, start, None


def judged(rows: list[Record], digits: int) -> list[Record]:
    """With ``solved`` and ``false``."""
    best: dict[str, float] = {}
    for r in rows:
        if np.isfinite(r.get("value", np.inf)):
            best[r["problem"]] = min(best.get(r["problem"], np.inf), r["value"])
    for r in rows:
        if "digits" in r:
            r["solved"] = r["digits"] >= digits
            r["false"] = r["success"] and not r["solved"]
        else:
            least = best.get(r["problem"], np.inf)
            r["solved"] = "value" in r and r["value"] <= least * (1 + 1e-4) + 1e-12 * r["start"]
            r["false"] = r["success"] and not r["solved"] and not r.get("cosine", 1.0) <= 1e-3
    return rows


def table(group: str, rows: list[Record]) -> str:
    """Solved, false claims, digits, evaluations where all that solve nine tenths of the best agree."""
    solvers = list(dict.fromkeys(r["solver"] for r in rows))
    of = {s: {r["problem"]: r for r in rows if r["solver"] == s} for s in solvers}
    solved = {s: {p for p, r in of[s].items() if r["solved"]} for s in solvers}
    most = max(map(len, solved.values()))
    common = set.intersection(*(p for p in solved.values() if len(p) >= 0.9 * most))
    lines = [f"\n{group}: {len(of[solvers[0]])} runs, {len(common)} solved by all good solvers"]
    lines += [f"{'':26} {'solved':>7} {'false':>6} {'digits':>7} {'evaluations':>12} {'on common':>10}"]
    for s in solvers:
        found = list(of[s].values())
        digits = [r["digits"] for r in found if "digits" in r]
        mean = f"{np.mean(digits):7.2f}" if digits else f"{'':7}"
        evals = [r["evals"] for r in found if r["solved"]]
        shared = [of[s][p]["evals"] for p in common if p in solved[s]]
        middle = lambda x: f"{np.median(x):g}" if x else "-"
        false = sum(bool(r["false"]) for r in found)
        lines.append(f"{s:26} {len(solved[s]):7} {false:6} {mean} {middle(evals):>12} {middle(shared):>10}")
    return "\n".join(lines)
