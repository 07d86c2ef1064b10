"""Pictures of descents and of the losses they run on (matplotlib; ``pip install 'gdjax[plot]'``).

Each function draws on ``ax=`` (by default on the current axes of a new figure) and returns it. Series differ in
colour, in line style and in marker: they can be told apart in black and white and with any colour vision.
"""

from gdjax.plot.curves import compare, gradient_check, history, learning_rates
from gdjax.plot.losses import slice, surface

__all__ = ["compare", "gradient_check", "history", "learning_rates", "slice", "surface"]
