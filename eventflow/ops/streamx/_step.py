"""One interaction: scale the reward, normalise the observation, learn, choose. For use inside ``numba.njit``.

``state`` is (params, memory, work, nets, numbers, io), the arrays of a ``Learner``. In ``work`` each network has room
for two passes, the current observation's and the next one's; behind lies the scratch memory of backward passes.
Returned is -1, or what is not finite: the index of the feature, or -2 for the reward; nothing has changed then.
"""

from __future__ import annotations

import math
from typing import Any

import numba as nb

from eventflow.ops._lanes import JIT, LANES
from eventflow.ops.streamx._layout import (
    ACTION,
    CONTINUOUS,
    COUNT,
    DELTA,
    DEPTH,
    DISCOUNT,
    ENTROPY,
    EXPLORED,
    FEATURES,
    LAMBDA,
    LAYERS,
    NORMAL_EPSILON,
    NORMALISE,
    OFFICIAL,
    PER_LAYER,
    RETURN,
    REWARD,
    REWARD_MEAN,
    REWARD_P,
    REWARDS,
    ROOM,
    ROWS,
    SCALE,
    VALUE,
)  # fmt: skip
from eventflow.ops.streamx._network import forward
from eventflow.ops.streamx._rules import update

Array = Any
#: What a learner is, for :func:`begin`.
TD, Q, AC = 0, 1, 2
FINE, BAD_REWARD = -1, -2


@nb.njit(**JIT)
def begin(kind: int, state: Any, features: int, clock: float, epsilon: float) -> int:
    """The first observation of an episode: normalise it, and choose or predict."""
    params, memory, work, nets, numbers, io = state
    bad = _bad(io, features)
    if bad >= 0:
        return bad
    last, room = len(nets) - 1, nets[0, ROOM]
    at = 2 * room if last else 0
    _observe(memory, work, numbers, io, features, at, clock)
    if last:
        _copy(work, at, 0, features + 1)
    out = forward(nets[0], params, work, 0)
    _choose(kind, state, features, out, epsilon)
    return FINE


@nb.njit(**JIT)
def td(
    state: Any, features: int, reward: float, discount: float, decay: float, terminated: bool, truncated: bool
) -> int:
    """A transition of a value function; afterwards ``memory[VALUE]`` is the value of the new observation."""
    params, memory, work, nets, numbers, io = state
    if not math.isfinite(reward):
        return BAD_REWARD
    bad = _bad(io, features)
    if bad >= 0:
        return bad
    room = nets[0, ROOM]
    ended = terminated or truncated
    scaled = _scale(memory, numbers, reward, discount, ended)
    _observe(memory, work, numbers, io, features, room, 0.0)
    ends = terminated or (truncated and numbers[OFFICIAL] > 0.0)
    value = work[_out(nets, 0, 0)]
    after = 0.0 if ends else discount * float(work[forward(nets[0], params, work, room)])
    memory[REWARD], memory[DELTA] = scaled, scaled + after - value
    work[2 * room + LANES] = work.dtype.type(1.0)
    update(0, (params, memory, work, nets, numbers), 0, 2 * room, memory[DELTA], decay, ended, 1.0)
    _copy(work, room, 0, features + 1)
    memory[VALUE] = work[forward(nets[0], params, work, 0)]
    return FINE


@nb.njit(**JIT)
def q(
    state: Any, features: int, reward: float, terminated: bool, truncated: bool, clock: float, epsilon: float,
    sarsa: bool,
) -> int:  # fmt: skip
    """A transition of Q(lambda) or SARSA(lambda), and the next action, unless the episode is over."""
    params, memory, work, nets, numbers, io = state
    if not math.isfinite(reward):
        return BAD_REWARD
    bad = _bad(io, features)
    if bad >= 0:
        return bad
    room = nets[0, ROOM]
    ended = terminated or truncated
    scaled = _scale(memory, numbers, reward, numbers[DISCOUNT], ended)
    _observe(memory, work, numbers, io, features, room, clock)
    ends = terminated or (truncated and numbers[OFFICIAL] > 0.0)
    current, count = _out(nets, 0, 0), _outputs(nets, 0)
    action, reset = int(memory[ACTION]), ended or (memory[EXPLORED] > 0.0 and not sarsa)
    after = 0.0
    if not ends:
        out = forward(nets[0], params, work, room)
        chosen = _greedy(work, out, count)
        if sarsa:
            _choose(Q, state, features, out, epsilon)
            chosen = int(memory[ACTION])
        after = 0.0 if ends else numbers[DISCOUNT] * float(work[out + chosen])
    memory[REWARD], memory[DELTA] = scaled, scaled + after - work[current + action]
    seed = 2 * room + LANES
    for j in range(count):
        work[seed + j] = work.dtype.type(1.0 if j == action else 0.0)
    decay = numbers[DISCOUNT] * numbers[LAMBDA]
    update(0, (params, memory, work, nets, numbers), 0, 2 * room, memory[DELTA], decay, reset, 1.0)
    _copy(work, room, 0, features + 1)
    out = forward(nets[0], params, work, 0)
    if not sarsa:
        _choose(Q, state, features, out, epsilon)
    return FINE


