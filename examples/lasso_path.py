"""The lasso path of the diabetes data: 100 strengths in one call, with an intercept that is not penalised.

    minimise  mean((y - x w - b)^2) / 2 + strength * sum |w_i|

From the strength at which every coefficient is zero down to a thousandth of it, each a problem of its own: jax.vmap
solves all at once. The coefficients enter one by one, and the answers agree with scikit-learn's lasso_path.

Draws lasso_path.png. Run it with: python examples/lasso_path.py [FOLDER FOR THE PICTURE, by default pictures]
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from pictures import save
from sklearn.datasets import load_diabetes
from sklearn.linear_model import lasso_path

import gdjax
from gdjax.penalties import L1, by_leaf


def loss(p, x, y):
    """Half the mean squared error."""
    return 0.5 * jnp.mean((x @ p["w"] + p["b"] - y) ** 2)


def data():
    """442 patients, 10 standardised measurements, the progression of the disease; names of the measurements."""
    diabetes = load_diabetes()
    x = diabetes.data
    return (x - x.mean(0)) / x.std(0), diabetes.target, diabetes.feature_names


def path(x, y, strengths):
    """All problems of the path in one compiled call: a result with a leading axis."""
    start = {"w": jnp.zeros(x.shape[1]), "b": jnp.zeros(())}

    def solve(strength):
        return gdjax.minimize(loss, start, x, y, penalty=by_leaf({"w": L1(strength), "b": None}), tol=1e-7)

    return jax.jit(jax.vmap(solve))(strengths)


def grid(x, y, count=100):
    """Strengths from where every coefficient is zero to a thousandth of that."""
    largest = np.abs(x.T @ (y - y.mean())).max() / y.size
    return largest * np.logspace(0, -3, count)


def plot(strengths, w, names):
    """The picture of the path."""
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    axes.semilogx(strengths, w, linewidth=1.5)
    axes.invert_xaxis()
    axes.set(xlabel="strength of the L1 penalty", ylabel="coefficient", title="Lasso path of the diabetes data")
    axes.axhline(0, color="0.7", linewidth=0.8)
    for name, end in zip(names, w[-1], strict=True):
        axes.annotate(name, (strengths[-1], end), xytext=(4, 0), textcoords="offset points", fontsize=8, va="center")
    save(figure, "lasso_path.png")


def main() -> None:
    """Solve, compare, print."""
    jax.config.update("jax_enable_x64", True)

    x, y, names = data()
    strengths = grid(x, y)
    results = path(x, y, strengths)
    w = np.asarray(results.params["w"])
    print(f"The whole path: {results}")

    theirs = lasso_path(x, y - y.mean(), alphas=strengths, tol=1e-10, max_iter=100_000)[1].T
    print(f"Largest difference to scikit-learn's coefficients: {np.abs(w - theirs).max():.1e}\n")

    print("strength  coefficients that are not zero")
    for k in range(0, 100, 11):
        kept = ", ".join(name for name, value in zip(names, w[k], strict=True) if value)
        print(f"{strengths[k]:8.3f}  {kept or 'none'}")
    print("\nOne of them in words:")
    print(results[33])
    plot(strengths, w, names)


if __name__ == "__main__":
    main()
