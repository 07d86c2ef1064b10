"""Step by hand: `iterate`."""

from collections.abc import Callable, Iterator
from typing import Any

from gdjax.descent.result import Result
from gdjax.descent.stopping import Status
from gdjax.doors import call_by
from gdjax.insight.nonfinite_data import named_data, with_nonfinite_data
from gdjax.minimize import minimize
from gdjax.opening import open_call
from gdjax.request import require_concrete, shows_options
from gdjax.running.programs import begin, next_step


@shows_options
def iterate(
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    by: Callable[..., Any] = minimize,
    maximize: bool = False,
    **options: Any,
) -> Iterator[Result]:
    """Step by hand: a generator of results, one per accepted step, beginning with the start (step 0).

    Each result shows the iterate of its step. Its status is RUNNING, except for the last one, which has the status that
    ended the run. (`minimize` returns the best point, which can be an earlier one if the method lets values rise.) The
    options are those of `minimize`. The loop body is the same, so the iterates are the same. `iterate` does not work
    inside a trace.

    Args:
        loss, params, *args: as in `minimize`, or as in the function that you pass as ``by``.
        by: `gdjax.minimize`; or `gdjax.least_squares`, where ``loss`` is the residuals; or `gdjax.curve_fit`, where
            ``loss`` is the model, and args are x and y. The results of the last two are `Fit`s, with the standard
            errors at each step.
        maximize: whether to maximise.
        **options: those of ``by``, except the services.

    >>> import gdjax
    >>> for state in iterate(lambda x: x**2, 1.0, method=gdjax.GradientDescent(0.25), max_steps=2):
    ...     print(state.num_steps, state.params, state.status.name)
    0 1.0 RUNNING
    1 0.5 RUNNING
    2 0.25 MAX_STEPS
    >>> *_, last = iterate(lambda x: (x - 1, x - 3), 0.0, by=gdjax.least_squares)
    >>> print(f"{last.params:.3f} +- {last.standard_errors:.3f} after {last.num_steps} step")
    2.000 +- 1.000 after 1 step
    """
    call = open_call(call_by(by)("iterate", loss, params, args, options, watched=False).toward(maximize))
    key, arrays = call.prepare().split()
    require_concrete(arrays, "iterate steps in Python")
    data = named_data(call.function, call.args, call.options.get("kwargs"))

    def states() -> Iterator[Result]:
        carry = begin(key, arrays)
        while True:
            carry, state = next_step(key, arrays, carry)
            yield call.finish(with_nonfinite_data(state, data))
            if state.status != Status.RUNNING:
                return

    return states()
