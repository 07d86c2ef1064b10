"""Where the examples put their pictures (the folder named on the command line, or ./pictures), and how they look."""

import sys
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt

from gdjax.plot.style import COLOURS

NOTEBOOK = "ipykernel" in sys.modules  # which shows the figures itself
if not NOTEBOOK:
    matplotlib.use("agg")
plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLOURS)
plt.rcParams |= {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}


def place(name):
    """The path of a new picture; its folder is made if it is not there."""
    given = sys.argv[1:] if not NOTEBOOK else []
    folder = Path(given[0] if given else "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"The picture is {folder / name}.")
    return folder / name


def save(figure, name):
    """Write a matplotlib figure, and close it unless it is to be shown."""
    figure.savefig(place(name), dpi=80)
    if not NOTEBOOK:
        plt.close(figure)
