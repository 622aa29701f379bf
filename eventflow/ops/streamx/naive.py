"""The definition: torch's autograd for the gradients, one line of arithmetic per equation.

Works on the same :class:`~eventflow.ops.streamx.Learner` as the kernels and changes its arrays in place.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, Normal

from eventflow.ops.streamx._layout import (
    ABSOLUTE,
    ACTION,
    CONTINUOUS,
    CONV,
    COUNT,
    DELTA,
    DENSE,
    DISCOUNT,
    ENTROPY,
    EXPLORED,
    LAMBDA,
    LAYER_EPSILON,
    NORMAL_EPSILON,
    NORMALISE,
    OFFICIAL,
    OFFSET,
    RETURN,
    REWARD,
    REWARD_MEAN,
    REWARD_P,
    REWARDS,
    RULE,
    SCALE,
    SIGMA,
    SLOPE,
    SQUARE,
    UPDATES,
    VALUE,
    Learner,
    Network,
)  # fmt: skip

TD, Q, AC = 0, 1, 2
FINE, BAD_REWARD = -1, -2


def matrices(network: Network, flat: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(weight, bias) of each layer as torch's modules keep them: (F, C, k, k) or (out, in); views of ``flat``."""
    found = []
    fan_in = network.features
    for layer in network.layers:
        weight = flat[layer.weight : layer.bias].view(layer.rows, layer.columns)
        if layer.kind == CONV:
            side, channels = network.kernel, network.shape[2]
            weight = weight.view(side, side, channels, network.filters).permute(3, 2, 0, 1)
            bias = flat[layer.bias : layer.bias + network.filters]
        else:
            weight = weight[:, : layer.size].t() if layer.kind == DENSE else weight[:, :fan_in]
            bias = flat[layer.bias : layer.bias + layer.size]
        found.append((weight, bias))
        fan_in = layer.size
    return found


def outputs(network: Network, flat: Tensor, x: Tensor) -> Tensor:
    """(features,) -> (outputs,); an image is given row by row, its channels last."""
    *hidden, (head, offset) = matrices(network, flat)
    for weight, bias in hidden:
        if weight.dim() == 4:
            x = F.conv2d(x.view(network.shape).permute(2, 0, 1)[None], weight, bias)[0].permute(1, 2, 0).reshape(-1)
        else:
            x = F.linear(x, weight, bias)
        x = F.leaky_relu(F.layer_norm(x, x.shape, eps=LAYER_EPSILON), SLOPE)
    return F.linear(x, head, offset)


def begin(learner: Learner, kind: int, clock: float, epsilon: float) -> int:
    """See :func:`eventflow.ops.streamx.steps`."""
    if (bad := _bad(learner)) >= 0:
        return bad
    x = _observe(learner, clock)
    _remember(learner, x)
    _choose(learner, kind, outputs(learner.networks[0], _flat(learner), x), epsilon)
    return FINE


def td(learner: Learner, reward: float, discount: float, decay: float, terminated: bool, truncated: bool) -> int:
    """See :func:`eventflow.ops.streamx.steps`."""
    if not math.isfinite(reward):
        return BAD_REWARD
    if (bad := _bad(learner)) >= 0:
        return bad
    network, memory = learner.networks[0], learner.memory
    ended = terminated or truncated
    scaled = _scale(learner, reward, discount, ended)
    x, after = _current(learner), _observe(learner, 0.0)
    flat = _flat(learner).requires_grad_()
    value = outputs(network, flat, x)[0]
    target = scaled + (0.0 if _final(learner, terminated, truncated) else discount * _plain(network, flat, after)[0])
    memory[REWARD], memory[DELTA] = scaled, float(target - value.detach())
    _update(learner, 0, torch.autograd.grad(value, flat)[0], decay, ended)
    _remember(learner, after)
    memory[VALUE] = float(outputs(network, _flat(learner), after)[0])
    return FINE


def q(
    learner: Learner, reward: float, terminated: bool, truncated: bool, clock: float, epsilon: float, sarsa: bool
) -> int:
    """See :func:`eventflow.ops.streamx.steps`."""
    if not math.isfinite(reward):
        return BAD_REWARD
    if (bad := _bad(learner)) >= 0:
        return bad
    network, memory, discount = learner.networks[0], learner.memory, learner.numbers[DISCOUNT]
    ended = terminated or truncated
    scaled = _scale(learner, reward, discount, ended)
    x, after = _current(learner), _observe(learner, clock)
    flat = _flat(learner).requires_grad_()
    value = outputs(network, flat, x)[int(memory[ACTION])]
    reset = ended or (memory[EXPLORED] > 0 and not sarsa)
    following = _plain(network, flat, after)
    final = _final(learner, terminated, truncated)
    if sarsa and not final:  # the next action is chosen before the update, and is the one that counts
        _choose(learner, Q, following, epsilon)
    best = following[int(memory[ACTION])] if sarsa else following.max()
    target = scaled + (0.0 if final else discount * best)
    memory[REWARD], memory[DELTA] = scaled, float(target - value.detach())
    _update(learner, 0, torch.autograd.grad(value, flat)[0], discount * learner.numbers[LAMBDA], reset)
    _remember(learner, after)
    if not sarsa:
        _choose(learner, Q, outputs(network, _flat(learner), after), epsilon)
    return FINE


