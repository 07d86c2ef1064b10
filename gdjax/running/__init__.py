"""Run a descent: as one compiled call, or in pieces, with Python watching in between."""
