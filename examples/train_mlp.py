"""A neural network on handwritten digits, full batch: Adam, L-BFGS and a trust region side by side; kill and resume.

The digits of scikit-learn (1797 images of 8 by 8), a network with one hidden layer of 32 units, 2410 weights. Every
method gets the same 400 evaluations. Then L-BFGS is stopped half-way with a checkpoint and resumed: the result is
bitwise the same. Draws train_mlp.png.

Run it with: python examples/train_mlp.py [FOLDER FOR THE PICTURE, by default pictures]
"""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from pictures import save
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import gdjax

HIDDEN, DECAY, EVALS = 32, 1e-3, 400
METHODS = {"Adam": optax.adam(1e-2), "L-BFGS": gdjax.LBFGS(), "trust region": gdjax.TrustRegion()}


def load_data():
    """Images as rows of 64 numbers between 0 and 1, and which digit they show; a quarter to test on."""
    x, y = load_digits(return_X_y=True)
    parts = train_test_split(x.astype(np.float32) / 16, y, test_size=0.25, stratify=y, random_state=0)
    return [jnp.asarray(part) for part in parts]


def begin():
    """Small random weights."""
    k1, k2 = jax.random.split(jax.random.key(0))
    return {
        "hidden": {"w": jax.random.normal(k1, (64, HIDDEN)) / 8, "b": jnp.zeros(HIDDEN)},
        "out": {"w": jax.random.normal(k2, (HIDDEN, 10)) / HIDDEN**0.5, "b": jnp.zeros(10)},
    }


def scores(p, x):
    """Ten scores an image."""
    return jnp.tanh(x @ p["hidden"]["w"] + p["hidden"]["b"]) @ p["out"]["w"] + p["out"]["b"]


def loss(p, x, y):
    """Cross entropy, and weight decay, without which the weights would grow for ever."""
    entropy = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(scores(p, x), y))
    return entropy + DECAY / 2 * sum(jnp.sum(layer["w"] ** 2) for layer in p.values())


def train(method, x, y, **options):
    """One descent of at most EVALS evaluations."""
    return gdjax.minimize(loss, begin(), x, y, method=method, max_evals=EVALS, history=True, **options)


def accuracy(p, x, y):
    """Share of the images recognised."""
    return float(jnp.mean(jnp.argmax(scores(p, x), axis=1) == y))


def stop_and_resume(x, y):
    """The same training in two parts, the second from a file, as after a crash."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.npz"
        half = train(METHODS["L-BFGS"], x, y, checkpoint=path, callback=lambda state: state.num_steps >= 100)
        whole = gdjax.resume(path, loss, begin(), x, y, method=METHODS["L-BFGS"], max_evals=EVALS)
    return half, whole


def main() -> None:
    """Train three times, compare, stop and resume, draw."""
    x_train, x_test, y_train, y_test = load_data()
    print(f"{len(y_train)} digits to train on, {len(y_test)} to test on; {EVALS} evaluations for each method\n")
    print("method        loss      train   test   status")
    results = {}
    for name, method in METHODS.items():
        result = results[name] = train(method, x_train, y_train)
        train_share, test_share = (accuracy(result.params, *d) for d in ((x_train, y_train), (x_test, y_test)))
        print(f"{name:12s}  {float(result.value):.6f}  {train_share:.3f}  {test_share:.3f}  {result.status.name}")
    half, whole = stop_and_resume(x_train, y_train)
    print(f"\nL-BFGS, stopped: {half}")
    same = all(map(np.array_equal, jax.tree.leaves(whole.params), jax.tree.leaves(results["L-BFGS"].params)))
    print(f"Resumed from the checkpoint: {int(whole.num_steps)} steps, value {float(whole.value):.6f}; ")
    print(f"bitwise the weights of the training that was not stopped: {'yes' if same else 'NO'}")
    ax = gdjax.plot.history(results)
    save(ax.figure, "train_mlp.png")


if __name__ == "__main__":
    main()
