"""The loop, and all that it remembers, tests and says."""
