"""Tests run with 64-bit mode off or on, with strict dtype promotion, warnings being errors."""

import inspect
import signal
import zlib

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")

# A shell lets what it starts in the background ignore Ctrl-C, and then Python does not listen either: tests that press
# it would wait forever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc):
    """One mode, by the test's name; both for tests that ask which it is; or those in the module's ``MODES``."""
    one = [zlib.crc32(metafunc.function.__name__.encode()) % 2 == 0]
    asks = "x64" in inspect.signature(metafunc.function).parameters
    modes = getattr(metafunc.module, "MODES", [False, True] if asks else one)
    metafunc.parametrize(
        "x64",
        modes,
        indirect=True,
        ids=["x64" if mode else "x32" for mode in modes],
    )


@pytest.fixture(autouse=True)
def x64(request):
    """Whether 64-bit mode is on."""
    with jax.enable_x64(request.param):
        yield request.param


# These files compile as users do. For the others most of the time is XLA's: without its optimiser programs compile in
# two thirds of the time.
OPTIMISED = {
    "batch", "best_point", "changes", "checkpoint", "composite", "domain", "feasible", "gradient_test", "implicit",
    "kernels", "lbfgs", "line_searches", "minimize", "more_thuente", "one_function", "raised", "refits", "scales",
    "searching_methods", "services", "stopping", "trust_region",
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def forget(request):
    """Compiled programs go with their file: thousands in one process exhaust its memory maps, and XLA crashes."""
    optimised = request.module.__name__.removeprefix("test_") in OPTIMISED
    jax.config.update("jax_disable_most_optimizations", not optimised)
    yield
    jax.clear_caches()
