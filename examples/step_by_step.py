"""One step at a time: the ball on the curve, rolled by hand.

Walks `gdjax.iterate` one step at a time, prints what each step sees, and draws the point sliding down the curve as an
animation, step_by_step.gif. The lines between the # %% marks are cells for an editor or a notebook.

Run it with: python examples/step_by_step.py [FOLDER FOR THE ANIMATION, by default pictures]
"""

import jax
import matplotlib.pyplot as plt
from matplotlib.animation import FuncAnimation, PillowWriter
from pictures import place

import gdjax


# %% A curve with two valleys: the left one is deeper
def curve(x):
    """The loss."""
    return x**4 - 4 * x**2 + x


START, RATE = 2.0, 0.02


# %% One step by hand, and the same step by gdjax
def by_hand(x):
    """x - rate * slope."""
    return x - RATE * jax.grad(curve)(x)


def walk():
    """All steps; `next(steps)` in a notebook is the step button."""
    steps = gdjax.iterate(curve, START, method=gdjax.GradientDescent(RATE), max_steps=25)
    return list(steps)


# %% The picture of one moment, and of all of them
def draw(states, ax):
    """The curve and the points so far."""
    ax.clear()
    gdjax.plot.slice(curve, states[-1].params, path=states, span=(-2.2, 2.2), ax=ax)
    ax.legend(frameon=False, loc="upper center")
    state = states[-1]
    ax.set(ylim=(-6.5, 6), xlabel="x", title=f"step {int(state.num_steps)}: x = {float(state.params):.4f}, "
           f"slope = {float(state.grad):+.3f}")  # fmt: skip


def animate(states, path):
    """One frame a step."""
    figure, ax = plt.subplots(figsize=(5.6, 3.6), layout="constrained")
    frames = FuncAnimation(figure, lambda i: draw(states[: i + 1], ax), frames=len(states))
    frames.save(path, writer=PillowWriter(fps=4), dpi=70)
    plt.close(figure)


def main() -> None:
    """Walk, print, animate."""
    jax.config.update("jax_enable_x64", True)
    states = walk()
    print(f"One step by hand from x = {START}: {float(by_hand(START)):.6f}")
    print(f"One step by gdjax.iterate:       {float(states[1].params):.6f}\n")
    print("step         x     value     slope  coming step")
    for state in states[:6]:
        slope = float(state.grad)
        print(f"{int(state.num_steps):4d}  {float(state.params):8.5f}  {float(state.value):8.5f}  {slope:8.4f}"
              f"  {-RATE * slope:+.5f}")  # fmt: skip
    print(f"...\n{states[-1]}")
    print("It rolled into the valley it started above, not into the deeper one on the left.")
    animate(states, place("step_by_step.gif"))


if __name__ == "__main__":
    main()
