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


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem():
    """Marks as ``sweep`` the cases that ``sample(names)`` does not name, and of a test in both precisions those in
    float64 for which no name says x64. A name that is in no case is an error."""
    items = yield
    cases = [item for item in items if hasattr(item, "callspec")] if isinstance(items, list) else []
    if not cases:
        return items
    sample = cases[0].get_closest_marker("sample")
    names = sample.args if sample else ("",)
    holds = {case: [name for name in names if f"-{name}-" in f"--{case.callspec.id}--"] for case in cases}
    unknown = set(names).difference(*holds.values())
    if unknown:
        raise pytest.UsageError(f"{cases[0].nodeid}: no case has {sorted(unknown)} in its id, which sample() names")
    doubles = [case for case in cases if case.callspec.id.startswith("x64")]
    for case in cases:
        named = any("x64" in name for name in holds[case])
        if not holds[case] or (case in doubles and len(doubles) < len(cases) and not named):
            case.add_marker("sweep")
    return items


def pytest_collection_finish():
    """Of what is imported by now all stays: a fresh look at it, hundreds of times, was 5% of a run."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def x64(request):
    """Whether 64-bit mode is on."""
    with jax.enable_x64(request.param):
        yield request.param


@pytest.fixture(autouse=True, scope="module")
def x64_is_off_again():
    """The doctests that follow in this process run without 64-bit mode."""
    yield
    left_on = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    assert not left_on, "this file leaves 64-bit mode on"
