"""The rectangle of largest area within 200 m of fence, then a parabola fitted by mean absolute error.

The first half shows gdjax.maximize on a problem that one can solve by hand. The second is a hard one: the
mean absolute error has kinks and no slope that fades as the minimum comes near. Several methods try it from
the same start with the same stopping rule, and the table says how far each one gets.

Run it with: python examples/fence.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gdjax

X = np.arange(100.0)
Y = 100 * X - X**2  # so the minimum is at a = -1, b = 100, where the error is 0
START = np.array([-2.0, 30.0])
STOP = gdjax.Stop(target=1e-9)  # the minimum is 0; this leaves room for rounding
METHODS = {
    "gradient descent, rate 1e-4": gdjax.GradientDescent(1e-4),  # the best of 1e-2, 1e-3, ..., 1e-6
    "gradient descent, backtracking": gdjax.GradientDescent(gdjax.Backtracking()),
    "Polyak's rate (optax)": optax.polyak_sgd(),
    "Adam, rate 0.1": optax.adam(0.1),
    "Adam, rate 1 halved every 50 steps": optax.adam(optax.exponential_decay(1.0, 50, 0.5)),
    "Adam, rate 1 halved every 100 steps": optax.adam(optax.exponential_decay(1.0, 100, 0.5)),
    "L-BFGS (default)": None,
    "BFGS, search made for kinks": gdjax.BFGS(line_search=gdjax.WeakWolfe()),
}


def area(length):
    """Area of the rectangle: 200 m around are 100 m for length and width together."""
    return length * (100 - length)


def climb():
    """The points on the way up from 57 m, the last of which is the answer."""
    return list(gdjax.iterate(area, 57.0, maximize=True, method=gdjax.GradientDescent(0.25)))


def absolute_error(p):
    """Mean absolute error of a x^2 + b x."""
    return jnp.mean(jnp.abs(p[0] * X**2 + p[1] * X - Y))


def squared_error(p):
    """Mean squared error of a x^2 + b x."""
    return jnp.mean((p[0] * X**2 + p[1] * X - Y) ** 2)


def condition_number():
    """Largest over smallest curvature of the squared error, which are the same everywhere."""
    smallest, largest = jnp.linalg.eigvalsh(jax.hessian(squared_error)(jnp.asarray(START)))
    return float(largest / smallest)


def fit(method):
    """Minimise the absolute error from START."""
    return gdjax.minimize(absolute_error, jnp.asarray(START), method=method, stop=STOP)


def main() -> None:
    """Maximise the area, then fit the parabola."""
    jax.config.update("jax_enable_x64", True)

    print("1. The largest rectangle: maximise length * (100 - length), starting at 57 m\n")
    print("step   length       slope         area")
    states = climb()
    for state in [*states[:4], states[-1]]:
        print(
            f"{int(state.num_steps):4d}  {float(state.params):9.6f}  {float(state.grad):9.6f}"
            f"  {float(state.value):11.6f}"
        )
    print("By hand: the slope is 100 - 2 length, which is zero at length 50: a square, area 2500.")
    answer = gdjax.maximize(area, 57.0)
    print(f"gdjax.maximize finds length {float(answer.params):.6f}, area {float(answer.value):.6f}.")
    print(answer)

    print("\n2. Fit a x^2 + b x to y = 100 x - x^2 at x = 0, 1, ..., 99 by mean absolute error\n")
    print(f"Start: a = -2, b = 30, error {absolute_error(START):.1f}; minimum: a = -1, b = 100, error 0.")
    print("There is a kink wherever a residual changes sign, all along the floor of a narrow valley: the")
    print(f"squared error has condition number {condition_number():.0f}. Every method is to stop at 1e-9.\n")
    print("method                                     value         a          b  evaluations  status")
    for name, method in METHODS.items():
        result = fit(method)
        a, b = result.params
        print(
            f"{name:37s} {float(result.value):11.3g}  {a:8.4f}  {b:9.4f}  {int(result.num_evals):11d}"
            f"  {result.status.name}"
        )
    print("\nOnly the rows that say TARGET_REACHED are at the minimum. The first three methods zigzag")
    print("between the walls of the valley. Adam at a constant rate hops about the minimum, and with a")
    print("rate that shrinks too fast it freezes on the way: the schedule that works was found by trial.")
    print("BFGS with a search that only bisects needs no trials: from the gradients on both sides of the kinks")
    print("it learns the shape of the valley.")
    print("At a kink the gradient does not fade, so no test on it can tell the minimum from being stuck.")
    print("Where the lowest value is known, give it as target. The squared error has no kinks, the same")
    print("minimum here, and is no trouble to the default method, in spite of its condition number:\n")
    print(gdjax.minimize(squared_error, jnp.asarray(START), stop=STOP))


if __name__ == "__main__":
    main()
