"""A penalty of every kind, for parameters of shape (2, 3)."""

import numpy as np

from gdjax.penalties import (
    L1,
    L2,
    AffineSet,
    Box,
    BoxSection,
    ElasticNet,
    GroupLasso,
    Halfspace,
    Hyperplane,
    L1Ball,
    L2Ball,
    NonNegative,
    NuclearNorm,
    Simplex,
    SquaredL2,
    TotalVariation1D,
    by_leaf,
)

NORMAL = np.array([[1.0, -2.0, 0.5], [0.0, 1.0, 3.0]])
FUNCTIONS = {
    "L1": L1(0.7),
    "L1 weighted": L1(np.array([0.0, 0.5, 2.0])),
    "L2": L2(0.7),
    "SquaredL2": SquaredL2(0.7),
    "ElasticNet": ElasticNet(0.4, 0.6),
    "GroupLasso": GroupLasso(0.7),
    "GroupLasso, one group": GroupLasso(0.7, axis=None),
    "NuclearNorm": NuclearNorm(0.7),
    "TotalVariation1D": TotalVariation1D(0.7),
    "TotalVariation1D, columns": TotalVariation1D(0.7, axis=0),
    "by_leaf": by_leaf(L1(0.7)),
}
SETS = {
    "Box": Box(-0.5, np.array([0.1, np.inf, 0.3])),
    "NonNegative": NonNegative(),
    "Simplex": Simplex(1.5),
    "Simplex, rows": Simplex(1.5, axis=-1),
    "Simplex from below": Simplex(1.5, lower=np.array([0.1, -0.2, 0.3])),
    "Simplex, columns from below": Simplex(1.5, axis=0, lower=0.2),
    "L1Ball": L1Ball(1.5),
    "L2Ball": L2Ball(1.5),
    "Halfspace": Halfspace(NORMAL, -1.0),
    "Hyperplane": Hyperplane(NORMAL, 1.0),
    "AffineSet": AffineSet(np.stack([NORMAL.ravel(), np.ones(6), 1 + NORMAL.ravel()]), np.array([1.0, 2.0, 3.0])),
    "BoxSection": BoxSection(NORMAL, 1.0, -0.5, np.array([0.4, np.inf, 0.9])),
}
