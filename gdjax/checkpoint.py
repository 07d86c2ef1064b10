"""A descent on disk: written so that a kill leaves the old file or the new one, read without running any code.

The format is NumPy's npz: a dependency that is there anyway, arrays with a checksum each (safetensors has none), and no
pickle (`numpy.load` refuses objects). The header is JSON.
"""

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.warm_start import first_difference, signature

FORMAT, VERSION = "gdjax checkpoint", 1


def write(path: Path, header: dict[str, Any], arrays: list[np.ndarray]) -> None:
    """Put a checkpoint in place of the one at ``path``, all or nothing.

    It goes to ``path.tmp`` first, to the disk, and then under its name in one step.
    """
    text = json.dumps({"format": FORMAT, "version": VERSION, "count": len(arrays), **header})
    new = path.with_name(path.name + ".tmp")
    with open(new, "wb") as file:
        members: dict[str, Any] = {f"leaf{i}": array for i, array in enumerate(arrays)}
        np.savez(file, header=np.frombuffer(text.encode(), np.uint8), **members)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name itself
        finally:
            os.close(folder)


def read(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The header and the arrays.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, cut short, no checkpoint of gdjax, or of a later version.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()
        except Exception as error:
            raise ValueError(f"{path} is damaged, cut short or no checkpoint: {error}") from error
        if damaged is not None:
            raise ValueError(f"{path} is damaged: the checksum of {damaged} does not hold")
        try:
            file.seek(0)
            with np.load(file, allow_pickle=False) as members:
                header = json.loads(bytes(members["header"])) if "header" in members else {}
                known = isinstance(header, dict) and header.get("format") == FORMAT
                if known and header["version"] == VERSION:
                    return header, [members[f"leaf{i}"] for i in range(header["count"])]
        except Exception as error:
            raise ValueError(f"{path} is damaged or no checkpoint of gdjax: {error}") from error
    if not known:
        raise ValueError(f"{path} is an archive of another kind, no checkpoint of gdjax")
    raise ValueError(f"{path} has version {header['version']} of the format; this gdjax reads version {VERSION}")


def save(path: Path, header: dict[str, Any], tree: Any) -> None:
    """Write a pytree of arrays with its signature."""
    header = {**header, "leaves": signature("", tree)}
    write(path, header, [to_numpy(leaf) for leaf in jax.tree.leaves(tree)])


def restore(name: str, header: dict[str, Any], arrays: Sequence[Any], like: Any) -> Any:
    """The pytree that was saved, in the structure, and on the devices, of ``like``.

    Raises:
        ValueError: naming the first leaf that differs in place, shape or dtype.
    """
    saved = [(name, tuple(shape), dtype) for name, shape, dtype in header["leaves"]]
    difference = first_difference(signature("", like), saved)
    if difference is not None:
        raise ValueError(
            f"{name} is of another descent: {difference}. Resume with the method, has_aux and the shapes and dtypes of "
            "the parameters that it was begun with"
        )
    leaves, treedef = jax.tree.flatten(like)
    return jax.tree.unflatten(treedef, [from_numpy(a, leaf) for a, leaf in zip(arrays, leaves, strict=True)])


def to_numpy(leaf: jax.Array) -> np.ndarray:
    """An array as one of a dtype that npz knows: random keys as their data, bfloat16 and its like as integers."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    return array.view(f"u{array.dtype.itemsize}") if array.dtype.kind == "V" else array


def from_numpy(array: Any, like: jax.Array) -> jax.Array:
    """Inverse of `to_numpy`; a JAX array is what it was."""
    if isinstance(array, jax.Array):
        return array
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(like))
    new = jnp.asarray(array.view(like.dtype))
    return jax.device_put(new, like.sharding) if len(like.sharding.device_set) > 1 else new
