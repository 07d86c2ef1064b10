"""The efficient frontier of a portfolio: 60 problems with a constraint each, solved by one call of jax.vmap.

    minimise  risk(w) = sqrt(w' C w)   subject to   sum(w) = 1,  w'm >= target,  0 <= w <= 0.4

for returns m and their covariance C. What a higher target costs at the margin, d risk / d target, is the multiplier of
its constraint: the slope of the frontier. A target that no portfolio reaches is INFEASIBLE, and said to be so.

Draws portfolio.png. Run it with: python examples/portfolio.py [FOLDER FOR THE PICTURE, by default pictures]
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from pictures import save

import gdjax

LARGEST = 0.4  # share of one asset


def data(seed=7, assets=12, factors=3):
    """Expected returns, and a covariance matrix that some common factors explain in part; per year."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(assets, factors)) * 0.12
    own = np.diag(rng.uniform(0.08, 0.25, assets) ** 2)
    return 0.02 + 0.12 * rng.uniform(size=assets), loadings @ loadings.T + own


def risk(w, returns, covariance):
    """The standard deviation of the portfolio's return."""
    return jnp.sqrt(w @ covariance @ w)


def least_risk(target, returns, covariance):
    """The portfolio of least risk with at least this return."""
    constraints = {
        "budget": gdjax.Constraint(lambda w, returns, covariance: jnp.sum(w), lower=1.0, upper=1.0),
        "return": gdjax.Constraint(lambda w, returns, covariance: w @ returns, lower=target),
    }
    start = jnp.full(returns.size, 1 / returns.size)
    box = gdjax.penalties.Box(0.0, LARGEST)
    return gdjax.minimize(risk, start, returns, covariance, penalty=box, constraints=constraints)


def frontier(targets, returns, covariance):
    """One problem for each target, in one compiled call: a result with a leading axis."""
    return jax.jit(jax.vmap(lambda target: least_risk(target, returns, covariance)))(targets)


def highest(returns):
    """The largest return that shares of at most LARGEST allow."""
    shares = np.diff(np.minimum(1, np.arange(returns.size + 1) * LARGEST))
    return float(np.sort(returns)[::-1] @ shares)


def plot(found, targets, returns, covariance):
    """Risk and return, and the shares along the frontier."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    left.plot(found.value, found.params @ returns, linewidth=2, label="frontier")
    left.plot(np.sqrt(np.diag(covariance)), returns, "o", markersize=4, label="single assets")
    left.set(xlabel="risk", ylabel="return", title="least risk for each return")
    left.legend()
    held = np.asarray(found.params).max(axis=0) > 1e-3
    right.stackplot(targets, found.params.T[held])
    right.set(xlabel="return asked for", ylabel="share", ylim=(0, 1), title="portfolios, a colour for each asset")
    save(figure, "portfolio.png")


def main():
    """Solve, and print a few points of the frontier."""
    jax.config.update("jax_enable_x64", True)
    returns, covariance = (jnp.asarray(x) for x in data())
    top = highest(returns)
    targets = jnp.linspace(0.095, top - 1e-4, 60)
    found = frontier(targets, returns, covariance)
    print(found)
    print("  target    risk   d risk / d target   assets held")
    for k in range(0, 60, 10):
        slope = float(found.multipliers["return"][k])
        held = int((found.params[k] > 1e-6).sum())
        print(f"{float(targets[k]):8.3f} {float(found.value[k]):7.4f} {slope:19.3f} {held:13}")
    print(f"\nA return of {top + 0.01:.3f} is more than shares of at most {LARGEST:.0%} can bring:")
    print(least_risk(top + 0.01, returns, covariance))
    plot(found, targets, returns, covariance)


if __name__ == "__main__":
    main()
