"""How many problems are in flight at once, and on how many cores."""

import math
import os
from typing import NamedTuple

# What the lanes of a worker carry should stay well inside a core's cache of the second level (1 MB where this was
# measured): Rosenbrock-10 by BFGS (1.4 kB a lane) or L-BFGS with 5 pairs costs a fifth more with 256 lanes than 128.
CACHE = 2**18
LANES = 256  # at most
PAGE = 4  # problems on a page for each lane: Python is entered once a page
# Where problems are taken in turn: trips of the first call, some milliseconds; and problems that are worth a thread
# (100 of Rosenbrock's function with ten variables take 7.1 ms with one, 8.4 with two).
TRIPS, WORTH_A_THREAD = 4096, 256


class Plan(NamedTuple):
    """How many lanes each of how many workers has, and how many problems a page."""

    width: int
    workers: int
    page: int
    trips: int = 64  # of the first call


def plan(problems: int, lane_bytes: int, batch_size: int | None) -> Plan:
    """Blocks of lanes in cache on all cores."""
    most = min(problems, batch_size or problems)
    workers = min(cores(), most)
    # Powers of two, so that there are few shapes to compile; enough for all problems, but no more than asked for.
    enough = 2 ** math.ceil(math.log2(-(-most // workers)))
    allowed = max(1, (batch_size or enough * workers) // workers)
    width = min(enough, LANES, max(1, CACHE // lane_bytes), allowed)
    width = 2 ** int(math.log2(width))
    return Plan(width, workers, PAGE * width)


def turns(problems: int, batch_size: int | None) -> Plan:
    """One lane on each core, but for few problems, which are done before a thread has started."""
    workers = min(cores(), -(-problems // WORTH_A_THREAD), batch_size or problems)
    return Plan(1, workers, min(2 ** math.ceil(math.log2(-(-problems // workers))), LANES), TRIPS)


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
