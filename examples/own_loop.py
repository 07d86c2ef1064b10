"""A loop of your own: batches in a scan, expectation maximisation, two fits in turns.

`gdjax.init` and `gdjax.step` are the trips of `gdjax.minimize`, one evaluation a call, as a pure function. The first
loop is the training that everybody writes by hand with optax, to the same numbers. The second fits a mixture of two
Gaussians: the loss of the M-step changes with each E-step, which `new_data=True` says. The third factorises a matrix,
one factor after the other, and ends when both say CONVERGED.

Run it with: python examples/own_loop.py
"""

import jax
import jax.numpy as jnp
import optax

import gdjax


def batches_in_a_scan():
    """Adam on batches: by hand, and by gdjax.step."""
    x = jax.random.normal(jax.random.key(0), (200, 32, 3))
    y = jnp.tanh(x @ jnp.array([1.0, -2.0, 0.5]))
    loss = lambda w, x, y: jnp.mean((jnp.tanh(x @ w) - y) ** 2)
    adam, start = optax.adam(0.02), jnp.zeros(3)

    def by_hand(carry, batch):
        w, state = carry
        value, grad = jax.value_and_grad(loss)(w, *batch)
        updates, state = adam.update(grad, state)
        return (optax.apply_updates(w, updates), state), value

    def ours(state, batch):
        state = gdjax.step(loss, state, *batch, new_data=True)
        return state, state.value

    (wanted, _), _ = jax.lax.scan(by_hand, (start, adam.init(start)), (x, y))
    state = gdjax.init(loss, start, x[0], y[0], method=adam)
    state, values = jax.jit(lambda state: jax.lax.scan(ours, state, (x, y)))(state)
    print(f"200 batches: {state.params.round(3)}, by hand {wanted.round(3)}; the loss fell from {values[0]:.3f} to "
          f"{values[-1]:.6f}")  # fmt: skip
    return state, wanted


def mixture(steps=3, rounds=100):
    """EM with an M-step that is a few steps: no formula of the M-step is needed."""
    left, right = jax.random.normal(jax.random.key(1), (2, 300))
    x = jnp.concatenate([left - 2, 0.5 * right + 1.5])

    def log_densities(p, x):
        means, scales = p["mean"], jnp.exp(p["log_scale"])
        share = jax.nn.log_softmax(p["logit"])
        return share - jnp.log(scales) - 0.5 * ((x[:, None] - means) / scales) ** 2

    m_step = lambda p, x, share: -jnp.mean(jnp.sum(share * log_densities(p, x), axis=1))
    e_step = lambda p: jax.nn.softmax(log_densities(p, x), axis=1)
    start = {"mean": jnp.array([-1.0, 1.0]), "log_scale": jnp.zeros(2), "logit": jnp.zeros(2)}

    @jax.jit
    def one_round(state, _):
        share = e_step(state.params)
        state = gdjax.step(m_step, state, x, share, new_data=True)
        found = state.status  # CONVERGED: the last E-step has changed nothing
        for _ in range(steps):
            state = gdjax.step(m_step, state, x, share)
        return state, found

    state, found = jax.lax.scan(one_round, gdjax.init(m_step, start, x, e_step(start)), None, length=rounds)
    p = state.params
    first = int(jnp.argmax(found == gdjax.Status.CONVERGED))
    print(f"Mixture: means {p['mean'].round(2)}, scales {jnp.exp(p['log_scale']).round(2)}, "
          f"shares {jax.nn.softmax(p['logit']).round(2)}, at rest after {first} rounds")  # fmt: skip
    return state, found


def factors(rounds=200):
    """U V for a matrix of rank 2, one factor at a time."""
    a = jax.random.normal(jax.random.key(2), (8, 2)) @ jax.random.normal(jax.random.key(3), (2, 6))
    of_u = lambda u, v: jnp.sum((u @ v - a) ** 2)
    of_v = lambda v, u: of_u(u, v)

    def few_steps(loss, state, other):
        state = gdjax.step(loss, state, other, new_data=True)
        found = state.status
        return jax.lax.fori_loop(0, 3, lambda _, state: gdjax.step(loss, state, other), state), found

    @jax.jit
    def both(u, v):
        u, first = few_steps(of_u, u, v.params)
        v, second = few_steps(of_v, v, u.params)
        return u, v, (first == gdjax.Status.CONVERGED) & (second == gdjax.Status.CONVERGED)

    u = gdjax.init(of_u, jax.random.normal(jax.random.key(4), (8, 2)), jnp.ones((2, 6)))
    v = gdjax.init(of_v, jax.random.normal(jax.random.key(5), (2, 6)), u.params)
    for _ in range(rounds):
        u, v, rest = both(u, v)
        if rest:
            break
    worst = jnp.max(jnp.abs(u.params @ v.params - a))
    print(f"Factors: largest error {worst:.1e} after {u.num_evals + v.num_evals} evaluations of both")
    return worst


def main() -> None:
    """The three loops."""
    batches_in_a_scan()
    mixture()
    factors()


if __name__ == "__main__":
    main()
