"""Pictures of descents and of the losses they run on (matplotlib; ``pip install 'gdjax[plot]'``).

Each function draws on ``ax=`` (by default on the axes of a new figure) and returns it. Series differ in colour, line
style and marker, so they can be told apart in black and white and by colour-blind readers.
"""

from gdjax.plot.curves import compare, gradient_check, history, learning_rates
from gdjax.plot.fits import fit, profile
from gdjax.plot.losses import slice, surface

__all__ = ["compare", "fit", "gradient_check", "history", "learning_rates", "profile", "slice", "surface"]
