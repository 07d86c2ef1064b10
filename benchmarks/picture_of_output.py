"""Draw what a script prints as a PNG: python benchmarks/picture_of_output.py examples/quickstart.py OUT.png [LINES]."""

import subprocess
import sys

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt


def draw(text, path):
    """White monospaced text on black, as in a terminal."""
    lines = text.rstrip().splitlines()
    columns = max(map(len, lines))
    figure = plt.figure(figsize=(0.085 * columns + 0.4, 0.19 * len(lines) + 0.4), dpi=130, facecolor="#111418")
    figure.text(
        0.2 / figure.get_figwidth(),
        1 - 0.2 / figure.get_figheight(),
        "\n".join(lines),
        family="monospace",
        size=10,
        color="#e6e6e6",
        va="top",
        linespacing=1.15,
        parse_math=False,
    )
    figure.savefig(path, facecolor=figure.get_facecolor(), bbox_inches="tight", pad_inches=0.2)


if __name__ == "__main__":
    script, path = sys.argv[1:3]
    shown = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    draw(shown, path)