@nb.njit(**JIT)
def ac(state: Any, features: int, reward: float, terminated: bool, truncated: bool, clock: float) -> int:
    """A transition of actor-critic(lambda), and the next action."""
    params, memory, work, nets, numbers, io = state
    if not math.isfinite(reward):
        return BAD_REWARD
    bad = _bad(io, features)
    if bad >= 0:
        return bad
    critic, room = 2 * nets[0, ROOM], nets[1, ROOM]
    ended = terminated or truncated
    scaled = _scale(memory, numbers, reward, numbers[DISCOUNT], ended)
    _observe(memory, work, numbers, io, features, critic + room, clock)
    ends = terminated or (truncated and numbers[OFFICIAL] > 0.0)
    value = float(work[forward(nets[1], params, work, critic)])
    after = 0.0 if ends else numbers[DISCOUNT] * float(work[forward(nets[1], params, work, critic + room)])
    delta = scaled + after - value
    memory[REWARD], memory[DELTA], memory[VALUE] = scaled, delta, value
    scratch, decay = critic + 2 * room, numbers[DISCOUNT] * numbers[LAMBDA]
    sign = 1.0 if delta > 0.0 else (-1.0 if delta < 0.0 else 0.0)
    for k in range(len(nets)):
        share = 1.0
        if k == 0:
            share = _policy_seed(state, features, scratch + LANES, numbers[ENTROPY] * sign)
        else:
            work[scratch + LANES] = work.dtype.type(1.0)
        update(k, (params, memory, work, nets, numbers), k * critic, scratch, delta, decay, ended, share)
    _copy(work, critic + room, critic, features + 1)
    _copy(work, critic + room, 0, features + 1)
    _choose(AC, state, features, forward(nets[0], params, work, 0), 0.0)
    return FINE


@nb.njit(**JIT)
def _policy_seed(state: Any, features: int, seed: int, bonus: float) -> float:
    """The gradient of log pi(action) + bonus * entropy with respect to the actor's outputs. Returned: of the change of
    log pi that a rule intends, the share that can be had: 2 (1 - pi) of discrete actions, at most 1."""
    _, memory, work, nets, numbers, io = state
    out, count, kind = _out(nets, 0, 0), _outputs(nets, 0), work.dtype.type
    if numbers[CONTINUOUS] > 0.0:
        half = count // 2
        for j in range(half):
            pre = float(work[out + half + j])
            sigma = _softplus(pre)
            z = (io[features + half + j] - float(work[out + j])) / sigma
            work[seed + j] = kind(z / sigma)
            work[seed + half + j] = kind((z * z - 1.0 + bonus) / sigma / (1.0 + math.exp(-pre)))
        return 1.0
    top, norm, entropy = float(work[out + _greedy(work, out, count)]), 0.0, 0.0
    for j in range(count):
        norm += math.exp(float(work[out + j]) - top)
    for j in range(count):
        log_p = float(work[out + j]) - top - math.log(norm)
        entropy -= math.exp(log_p) * log_p
    for j in range(count):
        log_p = float(work[out + j]) - top - math.log(norm)
        hit = 1.0 if j == int(memory[ACTION]) else 0.0
        work[seed + j] = kind(hit - math.exp(log_p) * (1.0 + bonus * (log_p + entropy)))
    chosen = math.exp(float(work[out + int(memory[ACTION])]) - top) / norm
    return min(1.0, 2.0 * (1.0 - chosen))


