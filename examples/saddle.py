"""At rest, but not at a minimum: how to recognise a saddle, and how to leave it.

A descent ends where the gradient is zero. On a ridge between two valleys that is a saddle:
`gdjax.classify_critical_point` looks at the curvature and says so, and `escape_saddles=True` goes on downhill from
there. Draws saddle.png.

Run it with: python examples/saddle.py [FOLDER FOR THE PICTURE, by default pictures]
"""

import jax
import jax.numpy as jnp
import numpy as np
from pictures import save

import gdjax


def two_valleys(p):
    """Minima at (1, 0) and (-1, 0), where it is 0; a saddle at (0, 0), where it is 1."""
    return (p[0] ** 2 - 1) ** 2 + p[1] ** 2


START = np.array([0.0, 1.2])  # on the ridge: the slope leads straight to the saddle


def descend(**options):
    """Gradient descent, and the points on the way."""
    path = []
    method = gdjax.GradientDescent(0.05)
    return gdjax.minimize(two_valleys, START, method=method, callback=path.append, **options), path


def main() -> None:
    """Get stuck, look around, leave."""
    jax.config.update("jax_enable_x64", True)
    stuck, _ = descend()
    print(f"Gradient descent from (0, 1.2): {stuck}\n")
    print(f"What kind of point is that? {gdjax.classify_critical_point(two_valleys, stuck)}\n")
    print("result.explain(loss) says the same, with what to try:\n")
    print(stuck.explain(two_valleys))
    free, path = descend(escape_saddles=True)
    print(f"\nWith escape_saddles=True: {free}")
    print(f"Its certificate: {free.certificate}")
    ax = gdjax.plot.surface(
        two_valleys, free, path=path, marks={"saddle": jnp.zeros(2)}, span=((-1.6, 1.6), (-0.8, 1.4))
    )
    save(ax.figure, "saddle.png")


if __name__ == "__main__":
    main()
