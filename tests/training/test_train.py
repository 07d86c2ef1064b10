"""Training on batches: every row once an epoch, the same key the same numbers, and no word more than is known."""

import itertools
import os
import signal
import threading

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gdjax
from gdjax import Status

ROWS, SIZE = 50, 8  # six batches of 8, and one of 2


def data():
    x = jax.random.normal(jax.random.key(0), (ROWS, 3))
    return {"x": x, "y": jnp.sin(x @ jnp.arange(3.0))}


def model(p, x):
    return jnp.tanh(x @ p["w"]) @ p["v"]


def loss(p, rows):
    return jnp.mean((model(p, rows["x"]) - rows["y"]) ** 2)


def noisy(p, rows, key):
    return loss(p, dict(rows, x=rows["x"] + 0.1 * jax.random.normal(key, rows["x"].shape)))


def start():
    return {"w": jax.random.normal(jax.random.key(1), (3, 4)), "v": jnp.full(4, 0.1)}


def train(function=loss, rows=None, **options):
    options = dict(batch_size=SIZE, epochs=4, method=optax.adam(1e-2)) | options
    return gdjax.train(function, start(), data() if rows is None else rows, **options)


class ByIndex:
    """A data set as torch has them."""

    def __len__(self):
        return ROWS

    def __getitem__(self, i):
        return jax.tree.map(lambda x: x[i], data())


def same(a, b):
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


def test_without_a_shuffle_the_steps_are_those_of_a_loop_by_hand_and_the_last_batch_is_smaller():
    optimiser, wanted, values = optax.adam(1e-2), start(), []
    with jax.numpy_dtype_promotion("standard"):
        state = optimiser.init(wanted)
        for begin in itertools.chain(*itertools.repeat(range(0, ROWS, SIZE), 4)):
            rows = jax.tree.map(lambda x, begin=begin: x[begin : begin + SIZE], data())
            value, grad = jax.value_and_grad(loss)(wanted, rows)
            updates, state = optimiser.update(grad, state, wanted)
            wanted = optax.apply_updates(wanted, updates)
            values.append(float(value) * len(rows["y"]))
    found = train(shuffle=False)
    assert found.status == Status.EPOCHS_DONE
    assert (int(found.num_epochs), int(found.num_steps), int(found.num_skipped)) == (4, 28, 0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), found.params, wanted)
    np.testing.assert_allclose(found.history.loss, np.reshape(values, (4, 7)).sum(1) / ROWS, rtol=1e-4)


def test_every_row_is_seen_once_an_epoch_in_another_order_each_time():
    log = []
    see = lambda rows: log.append(np.asarray(rows).tolist())

    def seeing(p, rows):
        jax.debug.callback(see, rows, ordered=True)
        return jnp.mean(rows) * p

    trained = gdjax.train(seeing, 0.0, jnp.arange(10.0), batch_size=4, epochs=2, method=optax.sgd(0.0))
    jax.effects_barrier()
    assert trained.status == Status.EPOCHS_DONE
    first, second = log[-6:-3], log[-3:]
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert all(sorted(itertools.chain(*epoch)) == list(range(10)) for epoch in (first, second))
    assert first != second


def test_the_same_key_gives_the_same_training_and_another_key_another():
    once, again, other = train(noisy), train(noisy), train(noisy, key=jax.random.key(7))
    assert once.status == again.status == other.status == Status.EPOCHS_DONE
    assert same(once.params, again.params)
    assert not same(once.params, other.params)


def test_the_parameters_of_the_best_validation_are_returned_and_patience_ends_it():
    seen = []

    def validation(p):
        seen.append(p)
        return [3.0, 1.0, 2.0, 1.0, 4.0, 5.0][len(seen) - 1]

    trained = train(epochs=6, validation=validation, patience=3)
    assert trained.status == Status.EARLY_STOPPED
    assert "3 epochs brought no better validation" in trained.message
    assert (float(trained.value), int(trained.best_epoch), int(trained.num_epochs)) == (1.0, 2, 5)
    assert same(trained.params, seen[1])


