"""A curve through real data, with error bars, beside the certified answer.

Longley's data of 1967 (employment in the United States, six economic figures of 16 years) are the classic test of a
regression program: the figures nearly depend on each other, and many programs lost most digits. NIST has certified the
estimates and their standard deviations to 15 digits. Shows `gdjax.curve_fit`, its table, intervals and a prediction.

Run it with: python examples/curve_fit.py
"""

import jax
import jax.numpy as jnp
import numpy as np
from statsmodels.datasets import longley

import gdjax

# NIST's Statistical Reference Datasets, Longley: estimates and standard deviations.
CERTIFIED = {
    "constant": (-3482258.63459582, 890420.383607373),
    "GNPDEFL": (15.0618722713733, 84.9149257747669),
    "GNP": (-0.358191792925910e-01, 0.334910077722432e-01),
    "UNEMP": (-2.02022980381683, 0.488399681651699),
    "ARMED": (-1.03322686717359, 0.214274163161675),
    "POP": (-0.511041056535807e-01, 0.226073200069370),
    "YEAR": (1829.15146461355, 455.478499142212),
}


def employment(p, figures):
    """A straight line in six figures."""
    return p["constant"] + sum(p[name] * column for name, column in figures.items())


def fit_longley():
    """The fit and the data."""
    data = longley.load_pandas()
    figures = {name: jnp.asarray(data.exog[name].to_numpy()) for name in data.exog}
    start = dict.fromkeys(CERTIFIED, 0.0)
    return gdjax.curve_fit(employment, start, figures, data.endog), figures, data.endog.to_numpy()


def main() -> None:
    """Fit and compare."""
    jax.config.update("jax_enable_x64", True)
    fit, figures, employed = fit_longley()
    print(fit)
    print("\n          our estimate     certified        our std. error   certified")
    for name, (estimate, error) in CERTIFIED.items():
        ours, ours_error = float(fit.params[name]), float(fit.standard_errors[name])
        print(f"{name:9} {ours:16.10g} {estimate:16.10g} {ours_error:16.10g} {error:16.10g}")
    value, half = fit.band(employment, figures)
    print("\nEmployed in thousands, and the line with its 95% band:")
    for year, seen, line, width in zip(figures["YEAR"][::5], employed[::5], value[::5], half[::5], strict=True):
        print(f"{int(year)} {seen:10.0f} {float(line):10.0f} +- {float(width):.0f}")
    within = lambda half: int(np.sum(np.abs(employed - np.asarray(value)) <= np.asarray(half)))
    data = fit.band(employment, figures, prediction=True)[1]
    print(f"Of {employed.size} years {within(half)} lie within that band, and {within(data)} within that of new data.")


if __name__ == "__main__":
    main()