@nb.njit(**JIT)
def _choose(kind: int, state: Any, features: int, out: int, epsilon: float) -> None:
    """Predict, or draw the next action from outputs and given noise."""
    _, memory, work, nets, numbers, io = state
    count = _outputs(nets, 0)
    if kind == TD:
        memory[VALUE] = work[out]
    elif kind == Q:
        greedy = _greedy(work, out, count)
        action = greedy
        if io[features] < epsilon:
            action = min(int(io[features + 1] * count), count - 1)
        memory[ACTION], memory[EXPLORED] = action, 1.0 if action != greedy else 0.0
        memory[VALUE] = work[out + greedy]
    elif numbers[CONTINUOUS] > 0.0:
        half = count // 2
        for j in range(half):
            drawn = work[out + j] + work.dtype.type(_softplus(float(work[out + half + j])) * io[features + j])
            io[features + half + j] = drawn
    else:
        top, norm = float(work[out + _greedy(work, out, count)]), 0.0
        for j in range(count):
            norm += math.exp(float(work[out + j]) - top)
        rest, action = io[features] * norm, count - 1
        for j in range(count):
            rest -= math.exp(float(work[out + j]) - top)
            if rest < 0.0:
                action = j
                break
        memory[ACTION] = action


@nb.njit(**JIT)
def _softplus(x: float) -> float:
    return x if x > 20.0 else math.log1p(math.exp(x))


@nb.njit(**JIT)
def _greedy(work: Array, out: int, count: int) -> int:
    """The first of the largest outputs."""
    best = 0
    for j in range(1, count):
        if work[out + j] > work[out + best]:
            best = j
    return best


@nb.njit(**JIT)
def _out(nets: Array, k: int, at: int) -> int:
    """Where the outputs of a pass that starts at ``at`` lie."""
    return at + nets[k, ROOM] - -(-_outputs(nets, k) // LANES) * LANES


@nb.njit(**JIT)
def _outputs(nets: Array, k: int) -> int:
    return nets[k, LAYERS + (nets[k, DEPTH] - 1) * PER_LAYER + ROWS]


@nb.njit(**JIT)
def _scale(memory: Array, numbers: Array, reward: float, discount: float, ended: bool) -> float:
    """The reward divided by the running deviation of its discounted trace."""
    if numbers[SCALE] == 0.0:
        return reward
    official = numbers[OFFICIAL] > 0.0
    trace = (0.0 if official and ended else memory[RETURN] * discount) + reward
    memory[REWARDS] += 1.0
    count = memory[REWARDS]
    if count == 1.0:
        memory[REWARD_MEAN] = trace
    before = trace - memory[REWARD_MEAN]
    memory[REWARD_MEAN] += before / count
    memory[REWARD_P] += before * (trace - memory[REWARD_MEAN])
    variance = memory[REWARD_P] / (count - 1.0) if count > 1.0 else 1.0
    memory[RETURN] = 0.0 if ended and not official else trace
    return reward / math.sqrt(variance + NORMAL_EPSILON)


@nb.njit(**JIT, fastmath={"reassoc"})  # a sum of zeros, in any order, or NaN
def _bad(io: Array, features: int) -> int:
    """The first feature that is not finite, or -1."""
    found = 0.0
    for i in range(features):
        found += io[i] * 0.0
    if found == 0.0:
        return -1
    for i in range(features):
        if not math.isfinite(io[i]):
            return i
    return -1


@nb.njit(**JIT)
def _observe(memory: Array, work: Array, numbers: Array, io: Array, features: int, at: int, clock: float) -> None:
    """Update the statistics with the observation, then write it normalised, and the clock behind it."""
    kind = work.dtype.type
    work[at + features] = kind(clock)  # beyond the input where no network looks at it
    if numbers[NORMALISE] == 0.0:
        for i in range(features):
            work[at + i] = kind(io[i])
        return
    memory[COUNT] += 1.0
    count = memory[COUNT]
    x, mean = io[:features], memory[FEATURES : FEATURES + features]
    squares, out = memory[FEATURES + features : FEATURES + 2 * features], work[at : at + features]
    if count == 1.0:
        for i in range(features):
            mean[i] = x[i]
            out[i] = kind(0.0)
        return
    share, rest = 1.0 / count, 1.0 / (count - 1.0)
    for i in range(features):
        before = x[i] - mean[i]
        centre = mean[i] + before * share
        after = x[i] - centre
        p = squares[i] + before * after
        mean[i], squares[i] = centre, p
        out[i] = kind(after / math.sqrt(p * rest + NORMAL_EPSILON))


@nb.njit(**JIT)
def _copy(work: Array, source: int, target: int, count: int) -> None:
    for i in range(count):
        work[target + i] = work[source + i]
