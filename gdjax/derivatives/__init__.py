"""Derivatives of the solution with respect to the data."""
