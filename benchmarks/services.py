"""What watching costs: the share of a descent's time that is spent outside of its compiled loop.

python -m benchmarks.services. Counted by the driver itself (`result.timing`), since other work on the machine moves
the time of a whole run by more than the two percent that are at stake. The second of two runs: nothing is compiled.
"""

import contextlib
import io
import tempfile
from pathlib import Path

import jax
import optax

import gdjax
from benchmarks.losses import rosenbrock, rosenbrock_start

STOP = gdjax.Stop(tol=0.0, max_steps=2**31 - 1, patience=2**31 - 1)


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    start = rosenbrock_start(100)
    methods = {"gradient descent": gdjax.GradientDescent(2e-4, momentum=0.5), "Adam": optax.adam(1e-4)}
    with tempfile.TemporaryDirectory() as folder:
        save = dict(checkpoint=Path(folder) / "descent.npz", checkpoint_seconds=1.0)
        few = dict(callback=lambda state: None, callback_every=1000)
        services = {
            "max_seconds": {},
            "progress": dict(progress=True),
            "callback, every 1000 steps": few,
            "callback, every step": dict(callback=lambda state: None),
            "checkpoint, every second": save,
            "all but the fourth": dict(progress=True, **few, **save),
        }
        for name, method in methods.items():
            print(f"{name}, Rosenbrock-100, 5 seconds")
            for service, options in services.items():
                for limit in (0.2, 5.0):
                    with contextlib.redirect_stderr(io.StringIO()) as screen:
                        screen.isatty = lambda: True
                        result = gdjax.minimize(
                            rosenbrock, start, method=method, stop=STOP, max_seconds=limit, **options
                        )
                share = result.timing.watching / (result.timing.seconds - result.timing.compiling)
                print(f"  {service:28s} {int(result.num_evals):9d} evaluations, {100 * share:6.2f} % outside")


if __name__ == "__main__":
    main()
