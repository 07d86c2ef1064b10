"""The scalars of a loss: inner products in its dtype, and how far its values can be trusted."""

from typing import Any

import jax.numpy as jnp

from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector

# The rounding error of a computed value f is taken as NOISE * eps * |f|. Eight roundings: a loss that is
# itself a sum of n terms errs by about sqrt(n) * eps / 2, and eight covers the means over 10 to 1000 terms
# of the tutorials' losses; too small a constant makes rounding look like progress, never a false success.
NOISE = 8.0
# Share of the value that a search takes for noise, if that is more than its rounding: anything from 1e-12 to 1e-6 does
# as well.
SEARCH_NOISE = 1e-10
# Rounding errors of the value up to which methods without a search trust slopes instead. With any number from 1 to 100
# the evaluations of TrustRegion and AcceleratedGradient change by less than 5% (least squares, logistic regression,
# Rosenbrock + 1000, 100 problems each, both dtypes); 10 leaves room for losses that sum more terms.
BLUR = 10.0


class Scalars:
    """The scalars of a loss; `Objective` is one.

    Half precision has single precision's scalars, and float32 parameters of a float64 loss have float64's.
    """

    dtype: Any  # of values, norms and step sizes
    eps: float  # coarsest machine epsilon among parameters, value and given derivatives

    def dot(self, a: Vector, b: Vector) -> Scalar:
        """Inner product of two vectors."""
        return vector.dot(a, b).astype(self.dtype)

    def dots(self, *pairs: tuple[Vector, Vector]) -> list[Scalar]:
        """The inner products of some pairs, as one reduction."""
        return [product.astype(self.dtype) for product in vector.dots(*pairs)]

    def noise(self, value: Scalar) -> Scalar:
        """Rounding error to be expected in ``value``."""
        return NOISE * self.eps * jnp.abs(value)

    def search_noise(self, value: Scalar) -> Scalar:
        """The difference from ``value`` up to which a search trusts slopes rather than values."""
        return max(SEARCH_NOISE, NOISE * self.eps) * jnp.abs(value)

    def blur(self, value: Scalar) -> Scalar:
        """The same for methods without a search."""
        return BLUR * self.noise(value)

    def span(self, x: Vector, grad: Vector) -> Scalar:
        """The sum of |x_i g_i|."""
        return vector.abs_dot(x, grad).astype(self.dtype)

    def rounding(self, x: Vector, grad: Vector) -> Scalar:
        """Change of the value that the rounding of x makes, where the gradient is ``grad``."""
        return NOISE * self.eps * self.span(x, grad)
