"""A path around obstacles: the shortest smooth way between two points that keeps out of some discs.

    minimise  sum |p[k+1] - p[k]|^2   subject to   |p[k] - centre|^2 >= radius^2   for each point and each disc

The straight line runs through the discs, so the start violates constraints; the answer touches some of them. Which
ones, and how hard it presses, the multipliers tell. Between its points the path may cut a corner by a little: more
points make that as small as you like.

Draws obstacle_path.png. Run it with: python examples/obstacle_path.py [FOLDER FOR THE PICTURE, by default pictures]
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from pictures import save

import gdjax

BEGIN, END = np.array([0.0, 0.0]), np.array([10.0, 1.0])
CENTRES = np.array([[3.0, -0.2], [5.5, 1.6], [7.5, -0.4]])
RADII = np.array([1.0, 1.3, 0.9])


def whole(points):
    """The path with its two ends, shape (points + 2, 2)."""
    return jnp.concatenate([BEGIN[None], points, END[None]])


def length(points):
    """The sum of the squares of the steps, which spaces the points evenly; in units of a straight path's."""
    steps = jnp.diff(whole(points), axis=0)
    return jnp.sum(steps**2) * (len(points) + 1) / np.sum((END - BEGIN) ** 2)


def clearance(points):
    """How far each point is outside of each disc, by squares: shape (points, discs)."""
    away = jnp.sum((points[:, None, :] - CENTRES[None]) ** 2, axis=-1)
    return (away - RADII**2) / RADII**2


def find(count=30, bend=0.3):
    """The path of so many points between its ends, from a line that is bent a little, to one side of the centres."""
    share = np.linspace(0, 1, count + 2)[1:-1, None]
    start = BEGIN + share * (END - BEGIN) + bend * np.sin(np.pi * share) * np.array([0.0, 1.0])
    return start, gdjax.minimize(length, start, constraints=gdjax.Constraint(clearance, lower=0.0))


def plot(start, result):
    """Discs, start and path; points that touch a disc are marked."""
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    for centre, radius in zip(CENTRES, RADII, strict=True):
        axes.add_patch(plt.Circle(centre, radius, color="0.8"))
    axes.plot(*np.asarray(whole(start)).T, "--", linewidth=1, label="start")
    path = np.asarray(whole(result.params))
    axes.plot(*path.T, ".-", label="path")
    touching = np.asarray(result.active).any(axis=1)
    axes.plot(*path[1:-1][touching].T, "o", fillstyle="none", label="at a disc")
    axes.set(aspect="equal", title=f"{int(result.num_evals)} evaluations")
    axes.legend()
    save(figure, "obstacle_path.png")


def main():
    """Find the path and say what it touches."""
    jax.config.update("jax_enable_x64", True)
    start, result = find()
    print(result)
    for k, forces in enumerate(np.asarray(result.multipliers).T):
        print(f"disc {k}: touched by {int((forces > 1e-6).sum())} points, pressed by {forces.sum():.3f}")
    plot(start, result)


if __name__ == "__main__":
    main()
