"""Small numbers that are known already, computed by NumPy.

To compile one small program takes 20 to 600 ms, to run the same lines in NumPy 10 us. So what is made of a result after
the descent (its table, its errors) is written for either: with `namespace` for ``jnp``, under `compiled`.
"""

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import jax
import numpy as np

from gdjax.vectors.vector import namespace

Function = TypeVar("Function", bound=Callable[..., Any])


class Hostable(Protocol):
    """What may be computed by NumPy."""

    @property
    def on_host(self) -> Any:
        """The same with arrays of NumPy, where they can be looked at now; else itself."""


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """The function under `jax.jit`, with its options; of NumPy's arrays alone it is run as it is."""
    program = jax.jit(function, **options)

    @functools.wraps(function)
    def either(*args: Any) -> Any:
        if namespace(*jax.tree.leaves(args)) is not np:
            return program(*args)
        try:
            with np.errstate(all="ignore"):
                return function(*args)
        except np.linalg.LinAlgError:  # of what is not finite; JAX's linear algebra returns NaN
            return jax.device_get(program(*args))

    return either


def by_host(method: Function) -> Function:
    """A method that NumPy computes where it can; what it returns are JAX's arrays."""

    @functools.wraps(method)
    def run(self: Hostable, *args: Any, **options: Any) -> Any:
        host = self.on_host
        if host is self:
            return method(self, *args, **options)
        with np.errstate(all="ignore"):
            found = method(host, *args, **options)
        return jax.tree.map(lambda x: jax.device_put(x) if isinstance(x, np.ndarray | np.generic) else x, found)

    return run  # type: ignore[return-value]


class host_property(property):  # noqa: N801
    """A property that is `by_host`."""

    def __init__(self, method: Callable[[Any], Any]) -> None:
        super().__init__(by_host(method))
        self.__doc__ = method.__doc__


def looked_at(tree: Any) -> Any:
    """A pytree with its arrays in NumPy; itself if it has none of JAX's, or traced ones."""
    leaves = jax.tree.leaves(tree)
    plain = lambda x: isinstance(x, jax.Array) and not jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended)
    if any(isinstance(x, jax.core.Tracer) for x in leaves) or not any(map(plain, leaves)):
        return tree
    return jax.tree.map(lambda x: jax.device_get(x) if plain(x) else x, tree)
