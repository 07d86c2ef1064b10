"""Total variation of a signal: piecewise constant parameters."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, static_field
from gdjax.penalties.base import like, require_strength, total
from gdjax.vectors.vector import Scalar


@pytree_dataclass
class TotalVariation1D:
    """``strength * sum |x_{i+1} - x_i|`` along an axis of every leaf: the fused lasso, piecewise constant signals.

    The prox is the exact minimiser, found in one pass along the signal (L. Condat, A direct algorithm for 1-D
    total variation denoising, IEEE Signal Processing Letters 20, 2013). The pass is sequential; its cost is usually
    linear.

    Args:
        strength: a number.
        axis: the axis along which neighbours are compared; the other axes are a batch of signals.

    >>> print(TotalVariation1D(1.0).prox(jnp.array([0.0, 1.0, 9.0, 10.0]), 1.0))
    [1. 1. 9. 9.]
    """

    strength: Any
    axis: int = static_field(-1)

    def __post_init__(self) -> None:
        require_strength("strength", self.strength)

    def value(self, x: Any) -> Scalar:
        """``strength * sum |x_{i+1} - x_i|``."""
        return total([jnp.abs(jnp.diff(leaf, axis=self.axis)) * like(self.strength, leaf) for leaf in real_leaves(x)])

    def prox(self, x: Any, step: Scalar) -> Any:
        """The exact minimiser, by the taut string."""
        real_leaves(x)

        def of_leaf(leaf: jax.Array) -> jax.Array:
            if leaf.size == 0:
                return leaf
            signals = jnp.moveaxis(leaf, self.axis, -1)
            rows = signals.reshape(-1, signals.shape[-1])
            strength = like(step, leaf) * like(self.strength, leaf)
            taut = jax.vmap(denoise, (0, None))(rows, strength) if rows.shape[0] > 1 else denoise(rows[0], strength)
            return jnp.moveaxis(taut.reshape(signals.shape), -1, self.axis)

        return jax.tree.map(of_leaf, x)

    def describe(self, x: Any) -> str:
        """The number of constant pieces."""
        jumps = [(jnp.diff(leaf, axis=self.axis) != 0) for leaf in real_leaves(x)]
        pieces = sum(int(jnp.sum(j)) + j.size // max(j.shape[self.axis], 1) for j in jumps)
        return f"{pieces} constant pieces"


def real_leaves(x: Any) -> list[jax.Array]:
    """The leaves, which must be real arrays."""
    leaves = jax.tree.leaves(x)
    if any(jnp.iscomplexobj(leaf) or leaf.ndim == 0 for leaf in leaves):
        raise TypeError(
            "TotalVariation1D needs real arrays with an axis; penalise the other leaves with gdjax.penalties.by_leaf"
        )
    return leaves


class Pass(NamedTuple):
    """The pass along the signal; the piece that is being built begins at ``first``."""

    now: jax.Array  # index reached
    first: jax.Array
    last_low: jax.Array  # where the piece would end if it jumped down
    last_high: jax.Array  # where it would end if it jumped up
    low: Scalar  # least and
    high: Scalar  # greatest value that the piece may have
    dual_low: Scalar  # dual variable (the string's height) at ``now`` if the piece has the value low,
    dual_high: Scalar  # and if it has the value high
    values: jax.Array  # of the pieces that are done, each at its first index
    starts: jax.Array  # whether a piece begins here
    done: jax.Array


@jax.custom_jvp
def denoise(y: jax.Array, strength: Scalar) -> jax.Array:
    """The x that minimises ``|x - y|^2 / 2 + strength * sum |x_{i+1} - x_i|``, shape (n,).

    The dual variable, the running sum of y - x, must stay within [-strength, strength] and end at 0. A piece
    grows while some value in [low, high] allows that; when low lets the sum fall too deep, it must end where low
    last touched the upper bound and a jump down follows; the mirror image for high.
    """
    n = y.size
    zero, none = jnp.asarray(0, jnp.int32), jnp.zeros(n, bool)
    start = Pass(zero, zero, zero, zero, y[0] - strength, y[0] + strength, strength, -strength, y, none, zero > 0)
    end = jax.lax.while_loop(lambda s: ~s.done, lambda s: advance(y, strength, s), start)
    piece = jax.lax.cummax(jnp.where(end.starts, jnp.arange(n, dtype=jnp.int32), 0))
    return end.values[piece]


@denoise.defjvp
def denoise_jvp(primals: tuple[jax.Array, Scalar], tangents: tuple[jax.Array, Scalar]) -> tuple[jax.Array, jax.Array]:
    """A piece has the mean of its y, raised by strength / length at a jump up to its right and lowered at its left."""
    x = denoise(*primals)
    dy, ds = tangents
    jump = jax.lax.stop_gradient(jnp.sign(jnp.diff(x)))
    zero = jnp.zeros(1, x.dtype)
    piece = jnp.cumsum(jnp.concatenate([zero, jump]) != 0, dtype=jnp.int32)
    total = lambda v: jax.ops.segment_sum(v, piece, x.size)[piece]
    pull = jnp.concatenate([jump, zero]) - jnp.concatenate([zero, jump])
    return x, total(dy + ds * pull) / total(jnp.ones_like(x))


def advance(y: jax.Array, strength: Scalar, s: Pass) -> Pass:
    """Take in one more entry, or finish a piece."""
    n = y.size
    at_end = s.now == n - 1
    ahead = y[jnp.minimum(s.now + 1, n - 1)]
    dual_low = jnp.where(at_end, s.dual_low, s.dual_low + ahead - s.low)
    dual_high = jnp.where(at_end, s.dual_high, s.dual_high + ahead - s.high)
    bound = jnp.where(at_end, 0, strength)  # at the end the string is tied to 0
    down = dual_low < -bound
    up = ~down & (dual_high > bound)
    jump = down | up

    # A piece is finished, at its low or high value, and the next begins behind it.
    begin = jnp.minimum(jnp.where(down, s.last_low, s.last_high) + 1, n - 1)
    y0 = y[begin]
    low = jnp.where(down, y0, y0 - 2 * strength)
    high = jnp.where(down, y0 + 2 * strength, y0)
    # Once the end was reached, the bound on the other side is what the last pieces have left of it.
    low, high = jnp.where(at_end & up, s.low, low), jnp.where(at_end & down, s.high, high)
    new_low = jnp.where(at_end & up, y0 - strength - s.low, strength)
    new_high = jnp.where(at_end & down, y0 + strength - s.high, -strength)

    # Otherwise the entry joins: the bounds give way where the string touches its tube.
    now = s.now + (~at_end).astype(jnp.int32)
    count = (now - s.first + 1).astype(y.dtype)
    touches_high, touches_low = dual_low >= strength, dual_high <= -strength
    joined_low = jnp.where(touches_high, s.low + (dual_low - strength) / count, s.low)
    joined_high = jnp.where(touches_low, s.high + (dual_high + strength) / count, s.high)

    last_low, last_high = jnp.where(touches_high, now, s.last_low), jnp.where(touches_low, now, s.last_high)

    done = at_end & ~jump
    final = s.low + s.dual_low / count
    value = jnp.where(down, s.low, jnp.where(up, s.high, final))
    finished = jump | done
    return Pass(
        now=jnp.where(jump, begin, now),
        first=jnp.where(jump, begin, s.first),
        last_low=jnp.where(jump, jnp.where(at_end & up, jnp.maximum(s.last_low, begin), begin), last_low),
        last_high=jnp.where(jump, jnp.where(at_end & down, jnp.maximum(s.last_high, begin), begin), last_high),
        low=jnp.where(jump, low, joined_low),
        high=jnp.where(jump, high, joined_high),
        dual_low=jnp.where(jump, new_low, jnp.where(touches_high, strength, dual_low)),
        dual_high=jnp.where(jump, new_high, jnp.where(touches_low, -strength, dual_high)),
        values=s.values.at[s.first].set(jnp.where(finished, value, s.values[s.first])),
        starts=s.starts.at[s.first].set(s.starts[s.first] | finished),
        done=done,
    )