def ac(learner: Learner, reward: float, terminated: bool, truncated: bool, clock: float) -> int:
    """See :func:`eventflow.ops.streamx.steps`."""
    if not math.isfinite(reward):
        return BAD_REWARD
    if (bad := _bad(learner)) >= 0:
        return bad
    (actor, critic), memory, numbers = learner.networks, learner.memory, learner.numbers
    ended, decay = terminated or truncated, numbers[DISCOUNT] * numbers[LAMBDA]
    scaled = _scale(learner, reward, numbers[DISCOUNT], ended)
    x, after = _current(learner), _observe(learner, clock)
    policy_flat, value_flat = _flat(learner, 0).requires_grad_(), _flat(learner, 1).requires_grad_()
    value = outputs(critic, value_flat, x)[0]
    bootstrap = 0.0 if _final(learner, terminated, truncated) else _plain(critic, value_flat, after)[0]
    delta = float(scaled + numbers[DISCOUNT] * bootstrap - value.detach())
    policy, action = _policy(learner, outputs(actor, policy_flat, x))
    objective = policy.log_prob(action).sum() + numbers[ENTROPY] * np.sign(delta) * policy.entropy().sum()
    memory[REWARD], memory[DELTA], memory[VALUE] = scaled, delta, float(value.detach())
    _update(learner, 0, torch.autograd.grad(objective, policy_flat)[0], decay, ended, _share(learner, policy, action))
    _update(learner, 1, torch.autograd.grad(value, value_flat)[0], decay, ended)
    _remember(learner, after)
    _choose(learner, AC, outputs(actor, _flat(learner), after), 0.0)
    return FINE


# -- rules ------------------------------------------------------------------------------------------------------------


def _update(learner: Learner, k: int, grad: Tensor, decay: float, reset: bool, share: float = 1.0) -> None:
    """e = decay e + g, then the rule of network k (intentional: ``share`` of its step); traces are cut after it."""
    start, length = int(learner.nets[k, OFFSET]), learner.networks[k].length
    w, e, s = (torch.from_numpy(row[start : start + length]) for row in learner.params)
    code, lr, kappa, beta, tiny, eta, clip, divide = learner.numbers[RULE + 8 * k : RULE + 8 * k + 8]
    run, delta = learner.running(k), learner.memory[DELTA]
    run[UPDATES] += 1
    e.mul_(decay).add_(grad)
    if code == 0:  # obgd: ||change||_1 <= 1 / kappa
        bound = max(abs(delta), 1.0) * float(e.abs().sum()) * lr * kappa
        w += (lr / bound if bound > 1 else lr) * delta * e
    elif code == 1:  # stream2026: |change of a coordinate| < lr
        u = delta * e
        torch.maximum(beta * s, u.abs(), out=s)
        w += lr * u / (s + tiny)
    else:  # intentional
        s.mul_(beta).add_((1 - beta) * grad * grad)
        rho = 1 / ((s / (1 - beta ** run[UPDATES])).sqrt() + tiny)
        run[SIGMA] += (1 - decay) * (float((grad * grad * rho).sum()) - run[SIGMA])
        sigma = run[SIGMA] / (1 - decay ** run[UPDATES]) if decay < 1 else run[SIGMA]
        size = eta / max(math.sqrt(sigma * float((e * e * rho).sum())), 1e-8)
        w += share * size * _clipped(run, delta, clip, divide > 0) * rho * e
    if reset:
        e.zero_()


def _clipped(run: np.ndarray, delta: float, clip: float, divide: bool) -> float:
    """The error within 20 of its root mean square; for policies divided by its mean absolute value."""
    beta = 0.9998
    fresh = 1 - beta ** run[UPDATES]
    run[SQUARE] = beta * run[SQUARE] + (1 - beta) * delta**2
    cap = clip * math.sqrt(run[SQUARE] / fresh)
    clipped = min(max(delta, -cap), cap)
    if not divide:
        return clipped
    run[ABSOLUTE] = beta * run[ABSOLUTE] + (1 - beta) * abs(clipped)
    return clipped / max(run[ABSOLUTE] / fresh, 1e-12)


