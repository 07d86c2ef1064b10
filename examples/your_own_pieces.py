"""A line search, a penalty, a stopping test and an observer of your own, each a few lines of public names.

The first two are tuples of numbers: JAX traces the numbers, so another value compiles nothing, and both work under
`jax.jit` and `jax.vmap`. The last two are callbacks: Python functions that see the result so far between two steps.

    python examples/your_own_pieces.py
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import gdjax
from gdjax.line_search import Trial, Verdict, decreases


class Search(NamedTuple):
    """What `Halving` remembers between two evaluations. Every line search has the first two fields."""

    step_size: Any  # the step to try next
    start: Trial  # value and slope at step 0
    trials: Any  # rejected so far


class Halving(NamedTuple):
    """Halve the step until the loss falls by `decrease` times what the slope promises (Armijo 1966).

    The loop evaluates the loss at each step that the search asks for, and feeds value and slope back.
    """

    decrease: float = 1e-4
    max_trials: int = 50

    def start(self, value, slope, step_size):
        """Begin a search along a new direction; `step_size` is the first step to try."""
        return Search(step_size, Trial(jnp.zeros_like(value), value, slope), jnp.zeros((), jnp.int32))

    def satisfied(self, search, value, slope, noise):
        """Whether to take the step. `decreases` trusts the slopes where rounding hides the decrease."""
        return decreases(self.decrease, search, value, slope, noise)

    def feed(self, search, value, slope, noise):
        """After one evaluation: the step to try next, whether to take this one, whether to give up."""
        accepted, trials = self.satisfied(search, value, slope, noise), search.trials + 1
        step_size = jnp.where(accepted, search.step_size, 0.5 * search.step_size)
        return search._replace(step_size=step_size, trials=trials), Verdict(
            accepted, ~accepted & (trials >= self.max_trials)
        )


class AsymmetricL1(NamedTuple):
    """The sum of ``up * x`` over positive entries and ``-down * x`` over negative ones: `L1` with two strengths."""

    up: float
    down: float

    def value(self, x):
        """One number."""
        return jnp.sum(jnp.maximum(self.up * x, -self.down * x))

    def prox(self, x, step):
        """The z that minimises ``step * value(z) + |z - x|^2 / 2``: move towards zero, and stop there."""
        return jnp.maximum(x - step * self.up, 0) + jnp.minimum(x + step * self.down, 0)


class EarlyStopping:
    """Stop when the validation loss has not fallen for `patience` steps. True asks to stop."""

    def __init__(self, validation, patience=5):
        self.validation, self.patience = jax.jit(validation), patience
        self.best, self.params, self.since = float("inf"), None, 0

    def __call__(self, state):
        """Look at the iterate of a step."""
        value = float(self.validation(state.params))
        self.since += 1
        if value < self.best:
            self.best, self.params, self.since = value, state.params, 0
        return self.since >= self.patience


class Recorder:
    """Keep (steps, value, gradient norm) of what the descent shows; `callback_every` says how often."""

    def __init__(self):
        self.rows = []

    def __call__(self, state):
        """Write a row."""
        self.rows.append((int(state.num_steps), float(state.value), float(state.grad_norm)))


def rosenbrock(p):
    """A curved valley; the minimum is 0, where every entry is 1."""
    return jnp.sum(100.0 * (p[1:] - p[:-1] ** 2) ** 2 + (1.0 - p[:-1]) ** 2)


def search_by_halving(start):
    """L-BFGS with a line search of our own."""
    return gdjax.minimize(rosenbrock, start, method=gdjax.LBFGS(line_search=Halving()), history=True)


def shrink(goal, up, down):
    """Least squares with a penalty of our own; the answer is its prox at `goal`, with step 1."""
    return gdjax.minimize(lambda x: 0.5 * jnp.sum((x - goal) ** 2), 0 * goal, penalty=AsymmetricL1(up, down))


def make_polynomials(degree=12, num=20):
    """Powers of x and a noisy wave, for training and for validation."""
    x = jnp.linspace(-1.0, 1.0, 2 * num)
    y = jnp.sin(3 * x) + 0.3 * jax.random.normal(jax.random.key(0), x.shape, x.dtype)
    powers = x[:, None] ** jnp.arange(degree + 1)
    return (powers[::2], y[::2]), (powers[1::2], y[1::2])


def fit_until_validation_rises(patience=5):
    """Fit more coefficients than the data can bear, until the validation loss rises."""
    mse = lambda w, powers, y: jnp.mean((powers @ w - y) ** 2)
    train, valid = make_polynomials()
    stopping = EarlyStopping(lambda w: mse(w, *valid), patience)
    result = gdjax.minimize(mse, jnp.zeros(train[0].shape[1]), *train, callback=stopping)
    return result, stopping, float(stopping.validation(result.params))


def record(start, every=10):
    """What a descent looked like, every tenth step."""
    recorder = Recorder()
    return gdjax.minimize(rosenbrock, start, callback=recorder, callback_every=every), recorder.rows


def main():
    """All four."""
    start = jnp.array([-1.2, 1.0])
    print("line search:  ", search_by_halving(start))
    goal = jnp.array([3.0, 0.4, -0.4, -3.0])
    print("penalty:      ", shrink(goal, up=0.5, down=0.1).params, gdjax.check_penalty(AsymmetricL1(0.5, 0.1), goal).ok)
    result, stopping, _ = fit_until_validation_rises()
    print("stopping test:", result.status.name, f"validation loss {stopping.best:.4f} before it rose")
    print("observer:")
    for steps, value, norm in record(jnp.tile(start, 5))[1]:
        print(f"{steps:6d} {value:12.4e} {norm:12.4e}")


if __name__ == "__main__":
    main()
