"""Training on mini-batches: `train`."""

import dataclasses
from collections.abc import Callable
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdjax import other_names
from gdjax.as_method import as_method
from gdjax.descent.limits import Stop
from gdjax.descent.result import Result
from gdjax.jaxtools.hoisted import hoist_call
from gdjax.jaxtools.pytrees import split
from gdjax.jaxtools.rows import beside, count_rows
from gdjax.methods.optax import Optax
from gdjax.request import Request, prepare, require_concrete
from gdjax.running.observers import Interrupt
from gdjax.running.services import Services, describe, observers
from gdjax.running.services import check as check_services
from gdjax.spaces.composed import freed
from gdjax.spaces.models import call_unchanged
from gdjax.sum_over import over
from gdjax.training import epoch as programs
from gdjax.training.checks import (
    as_key,
    as_number,
    check,
    check_data,
    check_loss,
    check_metric,
    note_call,
    note_list,
    noted,
)
from gdjax.training.epoch import Plan
from gdjax.training.outcome import Training
from gdjax.training.rows import gather
from gdjax.training.watch import Book, Run, Task, TrainingLine, check_witness, drive, restored


def train(
    loss: Callable[..., Any],
    params: Any,
    data: Any,
    *more: Any,
    epochs: int,
    batch_size: int | None = None,
    method: Any = None,
    space: Any = None,
    validation: Any = None,
    metric: Callable[..., Any] | None = None,
    patience: int | None = None,
    key: Any = 0,
    shuffle: bool = True,
    average: float | None = None,
    **services: Unpack[Services],
) -> Training:
    """Minimise ``loss(params, batch)``, the mean over the rows of a batch, by passes over the batches of ``data``.

    Data that fit in memory stay on the device and are shuffled there in each epoch. The batches of an epoch run in one
    compiled loop, which returns to Python about ten times a second and at the end of each epoch. Each row is used once
    per epoch: if batch_size does not divide the number of rows, the last batch is smaller (and the loss is compiled
    once more, for its shape). The same key gives the same training on the same machine.

    A batch whose loss or gradient is not finite is left out and counted: params and moments stay as they were.

    Use this instead of `gdjax.minimize` if a full gradient is too expensive, or if you want its noise. The result is
    near a minimum, not at one. If you want the minimum, continue with ``gdjax.minimize(gdjax.mean_over(loss, data,
    chunk=...), trained.params)``.

    Args:
        loss: ``loss(params, batch)``; or ``loss(params, batch, key)``, with a random key for dropout. A real number.
        params: where to start: any pytree of float arrays; or a `Result` or `Training`, to start at its params.
        data: arrays with rows along their first axis, or a pytree of them such as ``(x, y)``; a batch has the same
            structure. They may be sharded over a mesh. Or a source of batches: an iterable (a loader from torch or
            grain, or a generator, which is exhausted after one pass), or a function that maps the epoch 0, 1, ... to
            one. A thread reads two batches ahead and puts them on the device. (A list is a pytree: for a list of
            batches, pass ``lambda epoch: batches``.)
        epochs: number of passes over the data.
        batch_size: rows of a batch, for arrays.
        method: an optax optimiser (with schedules, clipping, `optax.MultiSteps` to accumulate gradients), or
            `gdjax.GradientDescent` at a rate or schedule. Default: ``optax.adam(1e-3)``. Those that search compare
            values, which those of two batches are not good for.
        space: as for `gdjax.minimize`: where parameters live, and which are held. Of a whole model (an Equinox
            module) the floating arrays move.
        validation: data like ``data``, on which the metric is averaged after each epoch; or the fraction of rows to
            hold out for this, such as 0.2, chosen by the key; or a function of params that returns a number, in any
            Python code. You get the params with the lowest value.
        metric: ``metric(params, batch)``, for the validation; lower is better (so ``-accuracy``). Default: the loss.
        patience: stop after this many epochs without a better validation value (EARLY_STOPPED).
        key: a seed or a `jax.random.key`, for the shuffles and the loss.
        shuffle: whether to shuffle arrays.
        average: decay d of an exponential average of the params, ``a <- d a + (1 - d) x`` after each step, debiased as
            in `optax.ema`. The average is what is validated and returned. With a space it is that of the free numbers:
            for a `Positive` one the geometric mean.
        **services: ``progress``, ``callback`` (of a `Training` after each epoch, or each ``callback_every``; "best":
            after each better validation; True stops), ``checkpoint``, ``checkpoint_seconds`` and ``max_seconds``, as in
            `gdjax.minimize`; Ctrl-C, too. `gdjax.resume` goes on from a checkpoint, in the middle of an epoch if need
            be, to the same numbers.

    Returns:
        A `gdjax.Training`; ``print`` it. Its status is EPOCHS_DONE, EARLY_STOPPED, DIVERGED, NONFINITE or one of those
        of the services. It is never a success, because the gradient of a batch proves nothing.

    Raises:
        TypeError, ValueError: if an argument is not what it must be. An error in loss, data or callback is raised
            before the first epoch is done; later it ends the training with status RAISED.

    >>> import jax, jax.numpy as jnp, optax
    >>> x = jax.random.normal(jax.random.key(0), (500, 2))
    >>> squares = lambda w, rows: jnp.mean((rows["y"] - rows["x"] @ w) ** 2)
    >>> data = {"x": x, "y": x @ jnp.array([1.0, -2.0])}
    >>> trained = train(squares, jnp.zeros(2), data, batch_size=32, epochs=10, method=optax.adam(0.05))
    >>> print(trained.status, trained.params.round(2))
    EPOCHS_DONE [ 1. -2.]
    """
    options = dict(epochs=epochs, batch_size=batch_size, method=method, validation=validation, metric=metric)
    options |= dict(patience=patience, key=key, shuffle=shuffle, average=average, space=space)
    check_data(more)
    return run(loss, params, data, options, services)


