"""Two valleys and a saddle: where descent ends depends on where it starts.

A descent finds a point where the gradient is zero, not the lowest one. Shows the ends of descents from many
starts, all run by one call of jax.vmap, and what becomes of a start exactly on a saddle.

Run it with: python examples/local_minima.py
"""

import jax
import jax.numpy as jnp

import gdjax


def two_valleys(x):
    """A curve with a deep valley near -1.47 and a shallow one near 1.35; the crest between is near 0.13."""
    return x**4 - 4 * x**2 + x


def saddle(p):
    """A surface with minima at (-1, 0) and (1, 0), where it is 0, and a saddle at (0, 0), where it is 1."""
    return (p[0] ** 2 - 1) ** 2 + p[1] ** 2


def descend_curve(x):
    """One descent along the curve."""
    return gdjax.minimize(two_valleys, x, method=gdjax.GradientDescent(0.02))


def descend_surface(p):
    """One descent over the surface."""
    return gdjax.minimize(saddle, p, method=gdjax.GradientDescent(0.05))


def from_many_starts(descend, starts):
    """All descents at once: a result with a leading axis, one lane a start."""
    return jax.vmap(descend)(starts)


def curvatures(p):
    """The two curvatures of the surface at a point: both positive at a minimum, of two signs at a saddle."""
    return jnp.linalg.eigvalsh(jax.hessian(saddle)(p))


def main() -> None:
    """Curve, surface, the start on the saddle."""
    jax.config.update("jax_enable_x64", True)

    print("1. x^4 - 4 x^2 + x, by gradient descent from nine starts in one vmapped call\n")
    starts = jnp.linspace(-2, 2, 9)
    ends = from_many_starts(descend_curve, starts)
    print("start       end     value  steps  status")
    for i, start in enumerate(starts):
        print(
            f"{start:5.1f}  {ends.params[i]:8.5f}  {ends.value[i]:8.5f}  {ends.num_steps[i]:5d}"
            f"  {gdjax.Status(int(ends.status[i])).name}"
        )
    best = int(jnp.argmin(ends.value))
    print(f"\nprint(ends) counts them: {ends}")
    print("Every descent has reached a minimum, but those on the right have missed the lower one.")
    print(f"Try many starts and keep the best: x = {ends.params[best]:.5f}, value {ends.value[best]:.5f}.")

    print("\n2. (x^2 - 1)^2 + y^2, by gradient descent from six starts in one vmapped call\n")
    starts = jnp.array([[-0.5, 1.0], [0.5, 1.0], [2.0, 0.5], [0.0, 0.0], [0.0, 1.0], [1e-6, 1.0]])
    ends = from_many_starts(descend_surface, starts)
    print("start           end                      value  smallest curvature  steps  status")
    for i, (x, y) in enumerate(starts):
        end_x, end_y = ends.params[i]
        print(
            f"({x:5.2g}, {y:4.1f})   ({end_x:8.5f}, {end_y:8.5f})  {ends.value[i]:8.5f}"
            f"  {curvatures(ends.params[i])[0]:18.2f}  {ends.num_steps[i]:5d}"
            f"  {gdjax.Status(int(ends.status[i])).name}"
        )
    print("\nThe start (0, 0) is the saddle itself, and from (0, 1) the slope leads straight down to it.")
    print("Both end there with CONVERGED, which says that the gradient is zero: the point is stationary,")
    print("but not a minimum, for one of its two curvatures is negative. A start only 1e-06 beside that")
    print("line escapes. What the result says of the start on the saddle:\n")
    print(descend_surface(jnp.zeros(2)))


if __name__ == "__main__":
    main()
