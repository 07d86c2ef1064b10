"""Linear regression: a slope and an intercept by gradient descent, and what the learning rate does to it.

Shows the partial derivatives worked out by hand beside JAX's, the minimum found by descent beside the exact
one, what gdjax says of a learning rate that is too small, right or too large, and the arithmetic of a step.

Run it with: python examples/linear_regression.py
"""

import jax
import jax.numpy as jnp
import numpy as np

import gdjax


def make_data():
    """Fifty points scattered about the line 3 + 0.5 x."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 10, 50)
    return jnp.asarray(x), jnp.asarray(3 + 0.5 * x + 0.3 * rng.standard_normal(50))


def loss(w, x, y):
    """Mean squared error of the line w[0] + w[1] x."""
    return jnp.mean((w[0] + w[1] * x - y) ** 2)


def gradient(w, x, y):
    """The two partial derivatives, worked out by hand."""
    error = w[0] + w[1] * x - y
    return jnp.array([2 * jnp.mean(error), 2 * jnp.mean(error * x)])


def exact(x, y):
    """Intercept and slope from the normal equations, which least squares solves directly."""
    columns = jnp.stack([jnp.ones_like(x), x], axis=1)
    return jnp.linalg.lstsq(columns, y)[0]


def largest_stable_rate(x, y):
    """Two over the largest curvature of the loss: at a higher rate each step overshoots by more."""
    return 2 / float(jnp.linalg.eigvalsh(jax.hessian(loss)(jnp.zeros(2), x, y))[-1])


def descend(rate, x, y):
    """Gradient descent from a flat line at zero."""
    return gdjax.minimize(loss, jnp.zeros(2), x, y, method=gdjax.GradientDescent(rate))


def bowl(w):
    """A loss whose gradient at (1, 1) is (4, -1)."""
    return 2 * w[0] ** 2 + 0.5 * (w[1] - 2) ** 2


def one_step():
    """The start and the point after one step of rate 0.1 down the bowl."""
    states = gdjax.iterate(bowl, jnp.array([1.0, 1.0]), method=gdjax.GradientDescent(0.1))
    return next(states), next(states)


def main() -> None:
    """Derivatives, descents at three rates, one step."""
    jax.config.update("jax_enable_x64", True)
    x, y = make_data()

    print("1. Partial derivatives of the mean squared error at w0 = 0, w1 = 0\n")
    by_hand, by_jax = gradient(jnp.zeros(2), x, y), jax.grad(loss)(jnp.zeros(2), x, y)
    print("                  by hand    jax.grad")
    print(f"intercept w0  {by_hand[0]:11.6f} {by_jax[0]:11.6f}")
    print(f"slope w1      {by_hand[1]:11.6f} {by_jax[1]:11.6f}")

    print("\n2. Three learning rates, too small, right and too large; descent is stable below two over the")
    print(f"   largest curvature of the loss, here {largest_stable_rate(x, y):.4f}\n")
    print("rate      intercept         slope  largest error  steps  status")
    truth = exact(x, y)
    results = {rate: descend(rate, x, y) for rate in (1e-5, 0.02, 0.05)}
    for rate, result in results.items():
        error = float(jnp.max(jnp.abs(result.params - truth)))
        print(
            f"{rate:<7g} {result.params[0]:11.8f}  {result.params[1]:12.8f}  {error:13.1e}"
            f"  {int(result.num_steps):5d}  {result.status.name}"
        )
    print(f"exact   {truth[0]:11.8f}  {truth[1]:12.8f}\n")
    for rate, result in results.items():
        print(f"Rate {rate:g}: {result}\n")

    print("3. The arithmetic of a step: new w = w - rate * gradient, with rate 0.1\n")
    before, after = one_step()
    print(
        f"At w = ({before.params[0]:g}, {before.params[1]:g}) the gradient is "
        f"({before.grad[0]:g}, {before.grad[1]:g}), so one step takes"
    )
    for i in range(2):
        change = after.params[i] - before.params[i]
        print(
            f"  w{i} from {before.params[i]:.1f} to {before.params[i]:.1f} - 0.1 * ({before.grad[i]:g})"
            f" = {after.params[i]:.1f}, {'down' if change < 0 else 'up'} by {abs(change):.1f}"
        )
    print(f"and the loss from {before.value:.3f} down to {after.value:.3f}.")


if __name__ == "__main__":
    main()