def test_validation_data_are_averaged_by_loss_or_metric_over_all_rows():
    whole = jax.tree.map(lambda x: jnp.tile(x, (7, *[1] * (x.ndim - 1))), data())  # 350 rows: more than a chunk
    trained = train(validation=whole)
    assert trained.status == Status.EPOCHS_DONE
    np.testing.assert_allclose(trained.value, loss(trained.params, whole), rtol=1e-5)
    share = lambda p, rows: jnp.mean(jnp.abs(model(p, rows["x"]) - rows["y"]))
    trained = train(noisy, validation=data(), metric=share)
    np.testing.assert_allclose(trained.value, share(trained.params, data()), rtol=1e-5)


def test_an_average_of_the_weights_is_that_of_optax():
    seen = []
    watch = lambda t: seen.append(t.params)
    train(epochs=3, batch_size=ROWS, callback=watch, shuffle=False)
    averaged = train(epochs=3, batch_size=ROWS, average=0.9, shuffle=False)
    assert averaged.status == Status.EPOCHS_DONE
    ema = optax.ema(0.9)
    with jax.numpy_dtype_promotion("standard"):
        state = ema.init(seen[0])
        for params in seen:
            wanted, state = ema.update(params, state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), averaged.params, wanted)


@pytest.mark.float64
def test_an_average_has_all_digits_of_its_decay():
    seen, decay = [], 0.9
    train(epochs=3, batch_size=ROWS, callback=lambda t: seen.append(t.params["v"]), shuffle=False)
    averaged = train(epochs=3, batch_size=ROWS, average=decay, shuffle=False)
    assert averaged.status == Status.EPOCHS_DONE
    assert averaged.params["v"].dtype == jnp.float64
    weights = np.array([decay**2, decay, 1.0])
    np.testing.assert_allclose(averaged.params["v"], weights @ np.stack(seen) / weights.sum(), rtol=1e-13)


@pytest.mark.sweep
def test_every_door_begins_at_the_params_of_a_training():
    trained, rows = train(epochs=20), data()
    residuals = lambda p, rows: model(p, rows["x"]) - rows["y"]
    whole = gdjax.minimize(loss, trained, rows, max_evals=1)
    assert whole.status == Status.MAX_EVALS
    assert same(whole.params, trained.params)
    some = jax.tree.map(lambda x: x[None], rows)
    many = gdjax.minimize_many(loss, trained, some, in_axes=(None, 0), max_evals=1)
    fit = gdjax.least_squares(residuals, trained, rows, max_evals=1)
    fits = gdjax.curve_fit_many(model, trained, rows["x"], rows["y"][None], max_evals=1)
    assert same(many[0].params, trained.params)
    assert same(fit.params, trained.params)
    assert same(fits[0].params, trained.params)
    assert same(next(gdjax.iterate(loss, trained, rows)).params, trained.params)
    assert same(gdjax.init(loss, trained, rows).params, trained.params)


@pytest.mark.sample("accumulated", "clipped")
@pytest.mark.parametrize(
    "method",
    [
        optax.MultiSteps(optax.adam(5e-2), 3),
        gdjax.GradientDescent(lambda count: 0.2 / (1 + count.astype(float) / 50), momentum=0.5),
        gdjax.Optax(optax.contrib.schedule_free_adamw, learning_rate=0.03),
        optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1, momentum=0.9, nesterov=True)),
    ],
    ids=["accumulated", "descent", "schedule-free", "clipped"],
)
def test_every_method_that_accepts_all_points_trains(method):
    trained = train(method=method, epochs=15, validation=data())
    assert trained.status == Status.EPOCHS_DONE
    assert int(trained.num_steps) == 15 * 7  # schedule-free, too: no batch goes to where it reports
    assert trained.value < 0.7 * loss(start(), data())


def test_a_batch_that_is_not_finite_is_left_out_and_counted():
    holes = data() | {"y": data()["y"].at[3].set(jnp.nan)}
    trained = train(rows=holes)
    assert trained.status == Status.EPOCHS_DONE
    assert trained.history.skipped.tolist() == [1] * 4
    assert "4 batches with a loss or gradient that was not finite left out" in trained.message
    assert np.isfinite(trained.history.loss).all()
    lost = train(rows=data() | {"y": data()["y"] * jnp.nan})
    assert lost.status == Status.NONFINITE
    assert same(lost.params, start())