# -- statistics -------------------------------------------------------------------------------------------------------


def _scale(learner: Learner, reward: float, discount: float, ended: bool) -> float:
    """r / deviation of u, u = discount u + r; Welford's mean and unbiased variance."""
    m, official = learner.memory, bool(learner.numbers[OFFICIAL])
    if not learner.numbers[SCALE]:
        return reward
    u = (0.0 if official and ended else discount * m[RETURN]) + reward
    m[REWARDS] += 1
    if m[REWARDS] == 1:
        m[REWARD_MEAN] = u
    before = u - m[REWARD_MEAN]
    m[REWARD_MEAN] += before / m[REWARDS]
    m[REWARD_P] += before * (u - m[REWARD_MEAN])
    variance = m[REWARD_P] / (m[REWARDS] - 1) if m[REWARDS] > 1 else 1.0
    m[RETURN] = 0.0 if ended and not official else u
    return reward / math.sqrt(variance + NORMAL_EPSILON)


def _observe(learner: Learner, clock: float) -> Tensor:
    """The network's input: the observation normalised by statistics that already include it, and the clock."""
    m, x = learner.memory, learner.observation
    out = x.copy()
    if learner.numbers[NORMALISE]:
        m[COUNT] += 1
        if m[COUNT] == 1:
            learner.mean[:] = x
        before = x - learner.mean
        learner.mean[:] += before / m[COUNT]
        learner.squares[:] += before * (x - learner.mean)
        variance = learner.squares / (m[COUNT] - 1) if m[COUNT] > 1 else np.ones_like(x)
        out = (x - learner.mean) / np.sqrt(variance + NORMAL_EPSILON)
    with_clock = np.append(out, clock)[: learner.networks[0].features]
    return torch.from_numpy(with_clock.astype(learner.params.dtype))


def _bad(learner: Learner) -> int:
    """The first feature that is not finite, or -1."""
    wrong = np.flatnonzero(~np.isfinite(learner.observation))
    return int(wrong[0]) if len(wrong) else -1


# -- the rest ---------------------------------------------------------------------------------------------------------


def _policy(learner: Learner, out: Tensor) -> tuple[Normal | Categorical, Tensor]:
    """The actor's distribution, and the action that was taken."""
    if not learner.numbers[CONTINUOUS]:
        return Categorical(logits=out), torch.tensor(int(learner.memory[ACTION]))
    mean, pre = out.chunk(2)
    return Normal(mean, F.softplus(pre)), torch.from_numpy(learner.action.copy()).to(out.dtype)


def _share(learner: Learner, policy: Normal | Categorical, action: Tensor) -> float:
    """Of the change of log pi that the intentional rule wants, what a softmax can give: near certainty its gradient
    vanishes, and the whole change would need weights without bound. 2 (1 - pi), at most 1: as it is up to pi = 1/2."""
    if learner.numbers[CONTINUOUS]:
        return 1.0
    return min(1.0, 2.0 * (1.0 - float(policy.log_prob(action).exp())))


def _choose(learner: Learner, kind: int, out: Tensor, epsilon: float) -> None:
    """Predict, or make the next action of outputs and noise."""
    memory, noise, count = learner.memory, learner.noise, len(out)
    if kind == TD:
        memory[VALUE] = float(out[0])
    elif kind == Q:
        greedy = int(out.argmax())
        action = min(int(noise[1] * count), count - 1) if noise[0] < epsilon else greedy
        memory[ACTION], memory[EXPLORED], memory[VALUE] = action, action != greedy, float(out[greedy])
    elif learner.numbers[CONTINUOUS]:
        mean, pre = out.chunk(2)
        learner.action[:] = (mean + F.softplus(pre) * torch.from_numpy(noise.copy()).to(out.dtype)).numpy()
    else:
        memory[ACTION] = min(int((out.softmax(0).cumsum(0) <= noise[0]).sum()), count - 1)


def _final(learner: Learner, terminated: bool, truncated: bool) -> bool:
    """Whether nothing comes after: a truncated episode goes on unseen, though not in the authors' scripts."""
    return terminated or (truncated and bool(learner.numbers[OFFICIAL]))


def _flat(learner: Learner, k: int = 0) -> Tensor:
    """A copy of network k's weights."""
    return torch.from_numpy(learner.weights(k).copy())


def _plain(network: Network, flat: Tensor, x: Tensor) -> Tensor:
    return outputs(network, flat.detach(), x)


def _current(learner: Learner) -> Tensor:
    return torch.from_numpy(learner.work[: learner.networks[0].features].copy())


def _remember(learner: Learner, x: Tensor) -> None:
    learner.work[: len(x)] = x.numpy()
