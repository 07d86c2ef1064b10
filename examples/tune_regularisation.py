"""Choose regularisation strengths by the gradient of the validation loss, against a grid search.

Logistic regression on the breast cancer data, whose 30 features come in three groups (mean, standard error and worst
value over the cells of an image): one strength for each group. The cross-validated loss is a function of the three
strengths that contains five fits; `jax.grad` differentiates it through the fits, so that `gdjax.minimize` can minimise
it in turn. A grid needs the third power of its points; the gradient costs about as much as the fits, however many
strengths there are.

Needs scikit-learn, for the data. Run it with: python examples/tune_regularisation.py
"""

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_breast_cancer

import gdjax

FOLDS = 5
GRID = jnp.linspace(-9.0, -1.0, 5)  # natural logarithms of the strengths
START = jnp.array([-3.0, -3.0, -3.0])


def load_data():
    """569 x 30 features with mean 0 and deviation 1, in random order, and labels 0 and 1."""
    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return jnp.asarray(((x - x.mean(axis=0)) / x.std(axis=0))[order]), jnp.asarray(y[order].astype(float))


def log_loss(params, x, y):
    """Of each row: minus the logarithm of the probability of its label."""
    z = x @ params["w"] + params["b"]
    return jax.nn.softplus(z) - y * z


def fitting_loss(params, x, y, held_out, logs):
    """Mean over the rows that are not held out, with a penalty for each group of weights."""
    penalty = jnp.exp(logs) @ jnp.sum(params["w"].reshape(3, 10) ** 2, axis=1)
    return jnp.sum((1 - held_out) * log_loss(params, x, y)) / jnp.sum(1 - held_out) + penalty


def validation_loss(logs, x, y):
    """Mean loss of rows that the fit has not seen, over all folds."""
    start = {"w": jnp.zeros(x.shape[1]), "b": 0.0}

    def one_fold(held_out):
        fit = gdjax.minimize(fitting_loss, start, x, y, held_out, logs, tol=1e-7)
        return jnp.sum(held_out * log_loss(fit.params, x, y))

    held_out = (jnp.arange(len(y)) % FOLDS == jnp.arange(FOLDS)[:, None]).astype(x.dtype)
    return jnp.sum(jax.vmap(one_fold)(held_out)) / len(y)


def grid_search(x, y):
    """Smallest loss on the grid and where it is."""
    points = jnp.stack(jnp.meshgrid(GRID, GRID, GRID), axis=-1).reshape(-1, 3)
    losses = jax.jit(lambda points: jax.lax.map(lambda logs: validation_loss(logs, x, y), points))(points)
    return float(jnp.min(losses)), points[jnp.argmin(losses)]


def tune(x, y):
    """The strengths of least validation loss, by its gradient."""
    return gdjax.minimize(validation_loss, START, x, y, tol=1e-4)


def gradients(x, y, step=1e-4):
    """The gradient at the start, by `jax.grad` and by central differences."""
    loss = jax.jit(validation_loss)
    differences = [(loss(START + step * e, x, y) - loss(START - step * e, x, y)) / (2 * step) for e in jnp.eye(3)]
    return jax.jit(jax.grad(validation_loss))(START, x, y), jnp.stack(differences)


def main():
    """Check the gradient, then tune by it and by a grid."""
    x, y = load_data()
    exact, numeric = gradients(x, y)
    print(f"The gradient of the validation loss through the fits: {exact}")
    print(f"by finite differences:                                {numeric}\n")
    best, where = grid_search(x, y)
    found = tune(x, y)
    print(f"grid          loss {best:.5f} at {np.exp(where).round(5)}, {len(GRID) ** 3} evaluations")
    print(
        f"by gradient   loss {float(found.value):.5f} at {np.exp(found.params).round(5)}, "
        f"{int(found.num_evals)} evaluations with their gradients\n"
    )
    print(found)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