def test_a_training_that_runs_away_is_called_diverged():
    trained = train(method=optax.sgd(30.0), epochs=50)
    assert trained.status in (Status.DIVERGED, Status.NONFINITE)
    trained = gdjax.train(
        lambda p, x: jnp.mean(x * p), 1.0, jnp.ones(8), batch_size=4, epochs=50, method=optax.sgd(-99.0)
    )
    assert trained.status == Status.DIVERGED
    assert "lower the learning rate" in trained.message


def test_batches_from_a_function_an_iterable_and_a_generator_give_the_same():
    cuts = [jax.tree.map(lambda x, i=i: np.asarray(x[i : i + SIZE]), data()) for i in range(0, ROWS, SIZE)]

    class Loader:
        def __iter__(self):
            return iter(cuts)

    options = dict(epochs=2, method=optax.adam(1e-2))
    whole = train(shuffle=False, epochs=2)
    for feed in (lambda epoch: cuts, Loader(), lambda epoch: (cut for cut in cuts)):
        trained = gdjax.train(loss, start(), feed, **options)
        assert trained.status == Status.EPOCHS_DONE
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), trained.params, whole.params)
        np.testing.assert_allclose(trained.history.loss, whole.history.loss, rtol=1e-5)
    once = gdjax.train(loss, start(), (cut for cut in cuts), **options)  # used up by its one pass
    assert once.status == Status.EPOCHS_DONE
    assert (int(once.num_epochs), int(once.num_steps)) == (1, 7)
    assert "used up after 1 epoch (7 steps), and 2 epochs were asked for" in once.message


@pytest.mark.sample("False")
@pytest.mark.parametrize("feed", [False, True])
def test_resumed_in_the_middle_of_an_epoch_it_is_bit_for_bit_the_training_that_was_not_stopped(feed, tmp_path):
    path = tmp_path / "training.npz"
    cuts = [jax.tree.map(lambda x, i=i: x[i : i + SIZE], data()) for i in range(0, ROWS, SIZE)]
    rows, size = ((lambda epoch: cuts), None) if feed else (data(), SIZE)
    options = dict(batch_size=size, validation=data(), metric=loss, average=0.9)
    whole = train(noisy, rows, **options)
    part = train(noisy, rows, **options, checkpoint=path, checkpoint_seconds=0.0, max_seconds=0.0)
    assert part.status == Status.MAX_SECONDS
    assert int(part.num_epochs) == 0
    assert int(part.num_steps) == 1
    options |= dict(epochs=4, method=optax.adam(1e-2))
    found = gdjax.resume(path, noisy, start(), rows, **options)
    assert found.status == whole.status == Status.EPOCHS_DONE
    assert same(found.params, whole.params)
    assert same(found.history, whole.history)
    more = gdjax.resume(path, noisy, start(), rows, **(options | dict(epochs=5)))
    assert int(more.num_epochs) == 5
    with pytest.raises(ValueError, match=r"another key: \[0, 0\], here it is \[0, 5\]"):
        gdjax.resume(path, noisy, start(), rows, **options, key=5)
    with pytest.raises(ValueError, match="another average: True"):
        gdjax.resume(path, noisy, start(), rows, **(options | dict(average=None)))
    if not feed:
        other = dict(data(), y=-data()["y"])
        for function, these in ((noisy, other), (lambda p, rows, key: 2 * noisy(p, rows, key), rows)):
            with pytest.raises(ValueError, match="is of another loss or other data: there it was"):
                gdjax.resume(path, function, start(), these, **options)
    with pytest.raises(ValueError, match="another method"):
        gdjax.resume(path, noisy, start(), rows, **(options | dict(method=gdjax.GradientDescent(0.1))))


def test_callbacks_see_each_epoch_or_each_better_one_and_may_stop():
    epochs, values = [], iter([3.0, 4.0, 2.0, 5.0])
    train(callback=lambda t: epochs.append(int(t.num_epochs)), callback_every=2)
    assert epochs == [2, 4]
    best = []
    note = lambda t: best.append((int(t.best_epoch), float(t.value)))
    train(callback=note, callback_every="best", validation=lambda p: next(values))
    assert best == [(1, 3.0), (3, 2.0)]
    stopped = train(callback=lambda t: t.num_epochs == 2)
    assert stopped.status == Status.STOPPED_BY_CALLBACK
    assert int(stopped.num_epochs) == 2


