"""Running a descent: one compiled call, or pieces of it with what is watched from Python in between."""
