# ---
# jupyter:
#   jupytext: {formats: "py:percent"}
# ---
# %% [markdown]
# # The first hour: from a loss to a fit with error bars
#
# Read from top to bottom and run each cell. As a script: `python examples/first_hour.py`; it takes half a minute and
# puts its pictures into `pictures/`. As a notebook: editors such as VS Code show the cells of this file as they are,
# and `jupytext --to ipynb examples/first_hour.py` makes an .ipynb.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from pictures import save

import gdjax

jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## 1. A loss is one number that says how wrong you are
#
# Here are fifteen measurements that seem to lie on a line. A line has two parameters, its intercept and its slope.
# For a line of your choice, the loss is the mean of the squared distances to the measurements. A better line has a
# smaller loss. To fit is to find the parameters for which the loss is smallest.

# %%
x = jnp.linspace(0.0, 4.0, 15)
y = 1.0 + 0.8 * x + 0.35 * np.random.default_rng(3).standard_normal(15)


def loss(line, x, y):
    """Mean squared error of a line."""
    return jnp.mean((line["intercept"] + line["slope"] * x - y) ** 2)


flat = {"intercept": 2.5, "slope": 0.0}
rising = {"intercept": 1.0, "slope": 1.0}
print("1. A flat line has the loss", f"{loss(flat, x, y):.3f} and a rising one {loss(rising, x, y):.3f}")

# %% [markdown]
# Every line is a point with two coordinates, and the loss is the height of a surface over these points. The star is
# the rising line, the cross the flat one. The darker, the lower.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
left.plot(x, y, "ko", label="measured")
for line, style, name in ((flat, "--", "flat"), (rising, "-", "rising")):
    left.plot(x, line["intercept"] + line["slope"] * x, style, label=name)
left.set(xlabel="x", ylabel="y")
left.legend(frameon=False)
gdjax.plot.surface(loss, rising, x, y, marks={"flat": flat}, span=((-0.5, 3.5), (-0.6, 1.8)), ax=right)
save(figure, "first_hour_1_loss.png")

# %% [markdown]
# ## 2. The gradient says which way is uphill
#
# The gradient holds the slope of the loss in each parameter. You can work it out by hand: the derivative of a square
# is two times what is squared, times the derivative of that. `jax.grad` finds the same numbers from the code.


# %%
def by_hand(line, x, y):
    """The gradient of `loss`."""
    error = line["intercept"] + line["slope"] * x - y
    return {"intercept": 2 * jnp.mean(error), "slope": 2 * jnp.mean(error * x)}


start = {"intercept": 0.0, "slope": -0.5}
own, automatic = by_hand(start, x, y), jax.grad(loss)(start, x, y)
print("\n2. By hand: ", {name: f"{value:.6f}" for name, value in own.items()})
print("   jax.grad:", {name: f"{value:.6f}" for name, value in automatic.items()})

# %% [markdown]
# ## 3. Check a gradient before you trust it
#
# It is easy to forget a factor. `gdjax.check_gradient` compares your gradient with JAX's, and JAX's with differences of
# the loss, parameter by parameter.


# %%
def forgetful(line, x, y):
    """The same with a factor 2 missing in the slope."""
    right = by_hand(line, x, y)
    return right | {"slope": right["slope"] / 2}


good, bad = (gdjax.check_gradient(loss, start, x, y, grad=grad) for grad in (by_hand, forgetful))
print(f"\n3. {good}\n\n{bad}")

# %% [markdown]
# ## 4. A step downhill, and how long it should be
#
# Gradient descent takes steps against the gradient: `new = old - rate * gradient`. `gdjax.iterate` takes them one at a
# time. `gdjax.minimize` goes on until the gradient counts as zero, or something else ends the descent; the result says
# what. Read its first word: only CONVERGED means that the slope is gone.

# %%
steps = gdjax.iterate(loss, start, x, y, grad=by_hand, method=gdjax.GradientDescent(0.1))
before, after = next(steps), next(steps)
print(f"\n4. One step moves the slope from {before.params['slope']:.3f} to {after.params['slope']:.3f},")
print(f"   which is {before.params['slope']:.3f} - 0.1 * ({before.grad['slope']:.3f}).\n")

rates = {"too small": 0.0005, "right": 0.1, "too large": 0.2}
three = {
    f"{word} ({rate:g})": gdjax.minimize(
        loss, start, x, y, method=gdjax.GradientDescent(rate), max_steps=300, history=True
    )
    for word, rate in rates.items()
}
for word, result in three.items():
    print(f"   {word}: {result}")

# %% [markdown]
# Why is 0.2 too large? Across its steepest direction the surface has a curvature L, and a step longer than 2 / L times
# the gradient lands higher on the other side. `gdjax.learning_rate_range` measures L and tries rates for
# you. A rate counts as right if its descent converged, or came within a hundredth of the largest decrease of any rate.

# %%
report = gdjax.learning_rate_range(loss, start, x, y, max_steps=300)
print(f"\n{report}")
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
gdjax.plot.learning_rates(report, ax=left)
gdjax.plot.history(three, against="steps", ax=right)
save(figure, "first_hour_4_rates.png")

# %% [markdown]
# ## 5. A harder loss: momentum and Adam
#
# In a narrow valley the steep walls set the rate, and the floor, which is nearly flat, then takes thousands of steps.
# Rosenbrock's valley is the standard example. Its lowest point is (1, 1). *Momentum* remembers earlier steps, so that
# the zigzag across the valley cancels and the way along the floor adds up. *Adam* gives each parameter a rate of its
# own.


