"""What other libraries (SciPy, jaxopt, optimistix, optax's tutorials) call an option, and what to write here."""

import difflib
from collections.abc import Iterable

BOX = "penalty=gdjax.penalties.Box(lower, upper)"
STEPS, EVALS, TOL = "max_steps=", "max_evals=", "tol=, or stop=gdjax.Stop(...) for the other tests"
DATA = "data follow params: minimize(loss, params, x, y), or kwargs=dict(x=x, y=y)"
FREE = 'space={"rate": gdjax.spaces.Fixed()}, by name'
ROBUST = "robust=gdjax.Huber(scale), or SoftL1, Cauchy, Tukey, of least_squares and curve_fit"
SPACE = 'space={"sigma": gdjax.spaces.Positive()}, by name'
OPTIONS: dict[str, str] = {
    "args": DATA,
    "atol": TOL,
    "bijector": SPACE,
    "bounds": BOX,
    "disp": "progress=True, or print the result",
    "fixed": FREE,
    "f_scale": ROBUST,
    "frozen": FREE,
    "ftol": "stop=gdjax.Stop(decrease=...)",
    "fun": "the loss comes first: minimize(loss, params)",
    "gradient": "grad=",
    "gtol": "tol=",
    "hess": "the Hessian products come from JAX: method=gdjax.TrustRegion()",
    "hessp": "the Hessian products come from JAX: method=gdjax.TrustRegion()",
    "init_params": "the start follows the loss: minimize(loss, params)",
    "iterations": STEPS,
    "jac": "grad=",
    "learning_rate": "method=gdjax.GradientDescent(learning_rate), or method=optax.adam(learning_rate)",
    "loss": ROBUST,
    "lower": BOX,
    "lr": "method=gdjax.GradientDescent(learning_rate), or method=optax.adam(learning_rate)",
    "max_fun": EVALS,
    "max_iter": STEPS,
    "maxfev": EVALS,
    "maxfun": EVALS,
    "maxiter": STEPS,
    "momentum": "method=gdjax.GradientDescent(learning_rate, momentum=...)",
    "n_steps": STEPS,
    "num_steps": STEPS,
    "optimizer": "method=",
    "options": "each by its own name: max_steps=, max_evals=, tol=",
    "prox": "penalty= takes an object with value(x) and prox(x, step)",
    "rtol": TOL,
    "solver": "method=",
    "steps": STEPS,
    "timeout": "max_seconds=",
    "tolerance": TOL,
    "transform": SPACE,
    "transforms": SPACE,
    "upper": BOX,
    "verbose": "progress=True",
    "x0": "the start follows the loss: minimize(loss, params)",
    "xtol": "stop=gdjax.Stop(step=...)",
}
ENDS = "a training ends after epochs=, or by patience= with validation="
FULL = "gdjax.minimize(gdjax.mean_over(loss, data, chunk=...), params, {}=...)"
TRAINING: dict[str, str] = {
    "args": "data are one pytree, such as (x, y); the loss closes over what is no data",
    "callbacks": "callback=, one function",
    "constraints": f"they need all rows at once: {FULL.format('constraints')}; bounds are space=",
    "has_aux": "the loss returns one number; look at more by metric= or callback=",
    "kwargs": "data are one pytree, such as (x, y); the loss closes over what is no data",
    "max_evals": ENDS,
    "max_steps": ENDS,
    "maximize": "give -loss",
    "penalty": f"a smooth term belongs into the loss, bounds are space=. Others need all rows at once: "
    f"{FULL.format('penalty')}; or a loop of gdjax.step with method=gdjax.ProximalGradient(learning_rate)",
    "random_state": "key=",
    "rng": "key=",
    "scheduler": "a schedule is the learning rate of the optimiser: method=optax.adam(schedule)",
    "seed": "key=",
    "stop": ENDS,
    "tol": ENDS,
    "validation_data": "validation=",
    "validation_split": "validation=, a share of the rows",
}
METHODS: dict[str, str] = {
    "accelerated": "gdjax.AcceleratedGradient()",
    "bfgs": "gdjax.BFGS()",
    "cg": "gdjax.ConjugateGradient()",
    "gd": "gdjax.GradientDescent(learning_rate)",
    "gradientdescent": "gdjax.GradientDescent(learning_rate)",
    "lbfgs": "gdjax.LBFGS()",
    "lbfgsb": f"gdjax.LBFGS(), with {BOX}",
    "levenbergmarquardt": "gdjax.LevenbergMarquardt(), and call gdjax.least_squares(residuals, params)",
    "lm": "gdjax.LevenbergMarquardt(), and call gdjax.least_squares(residuals, params)",
    "newtoncg": "gdjax.TrustRegion()",
    "proximalgradient": "gdjax.ProximalGradient()",
    "tnc": f"gdjax.LBFGS(), with {BOX}",
    "trustexact": "gdjax.TrustRegion()",
    "trustkrylov": "gdjax.TrustRegion()",
    "trustncg": "gdjax.TrustRegion()",
    "trustregion": "gdjax.TrustRegion()",
}


def for_option(name: str, known: Iterable[str], own: dict[str, str] | None = None) -> str:
    """What to write instead of an option that does not exist, or the list of options; first what a door has ``own``."""
    known, instead = list(known), OPTIONS | (own or {})
    if name in instead:
        return f"; {name}: {instead[name]}"
    close = difflib.get_close_matches(name, known, 1)
    return f"; is {close[0]} meant?" if close else f"; its options are {', '.join(known)}"


def for_method(name: str) -> str:
    """What to write instead of a method's name as text; empty if the name is not known."""
    key = "".join(filter(str.isalnum, name.lower()))
    return f"; write method={METHODS[key]}" if key in METHODS else ""
