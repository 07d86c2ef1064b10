"""The names of single numbers in a pytree, as a table shows them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def own_names(tree: Any, bare: str) -> tuple[str, ...]:
    """Names of the ravelled numbers by their own keys: ``rate``, ``layers[0].w[1, 2]``; ``bare`` if there is no key.

    >>> own_names({"rate": jnp.zeros(()), "w": [jnp.zeros(2)]}, "params")
    ('rate', 'w[0][0]', 'w[0][1]')
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return entry_names([("".join(map(step, path)).removeprefix(".") or bare, leaf) for path, leaf in leaves])


def step(key: Any) -> str:
    """One step into a pytree, as one would write it for an object with attributes."""
    name = getattr(key, "name", getattr(key, "key", None))
    return f".{name}" if isinstance(name, str) and name.isidentifier() else str(key)


def entry_names(named: list[tuple[str, Any]]) -> tuple[str, ...]:
    """Names of the ravelled numbers of leaves: ``params['w'][0, 1]``; of a complex leaf first all real parts."""
    names = []
    for name, leaf in named:
        for part in (".real", ".imag") if jnp.iscomplexobj(leaf) else ("",):
            where = ["[" + ", ".join(map(str, i)) + "]" if i else "" for i in np.ndindex(jnp.shape(leaf))]
            names += [name + index + part for index in where]
    return tuple(names)


def checked(names: Any, count: int) -> tuple[str, ...]:
    """Names that a user gives for so many numbers.

    Raises:
        TypeError, ValueError: if they are no strings, or not as many.
    """
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"names must be a sequence of strings, got {names!r}")
    if len(names) != count:
        raise ValueError(f"names has {len(names)} entries; there are {count} numbers to be named")
    return tuple(names)