def test_control_c_keeps_the_best(monkeypatch):
    def press(t):
        if t.num_epochs == 2:
            os.kill(os.getpid(), signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    monkeypatch.setattr("gdjax.running.observers.SHORT", 0.0)
    trained = train(epochs=10**6, validation=data(), callback=press)
    assert trained.status == Status.INTERRUPTED
    assert int(trained.best_epoch) >= 1


def test_control_c_does_not_wait_for_batches_that_do_not_come():
    hangs = threading.Event()

    def feed(epoch):
        yield data()
        if epoch == 1:
            threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            hangs.wait(60)

    trained = gdjax.train(loss, start(), feed, epochs=5)
    assert not hangs.is_set()
    hangs.set()
    assert trained.status == Status.INTERRUPTED
    assert int(trained.num_epochs) == 1


def test_a_share_of_the_rows_is_held_out_by_the_key():
    seen, whole = [], data()
    held = lambda p, rows: jnp.sum(rows["x"][:, 0])
    trained = train(validation=0.2, metric=held, epochs=1)
    assert trained.status == Status.EPOCHS_DONE
    assert int(trained.num_steps) == 5  # of 40 rows
    again, other = train(validation=0.2, metric=held, epochs=1), train(validation=0.2, metric=held, epochs=1, key=1)
    assert float(again.value) == float(trained.value) != float(other.value)
    look = lambda p, rows: jnp.mean(rows["x"][:, 0]) + 0 * jnp.sum(p["v"])
    part = train(look, validation=0.2, shuffle=False, batch_size=40, epochs=1)
    seen = [float(part.history.loss[0]) * 40, float(part.value) * 10]
    np.testing.assert_allclose(sum(seen), whole["x"][:, 0].sum(), rtol=1e-4)  # each row is on one side


def test_data_in_several_arguments_are_answered_with_the_call_to_write():
    with pytest.raises(TypeError, match=r"gdjax\.train\(loss, params, \(x, y\), \.\.\.\).*x, y = batch"):
        gdjax.train(loss, start(), *data().values(), batch_size=8, epochs=1)


def test_a_metric_that_fails_says_how_it_was_called():
    with pytest.raises(TypeError, match="must return one number") as raised:
        train(validation=data(), metric=lambda p, rows: rows["y"])
    assert any("metric(params, batch)" in note for note in raised.value.__notes__)


class Net(nnx.Module):
    """A layer, and one that changes itself: by its statistics or by its counter of random keys."""

    def __init__(self, other):
        self.layer, self.other = nnx.Linear(3, 4, rngs=nnx.Rngs(0)), other

    def __call__(self, x, **rest):
        return jnp.sum(self.other(self.layer(x), **rest), axis=1)


@pytest.mark.sweep
def test_a_model_of_nnx_whose_statistics_or_random_counters_would_be_lost_is_refused():
    fit = lambda model, rows: jnp.mean((model(rows["x"]) - rows["y"]) ** 2)
    norm = Net(nnx.BatchNorm(4, rngs=nnx.Rngs(0)))
    options = dict(batch_size=SIZE, epochs=2, method=optax.adam(1e-2))
    for model, name in ((norm, r"other\.mean"), (Net(nnx.Dropout(0.5, rngs=nnx.Rngs(0))), "other.*count")):
        with pytest.raises(ValueError, match=f"the loss changes {name} of the model"):
            gdjax.train(fit, model, data(), **options)
        with pytest.raises(ValueError, match=f"the loss changes {name} of the model"):
            gdjax.minimize(fit, model, data())
    norm.eval()
    assert gdjax.train(fit, norm, data(), **options).status == Status.EPOCHS_DONE
    drops = Net(nnx.Dropout(0.5))
    dropped = lambda model, rows, key: jnp.mean((model(rows["x"], rngs=nnx.Rngs(key)) - rows["y"]) ** 2)
    one, two = gdjax.train(dropped, drops, data(), **options), gdjax.train(dropped, drops, data(), key=1, **options)
    assert one.status == two.status == Status.EPOCHS_DONE
    assert one.history.loss[0] != two.history.loss[0]


def test_progress_shows_both_losses(capsys):
    trained = train(validation=data(), progress=True)
    assert trained.status == Status.EPOCHS_DONE
    shown = capsys.readouterr().err
    assert "epoch 4/4, loss " in shown
    assert "validation " in shown
    assert "EPOCHS_DONE" in shown


def test_an_error_ends_it_with_what_was_done_or_is_raised_where_nothing_was():
    def feed(epoch):
        if epoch == 1:
            raise OSError("the disk is gone")
        return [data()]

    trained = gdjax.train(loss, start(), feed, epochs=3)
    assert trained.status == Status.RAISED
    assert "the disk is gone" in trained.message
    assert (int(trained.num_epochs), int(trained.num_steps)) == (1, 1)

    def fails(trained):
        if trained.num_epochs == 2:
            raise OSError("the log is full")

    trained = gdjax.train(loss, start(), lambda epoch: [data()], epochs=3, callback=fails)
    assert trained.status == Status.RAISED
    assert "the log is full" in trained.message
    assert (int(trained.num_epochs), int(trained.num_steps)) == (2, 2)
    with pytest.raises(ZeroDivisionError):
        gdjax.train(loss, start(), lambda epoch: 1 / 0, epochs=3)


def test_history_becomes_columns_and_the_result_has_a_face(tmp_path):
    trained = train(validation=data())
    assert trained.status == Status.EPOCHS_DONE
    assert list(trained.history.to_dict()) == ["epoch", "loss", "validation", "skipped"]
    assert list(trained.history.to_pandas()["epoch"]) == [1, 2, 3, 4]
    trained.history.to_csv(tmp_path / "epochs.csv")
    assert (tmp_path / "epochs.csv").read_text().startswith("epoch,loss,validation,skipped\n1,")
    assert "EPOCHS_DONE" in repr(trained)
    assert "from epoch" not in trained.message
    assert "Returned are those of epoch 4" in str(trained)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (dict(method=gdjax.LBFGS()), TypeError, "LBFGS compares values"),
        (dict(method=optax.lbfgs()), TypeError, "a line search compares values"),
        (dict(callback=print, callback_every="best"), ValueError, "give validation="),
        (dict(rows=ByIndex(), batch_size=None), TypeError, "put a loader around it"),
        (dict(batch_size=None), ValueError, "batch_size"),
        (dict(epochs=0), ValueError, "epochs must be a whole number"),
        (dict(patience=2), ValueError, "give validation="),
        (dict(metric=loss), ValueError, "give validation= as data"),
        (dict(average=1.0), ValueError, "average must be a decay"),
        (dict(keep_state=True), TypeError, "train has no option 'keep_state'"),
        (dict(rows=lambda epoch: []), ValueError, "batch_size is for arrays"),
        (dict(rows=lambda epoch: [], batch_size=None), ValueError, "data gave no batch"),
        (dict(rows={"x": np.ones(3), "y": np.ones(2)}), ValueError, r"data\['y'\] has 2 rows"),
        (dict(function=lambda p, x, y, z: 0.0), TypeError, "train calls it as loss"),
        (dict(validation=1), ValueError, "a share of the rows to hold out, between 0 and 1; got 1"),
        (dict(validation=True), ValueError, "a share of the rows"),
        (dict(validation=0.001), ValueError, "of 50 rows is 0 rows"),
        (dict(validation=np.ones((9, 3))), ValueError, r"validation must be like data: it is \*, data is {'x': \*"),
        (dict(validation={"x": np.ones((9, 2)), "y": np.ones(9)}), ValueError, r"rows of validation\['x'\] have shape"),
        (dict(validation=0.2, rows=lambda epoch: [], batch_size=None), ValueError, "for batches that come one by one"),
        (dict(validation=lambda p: p["v"]), TypeError, "must return one number; it returned an array of shape"),
        (dict(rows={"x": [[1.0], [2.0]], "y": [1.0, 2.0]}), TypeError, r"data\['x'\]\[0\]\[0\] is 1.0, not an array"),
        (dict(rows=[[1.0, 2.0], [3.0]]), TypeError, r"data\[0\]\[0\] is 1.0, not an array"),
        (dict(rows=data() | {"name": "digits"}), TypeError, r"data\['name'\] is 'digits'"),
        (dict(rows=lambda: [data()], batch_size=None), TypeError, "data=lambda epoch: function"),
        (dict(rows=lambda epoch: [data(), (1.0, 2.0)], batch_size=None), TypeError, r"batch\[0\] is a float"),
        (dict(rows=lambda epoch: [data(), tuple(data().values())], batch_size=None), ValueError, "must be alike"),
        (dict(rows=lambda epoch: [data() | {"y": np.ones(3)}], batch_size=None), ValueError, "has 3 rows"),
        (dict(tol=1e-3), TypeError, "tol: a training ends after epochs="),
        (dict(penalty=None), TypeError, "bounds are space="),
        (dict(seed=0), TypeError, "seed: key="),
        (dict(validation_split=0.2), TypeError, "a share of the rows"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, error, words):
    with pytest.raises(error, match=words):
        train(**change)


@pytest.mark.sweep
def test_whole_models_and_parameters_in_spaces_are_trained():
    fit = lambda model, rows: jnp.mean((jax.vmap(model)(rows["x"]) - rows["y"]) ** 2)
    model = eqx.nn.MLP(3, "scalar", 4, 1, key=jax.random.key(0))
    options = dict(batch_size=SIZE, epochs=5, method=optax.adam(1e-2))
    trained = gdjax.train(fit, model, data(), validation=data(), **options)
    assert trained.status == Status.EPOCHS_DONE
    assert type(trained.params) is eqx.nn.MLP
    np.testing.assert_allclose(trained.value, fit(trained.params, data()), rtol=1e-5)
    polished = gdjax.minimize(gdjax.mean_over(fit, data(), chunk=SIZE), trained.params, max_evals=5)
    assert polished.status == Status.MAX_EVALS
    assert polished.value < fit(trained.params, data())
    square = lambda p, rows: (jnp.log(p) - jnp.mean(rows)) ** 2
    space = gdjax.spaces.Positive()
    trained = gdjax.train(square, 3.0, jnp.ones(8), batch_size=4, epochs=200, method=optax.adam(0.05), space=space)
    assert trained.status == Status.EPOCHS_DONE
    np.testing.assert_allclose(trained.params, np.e, rtol=1e-2)


def test_it_goes_on_from_a_training_or_a_result_and_takes_keys_of_both_kinds():
    once = train(key=jax.random.PRNGKey(3))
    assert same(once.params, train(key=jax.random.key(3)).params)
    assert same(once.params, train(key=3).params)
    more = gdjax.train(loss, once, data(), batch_size=SIZE, epochs=1)
    assert more.status == Status.EPOCHS_DONE
    result = gdjax.minimize(loss, start(), data(), max_evals=3)
    assert gdjax.train(loss, result, data(), batch_size=SIZE, epochs=1).history.loss[0] < loss(start(), data())
    with pytest.raises(TypeError, match="key must be a seed"):
        train(key="seed")


def test_an_error_in_the_loss_says_how_it_was_called():
    three, rows = lambda p, x, y: jnp.mean((x @ p - y) ** 2), tuple(data().values())
    with pytest.raises(TypeError, match="unsupported operand") as raised:
        gdjax.train(three, jnp.ones(3), rows, batch_size=8, epochs=1)
    assert any("train calls loss(params, batch, key), since it takes three" in note for note in raised.value.__notes__)
    two = [(np.ones((4, 3)), np.ones(4)), (np.ones((4, 3)), np.ones(4))]
    with pytest.raises(TypeError, match="unsupported operand") as raised:
        gdjax.train(lambda p, b: jnp.mean(b[0] @ p - b[1]), jnp.ones(3), two, batch_size=2, epochs=1)
    assert any("data=lambda epoch: batches" in note for note in raised.value.__notes__)


def test_it_is_not_for_traces():
    with pytest.raises(ValueError, match="train works in Python"):
        jax.vmap(lambda key: train(key=key).params)(jax.random.split(jax.random.key(0), 2))


def test_a_loss_with_a_key_needs_a_metric_to_validate_on_data():
    with pytest.raises(TypeError, match="give metric="):
        train(noisy, validation=data())