# %%
def valley(p):
    """Rosenbrock's function."""
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


hill = jnp.array([-1.2, 1.0])
methods = {
    "gradient descent": gdjax.GradientDescent(1e-3),
    "momentum": gdjax.GradientDescent(1e-3, momentum=0.9),
    "Adam": optax.adam(0.05),
    "L-BFGS": gdjax.LBFGS(),
    "trust region": gdjax.TrustRegion(),
}
descents = {
    name: gdjax.minimize(valley, hill, method=method, max_steps=50_000, history=True)
    for name, method in methods.items()
}
print("\n5. Down Rosenbrock's valley:")
for name, result in descents.items():
    print(f"   {name:17} {result.status.name:15} {int(result.num_evals):6} evaluations, at {result.params.round(4)}")

# %% [markdown]
# ## 6. L-BFGS: no rate to choose
#
# The last two rows needed no rate. L-BFGS looks at how the gradient changed during its last steps. That is the
# curvature, and it tells how long a step should be, in each direction. Each step is searched for along a line, so that
# the loss goes down. A trust region takes Newton's steps, as long as the loss agrees with them. If you name no method,
# gdjax uses L-BFGS (BFGS, which remembers more, for few parameters). Use gradient descent to learn, and L-BFGS to work;
# Adam is for losses that are noisy, such as those of batches of data.

# %%
path = list(gdjax.iterate(valley, hill))
print(f"\n6. The default: {path[-1]}")
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
gdjax.plot.history(descents, ax=left)
gdjax.plot.surface(valley, path[-1], path=path, ax=right)
save(figure, "first_hour_6_methods.png")

# %% [markdown]
# ## 7. Where the slope is zero and it is still no minimum
#
# A descent ends where the gradient is zero. On a ridge between two valleys that can be a saddle: a minimum along the
# ridge, a maximum across it. No gradient can tell. The curvature can: `gdjax.classify_critical_point` looks at it, and
# `escape_saddles=True` uses it to go on.


# %%
def two_valleys(p):
    """Minima at (1, 0) and (-1, 0), a saddle at (0, 0)."""
    return (p[0] ** 2 - 1) ** 2 + p[1] ** 2


ridge = jnp.array([0.0, 1.2])
stuck = gdjax.minimize(two_valleys, ridge)
kind = gdjax.classify_critical_point(two_valleys, stuck)
on_the_way: list = []
options = dict(method=gdjax.GradientDescent(0.05), escape_saddles=True)
free = gdjax.minimize(two_valleys, ridge, callback=on_the_way.append, **options)
print(f"\n7. From the ridge: {stuck}\n   That is {kind}")
print(f"   With escape_saddles=True: {free}\n   That is {free.certificate}")
marks, span = {"saddle": jnp.zeros(2)}, ((-1.6, 1.6), (-0.8, 1.4))
ax = gdjax.plot.surface(two_valleys, free, path=on_the_way, marks=marks, span=span)
save(ax.figure, "first_hour_7_saddle.png")

# %% [markdown]
# ## 8. A real fit, with error bars
#
# How fast an enzyme works depends on how much there is for it to work on. Treloar measured it in 1974, and Bates and
# Watts (*Nonlinear Regression Analysis and Its Applications*, 1988) made the data a standard example. Michaelis and
# Menten's law has two parameters: the largest velocity, and the concentration at which half of it is reached. For a
# sum of squares, call `gdjax.curve_fit`: you give the model instead of the loss, and the answer comes with standard
# errors, which say how far other data of the same kind would have moved it.

# %%
concentration = jnp.array([0.02, 0.02, 0.06, 0.06, 0.11, 0.11, 0.22, 0.22, 0.56, 0.56, 1.10, 1.10])  # ppm
velocity = jnp.array([76.0, 47, 97, 107, 123, 139, 159, 152, 191, 201, 207, 200])  # counts/min^2


def model(p, c):
    """Michaelis and Menten's law."""
    return p["largest"] * c / (p["half"] + c)


guess = {"largest": 150.0, "half": 0.2}
fit = gdjax.curve_fit(model, guess, concentration, velocity)
print(f"\n8. {fit}")

# %% [markdown]
# Bates and Watts give 212.7 with a standard error of 6.95, and 0.0641 with 0.0083. The 95% intervals of the table treat
# the model as if it were linear. `gdjax.profile` does not: it holds the parameter at other values, fits the other one
# again, and finds how far the data let it go. Here its interval is wider above than below.


# %%
def residuals(p, c, v):
    """What the model leaves of the data."""
    return model(p, c) - v


profile = gdjax.profile(residuals, fit, concentration, velocity, parameter="half")
print(f"\n{profile}")
figure = plt.figure(figsize=(11, 4.8), layout="constrained")
left, right = figure.subfigures(1, 2)
shape = dict(sharex=True, height_ratios=(3, 1))
axes = gdjax.plot.fit(fit, model, concentration, velocity, ax=left.subplots(2, 1, **shape))
axes[0].set_ylabel("velocity (counts/min²)")
axes[1].set(xlabel="concentration (ppm)", ylabel="data - model")
gdjax.plot.profile(profile, ax=right.subplots())
save(figure, "first_hour_8_fit.png")

# %% [markdown]
# ## Where to go from here
#
# - `docs/playground.html` plays sections 4 to 7 in a browser, with a slider for the rate.
# - `examples/README.md` lists the other examples in an order to read them.
# - `print(result.explain(loss))` is the first thing to try when a result surprises you.
