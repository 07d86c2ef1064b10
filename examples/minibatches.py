"""Mini-batches: train a network on digits, stop early, and see when a full-batch polish pays.

The digits of scikit-learn (1797 images of 8 by 8), a network with one hidden layer of 32 units and dropout.
`gdjax.train` returns the weights of the best validation. Then `gdjax.minimize` goes on from there, on all the data: it
pays where the minimum of the training loss is what you want (with weight decay, a well-posed problem), not where the
validation has stopped the training because the rest would be fitting noise. Both are shown.

Run it with: python examples/minibatches.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import gdjax

HIDDEN, DROP, DECAY = 32, 0.2, 1e-2


def load_data():
    """(images, digits) to train on, to validate on and to test on."""
    x, y = load_digits(return_X_y=True)
    x = x.astype(np.float32) / 16
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
    x, x_held, y, y_held = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
    return [tuple(map(jnp.asarray, part)) for part in ((x, y), (x_held, y_held), (x_test, y_test))]


def begin():
    """Small random weights."""
    k1, k2 = jax.random.split(jax.random.key(0))
    return {
        "hidden": {"w": jax.random.normal(k1, (64, HIDDEN)) / 8, "b": jnp.zeros(HIDDEN)},
        "out": {"w": jax.random.normal(k2, (HIDDEN, 10)) / HIDDEN**0.5, "b": jnp.zeros(10)},
    }


def scores(p, x, key=None):
    """Ten scores an image; with a key, some hidden units are dropped."""
    h = jnp.tanh(x @ p["hidden"]["w"] + p["hidden"]["b"])
    if key is not None:
        h = h * jax.random.bernoulli(key, 1 - DROP, h.shape) / (1 - DROP)
    return h @ p["out"]["w"] + p["out"]["b"]


def entropy(p, batch, key=None):
    """Mean cross entropy."""
    x, y = batch
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(scores(p, x, key), y))


def dropped(p, batch, key):
    """The training loss; a loss with a third argument gets a random key."""
    return entropy(p, batch, key)


def decayed(p, batch):
    """Another: with weight decay, whose minimum is one point, and worth finding."""
    return entropy(p, batch) + DECAY / 2 * sum(jnp.sum(layer["w"] ** 2) for layer in p.values())


def accuracy(p, batch):
    """Share of the images recognised."""
    return float(jnp.mean(jnp.argmax(scores(p, batch[0]), axis=1) == batch[1]))


def main() -> None:
    """Train, look, polish."""
    data, held, test = load_data()
    options = dict(batch_size=32, epochs=100, validation=held, key=0)
    show = lambda t: print(f"  epoch {int(t.num_epochs):3d}: loss {t.history.loss[-1]:.4f}, "
                           f"validation {t.history.validation[-1]:.4f}")  # fmt: skip
    print("With dropout, Adam, an average of the weights and early stopping:")
    trained = gdjax.train(
        dropped, begin(), data, method=optax.adam(3e-3), metric=entropy, patience=5, average=0.99,
        callback=show, callback_every=10, **options,
    )  # fmt: skip
    print(f"{trained}\nTest accuracy {accuracy(trained.params, test):.3f}\n")

    polished = gdjax.minimize(gdjax.mean_over(entropy, data, chunk=512), trained.params, max_evals=300)
    print("A polish of the plain loss only fits the noise that early stopping kept out:")
    print(f"validation {entropy(trained.params, held):.4f} becomes {entropy(polished.params, held):.4f}, "
          f"test accuracy {accuracy(polished.params, test):.3f}\n")  # fmt: skip

    trained = gdjax.train(decayed, begin(), data, method=optax.adam(3e-3), **(options | dict(epochs=20)))
    total = gdjax.mean_over(decayed, data, chunk=512)
    polished = gdjax.minimize(total, trained.params)
    print("With weight decay the minimum is what is wanted, and 20 epochs of Adam end near it, not at it:")
    print(f"loss {total(trained.params):.6f}, gradient norm {max_abs(jax.grad(total)(trained.params)):.1e}; "
          f"after a polish {polished.value:.6f} and {polished.grad_norm:.1e}")  # fmt: skip
    print(polished)


def max_abs(tree):
    """Largest entry of a gradient."""
    return max(float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(tree))


if __name__ == "__main__":
    main()
