"""Losses that the tests share (the same objects, so that their programs are compiled once)."""

import jax
import jax.numpy as jnp

import gdjax


def quadratic(p, curvature=10.0):
    """Condition number 10 (by default), minimum 0 at 1."""
    scale = jnp.linspace(1.0, curvature, p.size, dtype=p.dtype).reshape(p.shape)
    return 0.5 * jnp.sum(scale * (p - 1) ** 2)


def rosenbrock(p):
    return jnp.sum(100 * (p[1:] - p[:-1] ** 2) ** 2 + (1 - p[:-1]) ** 2)


def tree_loss(p):
    """Of a nested tree with real and complex leaves of any dtype; minimum 0 where every entry is 1 + 2i or 1."""

    def leaf(x):
        goal = jnp.asarray(1 + 2j if jnp.iscomplexobj(x) else 1, x.dtype)
        return jnp.sum(jnp.abs(x - goal) ** 2).astype(jnp.float32)

    return sum(leaf(x) for x in jax.tree.leaves(p))


# A marker: sin is the value's and cos its derivative's, and neither occurs anywhere else.
def marked(p, shift=0.0):
    return jnp.sum(jnp.sin(p + shift) + 2 * (p - 1) ** 2)


SEARCH = gdjax.GradientDescent(gdjax.Backtracking())


def equations(jaxpr, name):
    """Those of a primitive in a jaxpr and all jaxprs within it."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == name:
            yield eqn
        for sub in jax.tree.leaves(eqn.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
            sub = getattr(sub, "jaxpr", sub)
            if hasattr(sub, "eqns"):
                yield from equations(sub, name)


def count_primitive(jaxpr, name):
    """Occurrences of a primitive in a jaxpr and all jaxprs within it."""
    return sum(1 for _ in equations(jaxpr, name))


class CompileCounter:
    """Counts what XLA is asked to compile."""

    def __enter__(self):
        self.count, self.active = 0, True
        jax.monitoring.register_event_duration_secs_listener(self)
        return self

    def __call__(self, event, duration, **_):
        self.count += self.active and event == "/jax/core/compile/backend_compile_duration"

    def __exit__(self, *_):
        self.active = False
