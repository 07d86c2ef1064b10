"""A descent on disk. If the process is killed, the old file or the new one is left; reading a file runs no code.

The format is NumPy's npz: a dependency that is there anyway, arrays with a checksum each (safetensors has none), and no
pickle (`numpy.load` refuses objects). The header is JSON.
"""

import json
import os
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.warm_start import first_difference, signature
from gdjax.jaxtools.packing import is_key, with_keys

FORMAT, VERSION = "gdjax checkpoint", 1


def write(path: Path, header: dict[str, Any], arrays: list[np.ndarray]) -> None:
    """Put a checkpoint in place of the one at ``path``, all or nothing.

    It goes to a file of its own in the same folder first (two writers of one path do not meet), to the disk, and then
    under its name in one step. Where ``path`` is a link, what it points to is replaced.

    Raises:
        OSError: if it cannot be written; what was there before stays.
    """
    text = json.dumps({"format": FORMAT, "version": VERSION, "count": len(arrays), **header})
    path = path.resolve()
    new = path.with_name(f"{path.name[:64]}.{uuid.uuid4().hex}.tmp")
    try:
        with open(new, "xb") as file:
            members: dict[str, Any] = {f"leaf{i}": array for i, array in enumerate(arrays)}
            np.savez(file, header=np.frombuffer(text.encode(), np.uint8), **members)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
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
        ValueError: if it is damaged, cut short, not a checkpoint of gdjax, or of a later version.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()
        except Exception as error:
            raise ValueError(f"{path} is damaged, cut short or not a checkpoint: {error}") from error
        if damaged is not None:
            raise ValueError(f"{path} is damaged: the checksum of {damaged} does not match")
        try:
            file.seek(0)
            with np.load(file, allow_pickle=False) as members:
                header = json.loads(bytes(members["header"])) if "header" in members else {}
                known = isinstance(header, dict) and header.get("format") == FORMAT
                if known and header["version"] == VERSION:
                    return header, [members[f"leaf{i}"] for i in range(header["count"])]
        except Exception as error:
            raise ValueError(f"{path} is damaged or not a gdjax checkpoint: {error}") from error
    if not known:
        raise ValueError(f"{path} is another kind of archive, not a gdjax checkpoint")
    raise ValueError(f"{path} has version {header['version']} of the format; this gdjax reads version {VERSION}")


def save(path: Path, header: dict[str, Any], tree: Any) -> None:
    """Write a pytree of arrays with its signature."""
    header = {**header, "leaves": signature("", tree)}
    write(path, header, [to_numpy(leaf) for leaf in jax.tree.leaves(tree)])


def restore(name: str, header: dict[str, Any], arrays: Sequence[Any], like: Any) -> Any:
    """The pytree that was saved, in the structure, and on the devices, of ``like``.

    Raises:
        ValueError: naming the first leaf that differs in place, shape or dtype, or an array that is not what the header
            says.
    """
    saved = [(place, tuple(shape), dtype) for place, shape, dtype in header["leaves"]]
    difference = first_difference(signature("", like), saved)
    if difference is not None:
        raise ValueError(
            f"{name} is of another descent: {difference}. Resume with the method, has_aux, and shapes and dtypes of "
            "parameters and residuals with which it began"
        )
    leaves, treedef = jax.tree.flatten(like)
    try:
        found = [from_numpy(array, leaf) for array, leaf in zip(arrays, leaves, strict=True)]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is damaged: {error}") from error
    wrong = first_difference(signature("", jax.tree.unflatten(treedef, found)), saved)
    if wrong is not None:
        raise ValueError(f"{name} is damaged, its arrays are not what its header says: {wrong}")
    return jax.tree.unflatten(treedef, found)


HEADER = {
    "by": lambda x: x in ("minimize", "least_squares", "curve_fit", "train"),
    "maximize": lambda x: isinstance(x, bool),
    "history": lambda x: type(x) is int and x >= 0,
    "method": lambda x: isinstance(x, dict) and "name" in x,
    "leaves": lambda x: isinstance(x, list) and all(map(is_leaf_entry, x)),
}


def is_leaf_entry(entry: Any) -> bool:
    """Whether it is [place, shape, dtype]."""
    if not (isinstance(entry, list | tuple) and len(entry) == 3):
        return False
    place, shape, dtype = entry
    return isinstance(place, str) and isinstance(dtype, str) and all(type(n) is int for n in shape)


def check_header(name: str, header: dict[str, Any]) -> None:
    """Raise ValueError unless the header has what `gdjax.resume` needs."""
    for key, holds in HEADER.items():
        if not (key in header and holds(header[key])):
            what = repr(header[key])[:80] if key in header else "missing"
            raise ValueError(f"{name} is damaged or not a gdjax checkpoint: {key!r} in its header is {what}")


def to_numpy(leaf: jax.Array) -> np.ndarray:
    """An array in a dtype that npz knows: random keys as their data, bfloat16 and the like as integers."""
    if is_key(leaf):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    return array.view(f"u{array.dtype.itemsize}") if array.dtype.kind == "V" else array


def from_numpy(array: Any, like: jax.Array) -> jax.Array:
    """Inverse of `to_numpy`; a JAX array is what it was."""
    if isinstance(array, jax.Array):
        return array
    if is_key(like):
        return with_keys(jnp.asarray(array), like)
    new = jnp.asarray(array.view(like.dtype))
    spread = like.sharding is not None and len(like.sharding.device_set) > 1
    return jax.device_put(new, like.sharding) if spread else new
