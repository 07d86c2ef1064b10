"""Which of several models the data are for: the information criteria of Akaike and of Schwarz.

H. Akaike, A new look at the statistical model identification, IEEE Trans. Autom. Control 19 (1974); G. Schwarz,
Estimating the dimension of a model, Ann. Statist. 6 (1978); C. M. Hurvich and C.-L. Tsai, Regression and time series
model selection in small samples, Biometrika 76 (1989).
"""

from typing import Any

import jax
import numpy as np

from gdjax.insight.spread import over, rank_along
from gdjax.jaxtools.on_host import host_property
from gdjax.vectors.vector import namespace


class Criteria:
    """Of a fit to m residuals with normal errors.

    With ``absolute_sigma`` the residuals are in units of their standard deviation: ``-2 log L = chi2 + m log(2 pi)``
    with k parameters. Otherwise their variance is estimated, too, by ``chi2 / m``: ``-2 log L = m (log(2 pi chi2 / m) +
    1)`` with one more. Parameters count where the data determine them, those at a bound do not. The logarithms of sigma
    are left out, so models are to be compared for the same data with the same sigma; then it is differences that tell.
    """

    @host_property
    def aic(self: Any) -> jax.Array:
        """Akaike's criterion ``-2 log L + 2 k``; the lower the better, by 10 clearly. Shape ()."""
        twice, k, _ = self.likelihood()
        return twice + 2 * k

    @host_property
    def aicc(self: Any) -> jax.Array:
        """The same for small samples, ``aic + 2 k (k + 1) / (m - k - 1)`` (Hurvich and Tsai); NaN unless m > k + 1."""
        twice, k, m = self.likelihood()
        return twice + 2 * k + over(2 * k * (k + 1), m - k - 1)

    @host_property
    def bic(self: Any) -> jax.Array:
        """Schwarz's criterion ``-2 log L + k log m``, which prefers smaller models than Akaike's. Shape ()."""
        twice, k, m = self.likelihood()
        return twice + k * namespace(m).log(m)

    def likelihood(self: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        """-2 log L, k and m.

        Raises:
            ValueError: of a robust loss, which is the likelihood of no errors; if no residuals are known.
        """
        if self.robust:
            raise ValueError("information criteria are of squares: a robust loss is not the likelihood of the data")
        known, dtype = self.known(), self.value.dtype
        count = namespace(self.value).asarray(self.count)
        m = count if known.normals is None else count - rank_along(known.normals, known.linear.columns)
        return minus_twice(self.chi2, m.astype(dtype), (m - self.freedom).astype(dtype), self.absolute_sigma)


def minus_twice(chi2: jax.Array, m: jax.Array, rank: jax.Array, known: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
    """-2 log L, parameters and residuals, for errors whose size is ``known``, or is one more parameter."""
    xp = namespace(chi2)
    if known:
        return chi2 + m * float(np.log(2 * np.pi)), rank, m
    return m * (xp.log(2 * np.pi * chi2 / m) + 1), rank + 1, m
