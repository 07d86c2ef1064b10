"""How programs are compiled while they are tested: most of the time of a run is XLA's."""

import functools
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads that wait for work take the cores from other tests

import jax
import pytest
from jax._src import compiler

# These files compile as users do: one at least of each room, but for training, whose two devices have a process apart.
OPTIMISED = {
    "README", "best_point", "bfgs", "feasible", "from_jaxopt", "kernels", "more_thuente", "never_outside",
    "penalized_float32", "properties", "raised", "small_programs", "steps", "stopping", "student", "unrolled", "vector",
}  # fmt: skip

# The others compile without XLA's optimiser, in two thirds of the time, and with these options in half of it. The
# second is the way of a single core.
QUICK = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
as_users_do = compiler.get_compile_options


@functools.cache
def quick_options():
    """The options, where this XLA knows them."""
    try:
        jax.jit(lambda x: x, compiler_options=QUICK).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return []
    return list(QUICK.items())


def quickly(*args, **kwargs):
    """The options of a program, and the quick ones. JAX has no public way to give them for all programs."""
    options = as_users_do(*args, **kwargs)
    options.env_option_overrides = [*quick_options(), *options.env_option_overrides]
    return options


@pytest.fixture(autouse=True, scope="module")
def forget(request):
    """Compiled programs go with their file: thousands in one process exhaust its memory maps, and XLA crashes."""
    optimised = request.path.stem.removeprefix("test_") in OPTIMISED
    quick_options()
    jax.config.update("jax_disable_most_optimizations", not optimised)
    compiler.get_compile_options = as_users_do if optimised else quickly
    yield
    if "gdjax" not in request.path.relative_to(request.config.rootpath).parts:  # docstrings have much in common
        jax.clear_caches()
