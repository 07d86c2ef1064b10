"""Stacked blocks that push on each other: contact forces in every time step, for many stacks at once."""

import functools

import jax
import jax.numpy as jnp
import jaxopt
from jaxopt import projection


def objective(forces, A, b):
    return 0.5 * forces @ A @ forces + b @ forces


solver = jaxopt.ProjectedGradient(
    fun=objective, projection=projection.projection_non_negative, maxiter=200, maxls=8, tol=1e-6, implicit_diff=False
)


def step(velocity, mass, jacobian, dt):
    A = jacobian @ (jacobian.T / mass[:, None]) + 0.1 * jnp.eye(jacobian.shape[0])
    free = velocity - 9.81 * dt
    forces, state = solver.run(jnp.zeros(jacobian.shape[0]), A=A, b=jacobian @ free)
    return free + jacobian.T @ forces / mass, state.error


@functools.partial(jax.jit, static_argnames="count")
@functools.partial(jax.vmap, in_axes=(0, None, None, None, None))
def fall(velocity, mass, jacobian, dt, count):
    move = lambda v, _: (step(v, mass, jacobian, dt)[0], None)
    return jax.lax.scan(move, velocity, None, length=count)[0]


def answer():
    jacobian = jnp.array([[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]])
    velocities = jnp.array([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5], [-1.0, 0.0, -3.0]])
    return {"velocity": fall(velocities, jnp.array([1.0, 2.0, 0.5]), jacobian, 0.01, 4)}
