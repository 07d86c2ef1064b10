"""Penalties and constraints: terms g of a sum f + g that need not be differentiable.

A method uses g through its proximal operator, prox for short: ``prox(x, step)`` is the z that minimises
``step * g(z) + |z - x|^2 / 2``. A constraint is a g that is 0 inside a set and infinite outside; its prox is the
projection onto the set. See `Penalty` for one of your own.
"""

from gdjax.penalties.affine import AffineSet, Halfspace, Hyperplane
from gdjax.penalties.balls import L1Ball, L2Ball
from gdjax.penalties.base import Penalty
from gdjax.penalties.box_section import BoxSection
from gdjax.penalties.by_leaf import by_leaf
from gdjax.penalties.norms import L1, L2, ElasticNet, GroupLasso, SquaredL2
from gdjax.penalties.nuclear_norm import NuclearNorm
from gdjax.penalties.sets import Box, NonNegative
from gdjax.penalties.simplex import Simplex
from gdjax.penalties.total_variation import TotalVariation1D

__all__ = [
    "L1",
    "L2",
    "AffineSet",
    "Box",
    "BoxSection",
    "ElasticNet",
    "GroupLasso",
    "Halfspace",
    "Hyperplane",
    "L1Ball",
    "L2Ball",
    "NonNegative",
    "NuclearNorm",
    "Penalty",
    "Simplex",
    "SquaredL2",
    "TotalVariation1D",
    "by_leaf",
]
