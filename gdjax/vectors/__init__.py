"""The vector algebra, and the way from parameters to a vector."""
