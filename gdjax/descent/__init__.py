"""The loop: what it remembers, what it tests, and what it reports."""
