"""What JAX and XLA want: pytrees, traced programs, kernels."""
