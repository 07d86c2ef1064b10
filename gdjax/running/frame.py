"""What a loop of the user's own has besides its arrays."""

from typing import Any

import jax

from gdjax.jaxtools.pytrees import Static
from gdjax.running.programs import Request, own_begin

# Numbers of an array that is handed over with others: each by itself takes about 3 us a call, copying many takes more.
FEW = 64


class Frame:
    """What of a state selects the program, and is the same in each step: there it is compared by identity."""

    def __init__(
        self, numbers: list[Any], structure: Static, like: Any, layout: Any, by: str, maximize: bool, history: int,
        unrolled: bool, spread: bool,
    ) -> None:  # fmt: skip
        self.numbers, self.structure = numbers, structure  # of the options: shapes of the arrays, and the rest
        self.like, self.layout = like, layout  # shapes of what goes around, and how parameters become a vector there
        self.by, self.maximize, self.history, self.unrolled = by, maximize, history, unrolled
        self.spread = spread  # whether the parameters are in pieces on several devices
        leaves, treedef = jax.tree.flatten((numbers, like))
        self.key = treedef, tuple(leaves), structure, layout, by, maximize, history, unrolled, spread
        self.number = hash(self.key)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Frame) and self.key == other.key)


def shapes_of(request: Request, unrolled: bool) -> Any:
    """Shapes and dtypes of what goes around the loop."""
    key, arrays = request.split()
    return only_shapes(own_begin.eval_shape(key, unrolled, arrays))


def only_shapes(tree: Any) -> Any:
    """Shapes and dtypes of the arrays."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
