"""The numbers behind the sentences."""

from typing import Any

import jax
import numpy as np

from gdjax.descent.progress import PATIENCE, gradient_threshold
from gdjax.descent.remedies import end_of_domain, fixed, lost_squares, out_of_range, plateau, saddle

# Parameters that run away are named if they are FEW, each that changes by this share of the one that changes most.
RUNNING, FEW = 0.1, 4
ONWARD = 0.4  # share of its size by which a step leads a parameter, as in `gdjax.methods.parts.runaway`


class Facts:
    """The numbers of a result as Python floats, under the names that the sentences use."""

    def __init__(self, result: Any) -> None:
        p, stop, value = jax.device_get((result.progress, result.stop, result.value))  # NumPy compiles nothing
        sign = -1.0 if result.maximized else 1.0
        self.result = result
        self.value, self.grad_norm = float(result.value), float(result.grad_norm)
        self.double = result.value.dtype == np.float64
        self.steps, self.evals = int(result.num_steps), int(result.num_evals)
        self.start_value, self.highest = sign * float(p.start_value), sign * float(p.highest)
        self.rate = f"steps of about {float(p.stable_rate):.2g} times the gradient"
        self.rate *= bool(np.isfinite(p.curvature) and p.stable_rate > 0)  # else it is not known
        self.idle, self.curvature, self.predicted = int(p.idle), float(p.curvature), float(p.predicted)
        absolute = 0.0 if stop.gradient is None else float(stop.gradient)
        most = np.inf if stop.gradient_at_most is None else float(stop.gradient_at_most)
        self.threshold = max(min(float(gradient_threshold(stop.tol, p, value)), most), absolute)
        self.settled, self.domain = bool(p.settled), end_of_domain(result)
        self.target = None if stop.target is None else sign * float(stop.target)
        self.best = sign * float(p.best_value)
        self.is_best = self.value == self.best  # `gdjax.iterate` shows the iterate instead
        self.at_best = bool(p.at_best) or not self.is_best
        self.norm = "gradient norm" if result.penalty_value is None else "norm of the prox-gradient step"
        self.scale = lost_squares(result) or plateau(result)
        self.saddle = saddle(result)
        if p.cosine is None and not self.scale:
            self.scale = out_of_range(result)
        if p.cosine is not None:  # of residuals: the test that they are at right angles to what parameters can change
            self.norm = "largest cosine between the residuals and a column of their Jacobian"
            self.grad_norm, self.threshold = float(p.cosine), float(stop.tol)
        self.stop, self.falling, self.up = stop, "rising" if result.maximized else "falling", sign < 0

    @property
    def after(self) -> str:
        """How many steps and evaluations were made."""
        steps = f"{self.steps} step{'s' * (self.steps != 1)}"
        return f"after {steps} ({self.evals} evaluation{'s' * (self.evals != 1)})"

    @property
    def time(self) -> str:
        """The time that the work took."""
        if self.result.timing is None:
            return ""
        seconds, compiling, _ = self.result.timing
        return f" and {seconds:.3g} s, of which compiling took {compiling:.3g} s"

    @property
    def gradient(self) -> str:
        """The gradient test, which did not hold."""
        best = "" if self.at_best else "The descent ended above the best point seen, which is returned. "
        value, norm, zero = self.value, self.grad_norm, self.threshold
        numbers = f"The value is {value:.6g}, the {self.norm} {norm:.3g} (it counts as zero below {zero:.3g})."
        return f"{best}{numbers}{fixed(self.result)}"

    @property
    def running(self) -> str:
        """The names of the parameters that change most, of their own size, where the residuals hardly change.

        Not those that the step of Gauss and Newton leads inward: they are on the way to 0, a point of symmetry.
        """
        squares, names = self.result.squares, getattr(self.result, "names", None)
        if names is None or squares is None or squares.linear is None:
            return ""
        if self.result.space is not None:
            return self.result.space.runaways
        known = squares.linear.columns, squares.linear.triangle, squares.linear.q, self.result.flat
        columns, triangle, q, x = (np.asarray(a, np.float64) for a in jax.device_get(known))
        there = (columns > 0) & (x != 0)
        flattest = np.linalg.svd(triangle)[2][-1]
        rounding = 8 * x.size * float(np.finfo(self.result.value.dtype).eps)
        step = -np.linalg.lstsq(triangle[: q.size], q, rcond=rounding)[0]
        flattest, step = (np.where(there, part / np.where(there, columns * x, 1), 0) for part in (flattest, step))
        share = np.where(step <= -ONWARD, 0, np.abs(flattest))
        chosen = [name for name, part in zip(names, share, strict=True) if part > RUNNING * share.max()]
        return " and ".join(filter(None, [", ".join(chosen[:-1]), *chosen[-1:]])) if len(chosen) <= FEW else ""

    @property
    def raiser(self) -> str:
        """What went wrong: only a callback's answer is a TypeError, XLA reports other errors."""
        unclear = isinstance(self.result.exception, TypeError)
        return "the answer of the callback was unclear" if unclear else "the loss raised an error"

    @property
    def error(self) -> str:
        """What the loss has raised: the last line of XLA's report, which ends with the traceback."""
        if self.result.exception is None:
            return "minimise this problem alone to see it"
        lines = [line.strip() for line in str(self.result.exception).splitlines() if line.strip()]
        return (lines[-1] if lines else type(self.result.exception).__name__).rstrip(".")

    @property
    def trend(self) -> str:
        """Whether the loss was still falling."""
        if self.steps <= 0:
            return "No step was taken."
        if self.idle < PATIENCE:
            return f"The loss was still {self.falling}."
        return f"The last {self.idle} evaluations made no measurable progress."

    @property
    def advice(self) -> str:
        """For a descent that reached its limit; whoever stops one knows why."""
        more = "Allow more steps, or try another method. " if self.idle < PATIENCE else "Try another method. "
        return f"{self.trend} {more if self.steps > 0 else ''}{self.gradient}"
