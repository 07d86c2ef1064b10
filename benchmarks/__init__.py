"""Benchmarks and the pictures of the README."""

import os

# Two pools of threads fight: SciPy's L-BFGS-B takes 5000 us an evaluation beside XLA's, 150 us without its own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
