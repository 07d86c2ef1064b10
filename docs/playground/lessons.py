"""What the playground shows: six losses, where each descent starts, and the methods that walk there."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

import gdjax

LINE_X = np.linspace(0.0, 4.0, 15)
LINE_Y = 1.0 + 0.8 * LINE_X + 0.35 * np.random.default_rng(3).standard_normal(15)


def rated(low: float, high: float, points: int) -> list[float]:
    """Rates evenly spaced on a logarithmic scale, of three digits."""
    return [float(f"{rate:.3g}") for rate in np.geomspace(low, high, points)]


@dataclasses.dataclass(frozen=True)
class Lesson:
    """A loss, its start and its words."""

    key: str
    title: str
    formula: str
    text: str
    loss: Callable[..., Any]
    start: Any
    names: tuple[str, ...]  # of the parameters
    span: tuple[tuple[float, float], ...]  # what the picture shows: of the parameters; of a curve, of the loss too
    rates: dict[str, list[float]]  # of the methods that have one
    presets: tuple[float, float, float]  # rates of gradient descent to try first
    preset_names: tuple[str, str, str] = ("too small", "right", "too large")
    args: tuple[Any, ...] = ()
    max_steps: int = 60
    goal: tuple[float, ...] | None = None  # the minimum to mark
    escapes: bool = False  # whether a descent that leaves saddles is shown


METHODS: dict[str, tuple[str, Callable[..., Any]]] = {
    "descent": ("Gradient descent", lambda rate: gdjax.GradientDescent(rate)),
    "momentum": ("Momentum 0.9", lambda rate: gdjax.GradientDescent(rate, momentum=0.9)),
    "adam": ("Adam", lambda rate: gdjax.Optax(optax.adam, learning_rate=rate)),
    "bb": ("Barzilai-Borwein", lambda: gdjax.GradientDescent(gdjax.BarzilaiBorwein())),
    "lbfgs": ("L-BFGS", lambda: gdjax.LBFGS()),
    "trust": ("Trust region", lambda: gdjax.TrustRegion()),
}


def rates(low: float, high: float, adam: tuple[float, float] = (0.01, 1.0)) -> dict[str, list[float]]:
    """A fine grid for gradient descent and coarser ones for the others."""
    return {"descent": rated(low, high, 37), "momentum": rated(low / 4, high, 19), "adam": rated(*adam, 19)}


def mean_squared_error(line, x, y):
    """Of a straight line."""
    return jnp.mean((line["intercept"] + line["slope"] * x - y) ** 2)


LESSONS = [
    Lesson(
        key="bowl",
        title="A bowl",
        formula="f(x) = x²",
        text="The slope at x is 2x. A step of gradient descent is x ← x − rate × slope. Take a few steps with each of"
        " the three rates. Below 1 the ball comes to rest; above 1 each step lands farther away than the last.",
        loss=lambda x: x**2,
        start=2.0,
        names=("x",),
        span=((-3.2, 3.2), (-0.6, 9.0)),
        rates=rates(0.01, 1.2),
        presets=(0.01, 0.3, 1.05),
        goal=(0.0,),
    ),
    Lesson(
        key="valleys",
        title="Two valleys",
        formula="f(x) = x⁴ − 4x² + x",
        text="The left valley is deeper. A small rate rolls into the valley it starts above. A larger one jumps over"
        " the hill, and where it comes to rest is luck: a descent finds a minimum, not the lowest one.",
        loss=lambda x: x**4 - 4 * x**2 + x,
        start=2.0,
        names=("x",),
        span=((-2.4, 2.4), (-6.5, 6.0)),
        rates=rates(0.001, 0.3),
        presets=(0.001, 0.03, 0.15),
    ),
    Lesson(
        key="narrow",
        title="A narrow valley",
        formula="f(x, y) = x²/2 + 10 y²",
        text="Across the valley the curvature is 20, along it 1. The steep direction sets the largest stable rate,"
        " 2/20 = 0.1, and the flat one then takes many small steps. Momentum gathers speed along the floor;"
        " L-BFGS and the trust region learn the shape of the valley.",
        loss=lambda p: 0.5 * p[0] ** 2 + 10 * p[1] ** 2,
        start=np.array([-4.0, 1.0]),
        names=("x", "y"),
        span=((-5.0, 2.5), (-1.6, 1.6)),
        rates=rates(0.001, 0.12),
        presets=(0.002, 0.08, 0.105),
        goal=(0.0, 0.0),
    ),
    Lesson(
        key="rosenbrock",
        title="A curved valley",
        formula="f(x, y) = (1 − x)² + 100 (y − x²)²",
        text="Rosenbrock's valley. Gradient descent reaches its floor in a few steps and then hardly moves, because"
        " a rate that is stable across the valley is tiny along it. Compare with L-BFGS, which needs no rate.",
        loss=lambda p: (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2,
        start=np.array([-1.2, 1.0]),
        names=("x", "y"),
        span=((-1.9, 1.9), (-0.9, 2.6)),
        rates=rates(1e-4, 0.02),
        presets=(1e-4, 0.00122, 0.01),
        preset_names=("too small", "just stable", "too large"),
        max_steps=100,
        goal=(1.0, 1.0),
    ),
    Lesson(
        key="saddle",
        title="A saddle",
        formula="f(x, y) = (x² − 1)² + y²",
        text="The start lies on the ridge between two minima, and the gradient leads along the ridge to a saddle. The"
        " gradient is zero there, so every method stops. Only the curvature tells; the last row uses it to go on.",
        loss=lambda p: (p[0] ** 2 - 1) ** 2 + p[1] ** 2,
        start=np.array([0.0, 1.2]),
        names=("x", "y"),
        span=((-1.7, 1.7), (-0.9, 1.5)),
        rates=rates(0.005, 1.1),
        presets=(0.005, 0.3, 1.05),
        max_steps=120,
        escapes=True,
    ),
    Lesson(
        key="line",
        title="Fit a line",
        formula="loss = mean of (intercept + slope × x − y)²",
        text="Each point of the surface is a line through the data, and its height is the mean squared error of that"
        " line. A step on the surface moves the line.",
        loss=mean_squared_error,
        args=(LINE_X, LINE_Y),
        start={"intercept": 0.0, "slope": -0.5},
        names=("intercept", "slope"),
        span=((-1.0, 3.2), (-0.9, 2.1)),
        rates=rates(0.0005, 0.25),
        presets=(0.0005, 0.1, 0.2),
        max_steps=80,
    ),
]
