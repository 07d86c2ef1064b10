"""Many small arrays as few."""

import jax
import numpy as np

from gdjax.jaxtools import packing


def test_arrays_arrive_the_same_however_often_such_are_handed_over():
    for time in range(packing.HANDED + 3):
        rows = np.arange(12.0, dtype=np.float32).reshape(3, 4) + time
        given = {"a": rows[:, 1:3], "b": (rows[:, 0] > 4, np.int32(time))}
        arrived = packing.on_device(given)
        assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(arrived))
        jax.tree.map(np.testing.assert_array_equal, arrived, given)
        assert jax.tree.map(lambda x: x.dtype, arrived) == jax.tree.map(lambda x: x.dtype, given)
