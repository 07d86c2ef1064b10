"""Tests run with 64-bit mode off or on, with strict dtype promotion, warnings being errors."""

import gc
import inspect
import signal

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")

# A shell lets what it starts in the background ignore Ctrl-C, and then Python does not listen either: tests that press
# it would wait forever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc):
    """In float32, or in float64 if it is marked so; in both if it asks which; or as the module's ``MODES`` say."""
    asks = "x64" in inspect.signature(metafunc.function).parameters
    one = [metafunc.definition.get_closest_marker("float64") is not None]
    modes = getattr(metafunc.module, "MODES", [False, True] if asks else one)
    metafunc.parametrize(
        "x64",
        modes,
        indirect=True,
        ids=["x64" if mode else "x32" for mode in modes],
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of a test that is marked ``sample(names)`` the cases with one of these in their id; the others are a sweep."""
    for item in items:
        sample = item.get_closest_marker("sample")
        if sample and not any(f"-{name}-" in f"-{item.callspec.id}-" for name in sample.args):
            item.add_marker("sweep")


def pytest_collection_finish():
    """Of what is imported by now all stays: a fresh look at it, hundreds of times, was 5% of a run."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def x64(request):
    """Whether 64-bit mode is on."""
    with jax.enable_x64(request.param):
        yield request.param


# These files compile as users do. For the others most of the time is XLA's: without its optimiser programs compile in
# two thirds of the time.
OPTIMISED = {
    "best_point", "changes", "checkpoint", "domain", "feasible", "gradient_test", "implicit", "kernels", "lbfgs",
    "minimize", "more_thuente", "multistart", "raised", "refits", "searching_methods", "small_programs", "stopping",
    "trust_region",
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def forget(request):
    """Compiled programs go with their file: thousands in one process exhaust its memory maps, and XLA crashes."""
    optimised = request.module.__name__.removeprefix("test_") in OPTIMISED
    jax.config.update("jax_disable_most_optimizations", not optimised)
    yield
    jax.clear_caches()
    left_on = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    assert not left_on, "this file leaves 64-bit mode on, and the doctests that follow in this process fail"
