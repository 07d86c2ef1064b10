"""Benchmarks and the pictures of the README."""
