"""The same optax optimisers, driven by a loop written by hand and by gdjax.

Shows that gdjax takes the same steps in fewer lines, and what the hand-written loop lacks: it runs for a
number of steps that somebody chose, and does not say whether that was too few or more than enough.

Run it with: python examples/compare_optax.py
"""

import inspect
import itertools

import jax
import jax.numpy as jnp
import optax

import gdjax

OPTIMISERS = {
    "adam(0.05)": optax.adam(0.05),
    "sgd(5e-4, momentum=0.9)": optax.sgd(5e-4, momentum=0.9),
    "adabelief(0.02)": optax.adabelief(0.02),
}


def rosenbrock(p):
    """A long curved valley; the minimum is 0 at (1, 1)."""
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def start():
    """The customary start."""
    return jnp.array([-1.2, 1.0])


def loop_by_hand(optimiser, params, steps):
    """The start and the points after 1, 2, ..., ``steps`` updates."""
    state = optimiser.init(params)

    @jax.jit
    def update(params, state):
        updates, state = optimiser.update(jax.grad(rosenbrock)(params), state, params)
        return optax.apply_updates(params, updates), state

    points = [params]
    for _ in range(steps):
        params, state = update(params, state)
        points.append(params)
    return jnp.stack(points)


def loop_by_gdjax(optimiser, params, steps):
    """The same points."""
    states = gdjax.iterate(rosenbrock, params, method=optimiser)
    return jnp.stack([state.params for state in itertools.islice(states, steps + 1)])


def descend(optimiser, params):
    """All the way, until the gradient counts as zero."""
    return gdjax.minimize(rosenbrock, params, method=optimiser)


def largest_difference(optimiser, steps=50):
    """Largest difference between the two loops in any coordinate of the first points."""
    by_hand, by_gdjax = loop_by_hand(optimiser, start(), steps), loop_by_gdjax(optimiser, start(), steps)
    return float(jnp.max(jnp.abs(by_hand - by_gdjax)))


def main() -> None:
    """Compare the points, the lines and the ends."""
    jax.config.update("jax_enable_x64", True)

    print("1. The first 50 steps down Rosenbrock's valley, by hand and by gdjax\n")
    print("optimiser                largest difference of a coordinate")
    for name, optimiser in OPTIMISERS.items():
        print(f"{name:23s}  {largest_difference(optimiser):.1e}")

    print("\n2. Source lines of the functions above, docstring included\n")
    for function in (loop_by_hand, loop_by_gdjax, descend):
        print(f"{function.__name__:13s}  {len(inspect.getsource(function).splitlines()):3d}")

    print("\n3. All the way: 1000 steps by hand, gdjax until its test on the gradient holds\n")
    print("optimiser                by hand: value, status     by gdjax: value  steps  status")
    for name, optimiser in OPTIMISERS.items():
        by_hand = rosenbrock(loop_by_hand(optimiser, start(), 1000)[-1])
        result = descend(optimiser, start())
        print(
            f"{name:23s}  {by_hand:14.3g}, unknown  {result.value:18.3g}  {int(result.num_steps):5d}"
            f"  {result.status.name}"
        )
    print("\nA thousand steps were too few for all three, which the loop by hand does not say. gdjax says,")
    print(f"for the last of them:\n\n{result}")


if __name__ == "__main__":
    main()
