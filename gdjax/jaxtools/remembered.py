"""Compiled programs, of which the least recently used are forgotten: each takes some megabytes."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from gdjax.jaxtools.scalar_kernels import batched, is_batched
from gdjax.jaxtools.small_programs import is_allowed, small_programs

MOST = 64  # of each kind


class Remembered:
    """A function under `jax.jit`, its first arguments static, of which no more than `MOST` values are kept.

    What `jax.jit` compiles for a static argument stays until `jax.clear_caches`, though the function that it came from
    is gone. Here each value of the static arguments has a `jax.jit` of its own, and with it goes what was compiled.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        static: int,
        donate: tuple[int, ...] = (),
        options: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self.static = static

        @functools.lru_cache(maxsize=MOST)
        def program(many: bool, allowed: bool, *selected: Any) -> Any:
            def of_arrays(*arrays: Any) -> Any:
                with batched(many), small_programs(allowed):
                    return function(*selected, *arrays)

            places = tuple(i - static for i in donate)
            return jax.jit(of_arrays, donate_argnums=places, compiler_options=options() or None)

        self.program = program
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        """The function. Where transfers are guarded, what is on the host goes to the device as an explicit one."""
        arrays = arguments[self.static :]
        if "disallow" in (jax.config.jax_transfer_guard, jax.config.jax_transfer_guard_host_to_device):  # type: ignore[attr-defined]
            arrays = jax.device_put(arrays)
        return self.program(is_batched(arrays), is_allowed(), *arguments[: self.static])(*arrays)

    def lower(self, *arguments: Any) -> Any:
        """As `jax.jit`'s."""
        return self.program(False, is_allowed(), *arguments[: self.static]).lower(*arguments[self.static :])

    def eval_shape(self, *arguments: Any) -> Any:
        """As `jax.jit`'s."""
        return self.program(False, is_allowed(), *arguments[: self.static]).eval_shape(*arguments[self.static :])


def remembered(
    static: int, donate: tuple[int, ...] = (), options: Callable[[], dict[str, Any]] = dict
) -> Callable[[Callable[..., Any]], Remembered]:
    """Make a `Remembered` of a function.

    Args:
        static: how many arguments select the program; hashable.
        donate: which of the others are used up, counted from the first of all.
        options: for XLA's compiler, where the function is not called inside another.
    """
    return lambda function: Remembered(function, static, donate, options)