def run(
    loss: Any, params: Any, data: Any, options: dict[str, Any], services: Any, saved: tuple[Any, ...] | None = None
) -> Training:
    """Train; or go on from (name, header, arrays) of a checkpoint."""
    known = sorted(set(Services.__annotations__) - {"escape_saddles", "keep_state"})
    for name in services:
        if name not in known:
            instead = other_names.for_option(name, [*options, *known], other_names.TRAINING)
            raise TypeError(f"train has no option {name!r}{instead}")
    check_services(services)
    check(options, services)
    average, seed, metric = options["average"], as_key(options["key"]), options["metric"]
    takes_key = check_loss(loss)
    material = gather(data, options["validation"], options["batch_size"], metric, seed)
    rows, size, batch, validation = material.rows, material.size, material.batch, material.validation
    params = params.params if isinstance(params, Result | Training) else params
    if validation is not None and metric is None and takes_key:
        check_metric(validation)
    metric = metric or loss
    loss, params, to_user = freed(loss, params, options["space"])
    params = beside(params, batch)
    measure = make_measure(validation, metric, params, size, to_user)
    requests = Requests(loss, params, options["method"], seed if takes_key else None)
    try:
        request = requests.of(batch)
    except Exception as error:
        note_call(error, takes_key)
        note_list(error, data)
        raise
    tail = requests.of(material.first(rows % size)).problem.loss if rows % size else None
    arrays, program = split((request, tail))
    require_concrete([*arrays, *jax.tree.leaves(batch), seed], "train works in Python")
    plan = Plan(rows, size, bool(options["shuffle"] and rows), takes_key, average is not None)
    decay = np.asarray(average or 0.0, jnp.result_type(float))
    patience, epochs = options["patience"], options["epochs"]
    rest = (material.data, epochs, measure, patience, decay, to_user, requests.split)
    task = Task(program, plan, arrays, *rest)
    course, book = programs.begin(program, plan, arrays, seed), Book()
    kept = programs.weights(program, plan, arrays, course)
    header = dict(by="train", maximize=False, history=0, method=describe(request.method), rows=rows, batch_size=size)
    header |= dict(key=np.asarray(jax.random.key_data(seed)).tolist(), shuffle=plan.shuffle, average=plan.averages)
    if saved is not None:
        course, kept, book = restored(saved, header, (course, kept))
    # What is kept must not be what the compiled loop overwrites.
    course = jax.tree.map(jnp.copy, course)
    run, interrupt = Run(task, course, kept, book, header), Interrupt()
    if saved is not None:
        check_witness(saved, run)
    with interrupt.listening():
        trained = drive(run, observers(services, header, TrainingLine), interrupt)
    interrupt.hand_on(trained.status)
    return trained


class Requests:
    """The descents whose trips are the steps: one for each shape of a batch, for which the loss is traced.

    Raises:
        TypeError: if the method compares values.
    """

    def __init__(self, loss: Any, params: Any, method: Any, seed: Any) -> None:
        self.loss, self.params, self.method, self.seed = loss, params, batch_method(method, params), seed
        self.known: dict[Any, Any] = {}

    def of(self, batch: Any) -> Request:
        """That of batches like this one."""
        args = (batch,) if self.seed is None else (batch, self.seed)
        request = prepare(self.loss, self.params, args, method=self.method, stop=Stop(tol=0.0))
        if isinstance(request.method, Optax):
            request = dataclasses.replace(request, method=request.method.for_batches())
        return request

    def split(self, batch: Any) -> tuple[Any, list[Any]]:
        """What selects its program, and its arrays."""
        shapes = tuple((x.shape, x.dtype) for x in jax.tree.leaves(batch))
        if shapes not in self.known:
            self.known[shapes] = split((self.of(batch), None))[::-1]
        return self.known[shapes]


def batch_method(method: Any, params: Any) -> Any:
    """The method for batches; TypeError if it compares values."""
    method = as_method(optax.adam(1e-3) if method is None else method)
    own_search = isinstance(method, Optax) and method.compares_values(params)
    if method.searches or method.least_squares or own_search:
        name = "an optax optimiser with a line search" if own_search else method.name
        raise TypeError(
            f"{name} compares values, and those of two batches tell nothing: train takes optax's optimisers and "
            "GradientDescent at a rate. For all rows at once: gdjax.minimize(gdjax.mean_over(loss, data, chunk=...), "
            "params); for a step on each batch all the same: gdjax.step(..., new_data=True)"
        )
    return method


def make_measure(validation: Any, metric: Any, params: Any, chunk: int, to_user: Any) -> Any:
    """The validation as a function of the program's parameters; None without."""
    if validation is None:
        return None
    if callable(validation):
        validation = noted(validation, "gdjax: validation as a function is called as validation(params)")
        return lambda params: as_number(validation(to_user(params)))
    chunk = min(max(chunk, 256), count_rows("validation", validation))
    of_rows = lambda params, rows: call_unchanged(metric, to_user(params), rows)
    mean = lambda of_rows, params, data: over(of_rows, data, chunk, False, mean=True)(params)
    mean = noted(mean, "gdjax: so train calls the metric (by default the loss) to validate: metric(params, batch)")
    arrays, program = split(hoist_call(mean, of_rows, params, validation))
    return lambda params: programs.measured(program, arrays, params, validation)
