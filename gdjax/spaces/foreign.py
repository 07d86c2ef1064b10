"""Spaces from other libraries, as they are: numpyro's constraints and transforms, distrax's bijectors.

Neither library is imported, but for a constraint numpyro itself, which the user has then imported.
"""

from typing import Any

import jax

from gdjax.jaxtools.pytrees import pytree_dataclass, static_field
from gdjax.spaces.adopted import Adopted
from gdjax.spaces.base import Space, SpaceLike


def is_space(x: Any) -> bool:
    """Whether it is a space, or what can be made one."""
    theirs = is_transform(x) or is_bijector(x) or is_constraint(x)
    return not isinstance(x, type) and (isinstance(x, Space | SpaceLike) or theirs)


def is_constraint(x: Any) -> bool:
    """Whether it is one of numpyro.distributions.constraints."""
    return hasattr(x, "feasible_like") and hasattr(x, "event_dim") and callable(x)


def is_transform(x: Any) -> bool:
    """Whether it is one of numpyro.distributions.transforms."""
    return hasattr(x, "log_abs_det_jacobian") and hasattr(x, "inv") and callable(x)


def is_bijector(x: Any) -> bool:
    """Whether it is a bijector of distrax, or has its methods."""
    return all(callable(getattr(x, name, None)) for name in ("forward", "inverse", "forward_log_det_jacobian"))


def as_space(x: Any) -> Space:
    """A space as it is; what others have as one.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(x, Space):
        return x
    if is_constraint(x):
        from numpyro.distributions import biject_to

        return Adopted(Transform(biject_to(x), type(x).__name__))
    if is_transform(x):
        return Adopted(Transform(x, type(x).__name__))
    if is_bijector(x):
        return Adopted(Bijector(x))
    if isinstance(x, SpaceLike) and not isinstance(x, type):
        return Adopted(x)
    hint = "; it is a class: call it first" if isinstance(x, type) else ""
    raise TypeError(
        "a space is one of gdjax.spaces, a constraint of numpyro, a bijector of distrax, or has to_user(free) and "
        f"to_free(user); got {x!r}{hint}"
    )


@pytree_dataclass
class Transform:
    """A transform of numpyro."""

    transform: Any
    named: str = static_field("")  # its class, or that of the constraint

    def to_user(self, free: jax.Array) -> Any:
        """Forward."""
        return self.transform(free)

    def to_free(self, user: jax.Array) -> Any:
        """Backward."""
        return self.transform.inv(user)

    def log_det(self, free: jax.Array) -> Any:
        """Theirs, of each event."""
        return self.transform.log_abs_det_jacobian(free, self.transform(free))

    def __repr__(self) -> str:
        return f"numpyro's {self.named.lstrip('_')}"


@pytree_dataclass
class Bijector:
    """A bijector of distrax."""

    bijector: Any

    def to_user(self, free: jax.Array) -> Any:
        """Forward."""
        return self.bijector.forward(free)

    def to_free(self, user: jax.Array) -> Any:
        """Backward."""
        return self.bijector.inverse(user)

    def log_det(self, free: jax.Array) -> Any:
        """Theirs, of each event."""
        return self.bijector.forward_log_det_jacobian(free)

    def __repr__(self) -> str:
        return f"the bijector {type(self.bijector).__name__}"
