"""`python -m benchmarks sharding`: what the solver itself sends between devices, beside what the loss sends.

Counted in the compiled program on simulated host devices, not timed: of one trip of the loop, and of the loss with its
gradient alone, the collectives and the bytes of their results. The regression has its rows over the devices
(parameters on each), or its columns, and with them the parameters: in one array, or in two as it comes. Of alternatives
in a trip the cheaper and the dearer are counted: an L-BFGS trip that turns against one that searches on; now and then
all measure curvature.
"""

import argparse
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

import gdjax
from gdjax.request import prepare
from gdjax.running.programs import descend

RESULTS = Path(__file__).with_name("results") / "sharding.json"
KINDS = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
METHODS = {"gradient descent": gdjax.GradientDescent(0.1), "L-BFGS": gdjax.LBFGS(memory=10)}


class Cost(NamedTuple):
    """Communication of one execution."""

    collectives: int = 0
    bytes: int = 0

    def __add__(self, other: Any) -> "Cost":
        """One after the other."""
        return Cost(self.collectives + other.collectives, self.bytes + other.bytes)

    def model(self, devices: int) -> tuple[int, int]:
        """Of a ring: messages one after the other, and bytes that each device sends, as for all-reduces alone."""
        return 2 * (devices - 1) * self.collectives, 2 * (devices - 1) * self.bytes // devices


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--devices", type=int, default=4, help="simulated devices (default 4)")
    parser.add_argument("--rows", type=int, default=4096, help="of the data (default 4096)")
    parser.add_argument("--parameters", type=int, default=1024, help="columns of the data (default 1024)")
    parser.add_argument("--json", type=Path, default=RESULTS)


def loss(w: Any, x: Any, y: jax.Array) -> jax.Array:
    """Mean squared error; weights and columns in one array or in several."""
    fit = sum(a @ b for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(w), strict=True))
    return jnp.mean((fit - y) ** 2)


def computations(text: str) -> dict[str, list[str]]:
    """The instructions of every computation in an optimised HLO module; the entry is also under ''."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if header := re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line):
            body = found[header[2]] = []
            if header[1]:
                found[""] = body
        elif found and line.startswith(" "):
            body.append(line)
    return found


def cost(found: dict[str, list[str]], name: str, pick: Callable[..., Cost]) -> Cost:
    """What a computation communicates, with all that it calls; ``pick`` is min or max, of alternatives."""
    total = Cost()
    for line in found.get(name, []):
        if sent := re.search(rf"= (.*?) (?:{KINDS})(?:-start)?\(", line):
            shapes = re.findall(r"(\w+)\[([\d,]*)\]", sent[1])
            size = sum(BYTES[kind] * math.prod(int(n) for n in dims.split(",") if n) for kind, dims in shapes)
            total += Cost(1, size)
        elif branches := re.search(r"branch_computations=\{(.*?)\}", line):
            total += pick(cost(found, b.strip(" %"), pick) for b in branches[1].split(","))
        else:
            inner = called(found, line, pick)
            times = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            # One of at most one turn (gdjax.jaxtools.scalar_kernels); the loss here has none.
            if " while(" in line and not times:
                inner = pick(Cost(), inner)
            repeat = int(times[1]) if times else 1
            total += Cost(repeat * inner.collectives, repeat * inner.bytes)
    return total


def called(found: dict[str, list[str]], line: str, pick: Callable[..., Cost]) -> Cost:
    """What the computations communicate that an instruction calls."""
    names = re.findall(r"(?:body|condition|calls|to_apply)=%?([\w.\-]+)", line)
    return sum((cost(found, name, pick) for name in names), Cost())


def trip_cost(text: str, pick: Callable[..., Cost]) -> Cost:
    """Of one turn of the descent: the loop of unknown length that communicates most."""
    found = computations(text)
    loops = [line for lines in found.values() for line in lines if " while(" in line and "known_trip_count" not in line]
    return max(called(found, line, pick) for line in loops)


def count(start: Any, x: Any, y: jax.Array) -> dict[str, tuple[Cost, Cost]]:
    """Communication of the loss with its gradient, and of a trip of each method, at least and at most."""
    gradient = jax.jit(jax.value_and_grad(loss), out_shardings=(None, jax.tree.map(lambda w: w.sharding, start)))
    alone = cost(computations(str(gradient.lower(start, x, y).compile().as_text())), "", max)
    costs = {"loss alone": (alone, alone)}
    for name, method in METHODS.items():
        key, arrays = prepare(loss, start, (x, y), method=method).split()
        text = str(descend.lower(key, False, arrays).compile().as_text())
        costs[name] = trip_cost(text, min), trip_cost(text, max)
    return costs


def main(options: argparse.Namespace) -> None:
    """Count, print the table and the model, save the records."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", options.devices)
    mesh = jax.make_mesh((options.devices,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = lambda shape, *axes: jax.device_put(jnp.ones(shape), NamedSharding(mesh, PartitionSpec(*axes)))
    m, n = options.rows, options.parameters
    layouts = {
        "data over devices": count(spread(n), spread((m, n), "devices"), spread(m, "devices")),
        "parameters over devices": count(spread(n, "devices"), spread((m, n), None, "devices"), spread(m)),
        "two leaves over devices": count(
            [spread(n // 2, "devices")] * 2, [spread((m, n // 2), None, "devices")] * 2, spread(m)
        ),
    }
    print(f"{options.devices} devices, {m} rows, {n} parameters, float32; a trip is one evaluation of the loss")
    print(f"{'':43} {'collectives':>11} {'bytes':>12} {'messages':>9} {'sent':>12}  beyond the loss")
    for layout, costs in layouts.items():
        own = costs["loss alone"][0]
        for name, (low, high) in costs.items():
            beyond = [(a - o, b - o) for a, b, o in zip(low, high, own, strict=True)]
            counts = zip((*low, *low.model(options.devices)), (*high, *high.model(options.devices)), strict=True)
            cells = [f"{a}" if a == b else f"{a}-{b}" for a, b in (*counts, *beyond)]
            row = "{:43} {:>11} {:>12} {:>9} {:>12}  {} collectives, {} bytes"
            print(row.format(f"{layout}: {name}", *cells))
    print(
        "model of a trip's communication: messages * latency + sent / bandwidth, for all-reduces in a ring of D devices"
    )
    print("messages = 2 (D - 1) collectives, one after the other; sent = 2 (D - 1) / D bytes, by each device;")
    print("an all-gather needs half of that. a-b: the cheapest and the dearest trip")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    records = {
        layout: {name: [c._asdict() for c in ends] for name, ends in costs.items()} for layout, costs in layouts.items()
    }
    header = dict(devices=options.devices, rows=m, parameters=n, dtype="float32")
    options.json.write_text(json.dumps(header | {"costs": records}, indent=1) + "\n")
