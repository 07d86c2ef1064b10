"""Methods of your own: heavy ball with restart, and Adam. The loop, the tests and the result are those of gdjax.

A method is a frozen dataclass of hyperparameters. One that accepts every point says what it remembers (`empty`) and
what displacement follows from a point (`advance`); it then works under `jax.jit` and `jax.vmap`, for complex parameters
and in float32, with ``keep_state``, checkpoints and ``implicit=False``.

    python examples/your_own_method.py
"""

import jax
import jax.numpy as jnp
import optax

import gdjax
from gdjax.methods import Stepping, method
from gdjax.vectors import add, apply, dot, scale, subtract, where, zeros_like


@method
class HeavyBall(Stepping):
    """x <- x + v, v <- momentum v - rate g; v begins anew where it leads uphill.

    B. T. Polyak, USSR Comput. Math. 4 (1964); B. O'Donoghue and E. Candes, Found. Comput. Math. 15 (2015).
    """

    learning_rate: float
    momentum: float = 0.9

    def empty(self, x):
        """No velocity."""
        return zeros_like(x)

    def advance(self, v, point):
        """The velocity is the step."""
        v = where(dot(v, point.grad) > 0, zeros_like(v), v)
        v = subtract(scale(self.momentum, v), scale(self.learning_rate, point.grad))
        return v, v


@method
class Adam(Stepping):
    """x <- x - rate m / (sqrt(v) + eps), m and v the averages of g and |g|^2, as if they had not begun with zero.

    D. P. Kingma and J. Ba, Adam: A Method for Stochastic Optimization, ICLR (2015), algorithm 1.
    """

    learning_rate: float = 1e-3
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def empty(self, x):
        """No averages, no steps."""
        return zeros_like(x), apply(jnp.abs, zeros_like(x)), jnp.zeros_like(self.b1)

    def advance(self, memory, point):
        """The averages, freed of their start, make the step."""
        m, v, t = memory
        t = t + 1
        square = apply(lambda g: jnp.abs(g) ** 2, point.grad)
        m = add(scale(self.b1, m), scale(1 - self.b1, point.grad))
        v = add(scale(self.b2, v), scale(1 - self.b2, square))
        rate = self.learning_rate / (1 - self.b1**t)
        root = apply(jnp.sqrt, scale(1 / (1 - self.b2**t), v))
        step = apply(lambda m, r: -m / (r + self.eps.astype(r.dtype)), scale(rate, m), root)
        return (m, v, t), step


def rosenbrock(p):
    """The valley that everybody knows."""
    return jnp.sum(100.0 * (p[1:] - p[:-1] ** 2) ** 2 + (1.0 - p[:-1]) ** 2)


def main():
    """Both on Rosenbrock's function, and optax's Adam beside ours."""
    start = jnp.array([-1.2, 1.0])
    for chosen in (HeavyBall(1e-3, momentum=0.95), Adam(0.02), optax.adam(0.02)):
        result = gdjax.minimize(rosenbrock, start, method=chosen, max_steps=20_000)
        print(f"{type(chosen).__name__:32s} {result.status.name:16s} {int(result.num_evals):6d} {result.params}")
    rates = jnp.array([1e-4, 3e-4, 1e-3])
    many = jax.vmap(lambda rate: gdjax.minimize(rosenbrock, start, method=HeavyBall(rate), max_steps=2000))(rates)
    print("three rates at once:", many.value)


if __name__ == "__main__":
    main()
