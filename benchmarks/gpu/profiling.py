"""What a call does on the device, by JAX's profiler."""

import collections
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from benchmarks.measuring import Record


def profile(call: Callable[[], Any], trips: int) -> Record:
    """Of a trip: kernels and copies launched, copies to the host, microseconds busy and in all; the longest by name."""
    jax.block_until_ready(call())
    began = time.perf_counter()
    jax.block_until_ready(call())
    wall = time.perf_counter() - began
    try:
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                jax.block_until_ready(call())
            (file,) = Path(folder).rglob("*.xplane.pb")
            data = jax.profiler.ProfileData.from_file(str(file))
    except Exception as error:  # a profiler that this machine does not have is no fault of what is measured
        return dict(profile_failed=repr(error)[:200])
    lines = [line for plane in data.planes if plane.name.startswith("/device:GPU") for line in plane.lines]
    events = [e for line in lines if line.name.startswith("Stream") for e in line.events]
    busy: collections.Counter[str] = collections.Counter()
    count: collections.Counter[str] = collections.Counter()
    for e in events:
        busy[e.name] += e.duration_ns
        count[e.name] += 1
    to_host = sum(n for name, n in count.items() if "D2H" in name or "DtoH" in name)
    return dict(
        wall_us=1e6 * wall / trips, busy_us=1e-3 * busy.total() / trips, launches=len(events) / trips,
        to_host=to_host / trips, longest=[(name, count[name] / trips, 1e-3 * ns / trips) for name, ns in
                                          busy.most_common(12)],
    )  # fmt: skip
