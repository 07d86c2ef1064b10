"""Options of XLA's CPU compiler, for programs that are many small loops over the lanes of a batch.

They are set for one program, not for the process, and left out where this jaxlib does not know them.
"""

import functools

import jax

# With XLA's first way to write a fusion as a loop 10 000 fits of 64 points (lanes of 64, 130 loops a trip) took 0.09 s
# of CPU, with the newer one 0.13; BFGS on Rosenbrock's function of ten variables takes as long with either.
OF_LANES = dict(xla_cpu_use_fusion_emitters=False)


@functools.cache
def of_lanes() -> dict[str, bool]:
    """The options for a batch in lanes, or none."""
    try:
        jax.jit(lambda x: x, compiler_options=OF_LANES).lower(0.0).compile()
    except Exception:  # XLA has no class for it
        return {}
    return OF_LANES
