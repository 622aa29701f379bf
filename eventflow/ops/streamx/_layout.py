"""What a streaming learner remembers, as a handful of arrays that the definition and the kernels share.

Legend: P parameters of all networks together, D features of a raw observation, A action numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, did_you_mean

#: What a kernel takes at once (``eventflow.ops._lanes.LANES``, which needs numba to import).
LANES = 16

Array = NDArray[Any]

#: Rules that turn a trace and an error into a change of weights; their codes in the kernels are the positions here.
RULES = ("obgd", "stream2026", "intentional")
#: Slope of LeakyReLU below zero, and what LayerNorm adds to the variance.
SLOPE, LAYER_EPSILON = 0.01, 1e-5
#: What the normalisers add to a variance.
NORMAL_EPSILON = 1e-8

# Slots of ``Learner.memory``; the running numbers of network k's rule start at RUN + 8 k, the features' at FEATURES.
COUNT, RETURN, REWARDS, REWARD_MEAN, REWARD_P, ACTION, EXPLORED, DELTA, REWARD, VALUE = range(10)
RUN, FEATURES = 16, 32
# Running numbers of a rule: updates so far, sigma, mean square error, mean absolute error.
UPDATES, SIGMA, SQUARE, ABSOLUTE = range(4)
# Slots of ``Learner.numbers``; the numbers of network k's rule start at RULE + 8 k.
DISCOUNT, LAMBDA, ENTROPY, OFFICIAL, NORMALISE, SCALE, CONTINUOUS = range(7)
RULE = 8
CODE, RATE, KAPPA, BETA, TINY, ETA, CLIP, DIVIDE = range(8)
# Slots of a network's row of ``Learner.nets``: where its parameters start, how many there are, the numbers of one pass,
# its layers, the image; then for each layer eight numbers.
OFFSET, LENGTH, ROOM, DEPTH, CHANNELS, HEIGHT, WIDTH, SIDE = range(8)
LAYERS, PER_LAYER = 8, 8
KIND, WEIGHT, BIAS, ROWS, COLUMNS, SIZE, SOURCE, TARGET = range(8)
CONV, DENSE, HEAD = range(3)


def whole(n: int) -> int:
    """``n`` rounded up to what a kernel takes at once."""
    return -(-n // LANES) * LANES


class Layer(NamedTuple):
    """One layer: where its weights and biases lie in the flat vector, and where a pass reads and writes.

    Weights are (rows, columns): (C k k, filters) of a convolution, (in, out) of a dense layer, (out, in) of a head.
    Columns are padded to a multiple of 16; what pads is zero and stays zero.
    """

    kind: int
    weight: int
    bias: int
    rows: int
    columns: int
    size: int  # outputs, without padding
    source: int
    target: int


@dataclass(frozen=True, slots=True)
class Network:
    """A perceptron: perhaps a convolution, hidden layers each followed by LayerNorm (no affine) and LeakyReLU, a head.

    Args:
        inputs: features; or (height, width, channels) of an image, which adds the convolution (stride 1, no padding).
        hidden: sizes of the hidden layers after it.
        outputs: of the head, which is linear.
        filters: of the convolution, a multiple of 16.
        kernel: its width and height.

    Raises:
        InputError: a size below one, an image smaller than the kernel, or an odd number of filters.
    """

    inputs: int | tuple[int, int, int]
    hidden: tuple[int, ...]
    outputs: int
    filters: int = 16
    kernel: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(int(h) for h in self.hidden))
        sizes = (*self.shape, *self.hidden, self.outputs, self.filters, self.kernel)
        if min(sizes) < 1 or (self.image and min(self.shape[:2]) < self.kernel) or not self.hidden:
            raise InputError(f"{self}: expected sizes of at least 1, one hidden layer, an image as large as the kernel")
        if self.filters % LANES:
            raise InputError(f"{self}: expected a multiple of {LANES} filters")

    @property
    def image(self) -> bool:
        """Whether it starts with a convolution."""
        return not isinstance(self.inputs, int)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the input."""
        return (self.inputs,) if isinstance(self.inputs, int) else tuple(self.inputs)

    @property
    def features(self) -> int:
        """Input numbers."""
        return math.prod(self.shape)

    @property
    def positions(self) -> int:
        """Where the convolution's kernel fits."""
        return math.prod(n - self.kernel + 1 for n in self.shape[:2]) if self.image else 0

    @property
    def layers(self) -> tuple[Layer, ...]:
        """From input to output."""
        found: list[Layer] = []
        at, source, target, fan_in = 0, 0, whole(self.features), self.features

        def add(kind: int, rows: int, columns: int, size: int) -> None:
            nonlocal at, source, target, fan_in
            bias = at + rows * whole(columns)
            found.append(Layer(kind, at, bias, rows, whole(columns), size, source, target))
            at = bias + whole(self.filters if kind == CONV else size)
            source, fan_in = target + whole(size), size
            target += 2 * whole(size) + LANES  # LayerNorm's output, LeakyReLU's, 1 / deviation

        if self.image:
            add(CONV, self.shape[2] * self.kernel**2, self.filters, self.positions * self.filters)
        for size in self.hidden:
            add(DENSE, fan_in, size, size)
        add(HEAD, self.outputs, fan_in, self.outputs)
        return tuple(found)

    @property
    def length(self) -> int:
        """Of the flat vector of weights and biases, padding included."""
        last = self.layers[-1]
        return last.bias + whole(self.outputs)

    @property
    def size(self) -> int:
        """Weights and biases, without padding."""
        fan_in, total = self.features, 0
        for layer in self.layers:
            if layer.kind == CONV:
                total += (layer.rows + 1) * self.filters
            else:
                total += (fan_in + 1) * layer.size
            fan_in = layer.size
        return total

    @property
    def room(self) -> int:
        """Numbers that a forward pass leaves."""
        last = self.layers[-1]
        return last.target + whole(self.outputs)

    def row(self, offset: int) -> list[int]:
        """This network for the kernels, its parameters from ``offset`` on."""
        height, width, channels = self.shape if self.image else (0, 0, 0)
        head = [offset, self.length, self.room, len(self.layers), channels, height, width, self.kernel]
        return [*head, *(number for layer in self.layers for number in layer)]


@dataclass(frozen=True, slots=True)
class Rule:
    """How an error and a trace change the weights of one network.

    Args:
        name: ``obgd`` (Elsayed et al., arXiv 2410.14606 v2), ``stream2026`` (v3 of the same) or ``intentional``
            (Sharifnassab et al., arXiv 2604.19033).
        lr: step size: of obgd before its bound, of stream2026 per coordinate.
        kappa: obgd's bound: a step changes the weights by at most 1 / kappa in the sum of absolute values.
        beta: memory of stream2026's maximum, and of intentional's mean squared gradient.
        eta: intentional: the intended share of the error that a step removes.
        divide: intentional: divide the error by its mean absolute value (policies).
    """

    name: str = "obgd"
    lr: float = 1.0
    kappa: float = 2.0
    beta: float = 0.99995
    eta: float = 0.5
    divide: bool = False

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise InputError(f"rule {self.name!r}: {did_you_mean(self.name, RULES)}")
        positive = {"lr": self.lr, "kappa": self.kappa, "eta": self.eta}
        for key, value in positive.items():
            if not (value > 0 and math.isfinite(value)):
                raise InputError(f"Rule({key}={value}): expected a positive number")
        if not 0 <= self.beta < 1:
            raise InputError(f"Rule(beta={self.beta}): expected 0 <= beta < 1")

    def row(self) -> list[float]:
        """For the kernels; the last constants are those of the papers."""
        return [RULES.index(self.name), self.lr, self.kappa, self.beta, 1e-8, self.eta, 20.0, float(self.divide)]


@dataclass(frozen=True, slots=True)
class Options:
    """What a learner does around its networks.

    Args:
        discount: gamma.
        lambda_: of the traces.
        entropy: tau of the policy's entropy bonus.
        official: as the authors' scripts of 2024 do: truncation ends the return like termination, and the trace of
            rewards that scales them is cut *before* the last reward of an episode, which then leaks into the next.
        normalise: observations, by their running mean and variance.
        scale: rewards, by the running deviation of their discounted trace.
    """

    discount: float = 0.99
    lambda_: float = 0.8
    entropy: float = 0.01
    official: bool = False
    normalise: bool = True
    scale: bool = True

    def __post_init__(self) -> None:
        for key in ("discount", "lambda_"):
            if not 0 <= getattr(self, key) <= 1:
                raise InputError(f"Options({key}={getattr(self, key)}): expected a number in [0, 1]")
        if not 0 <= self.entropy < math.inf:
            raise InputError(f"Options(entropy={self.entropy}): expected a number >= 0")


class Learner(NamedTuple):
    """All that a learner remembers, and the room it works in. The ops below change the arrays in place.

    params (3, P): weights, traces, scales of the rule. memory (FEATURES + 2 D,) float64: counts, the reward trace, the
    rules' running numbers, mean and sum of squared deviations of each feature. work: activations. nets: the networks
    for the kernels. numbers: those of the options and the rules. io float64: what goes in and comes out of a step.
    """

    params: Array
    memory: Array
    work: Array
    nets: Array
    numbers: Array
    io: Array
    networks: tuple[Network, ...]
    features: int
    actions: int

    @property
    def arrays(self) -> tuple[Array, ...]:
        """What the kernels take."""
        return self[:6]

    @property
    def observation(self) -> Array:
        """(D,) in: the raw observation."""
        return self.io[: self.features]

    @property
    def noise(self) -> Array:
        """(A,) in: random numbers for the next action."""
        return self.io[self.features : self.features + self.actions]

    @property
    def action(self) -> Array:
        """(A,) out: the action that was drawn (continuous)."""
        return self.io[self.features + self.actions : self.features + 2 * self.actions]

    @property
    def mean(self) -> Array:
        """(D,) mean of each feature."""
        return self.memory[FEATURES : FEATURES + self.features]

    @property
    def squares(self) -> Array:
        """(D,) sum of squared deviations of each feature."""
        return self.memory[FEATURES + self.features : FEATURES + 2 * self.features]

    def weights(self, k: int = 0) -> Array:
        """The flat weights of network k, a view."""
        start = int(self.nets[k, OFFSET])
        return self.params[0, start : start + self.networks[k].length]

    def trace(self, k: int = 0) -> Array:
        """The trace of network k, a view."""
        start = int(self.nets[k, OFFSET])
        return self.params[1, start : start + self.networks[k].length]

    def running(self, k: int = 0) -> Array:
        """The running numbers of network k's rule, a view."""
        return self.memory[RUN + 8 * k : RUN + 8 * k + 8]


def new_learner(
    networks: tuple[Network, ...], rules: tuple[Rule, ...], *, options: Options, features: int, actions: int = 0,
    continuous: bool = False, dtype: Any = np.float32,
) -> Learner:  # fmt: skip
    """A learner with all weights zero. The networks share their input: ``features``, or one more (the clock).

    Raises:
        InputError: another dtype than float32 or float64; one rule for each network is needed.
    """
    if np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise InputError(f"dtype {dtype}: expected float32 or float64")
    if len(rules) != len(networks) or {n.features - features for n in networks} - {0, 1}:
        raise InputError(f"{len(networks)} networks over {features} features with {len(rules)} rules do not fit")
    offsets = np.cumsum([0, *(network.length for network in networks)])
    rows = [network.row(int(offset)) for network, offset in zip(networks, offsets, strict=False)]
    nets = np.zeros((len(networks), max(map(len, rows))), np.int64)
    for i, row in enumerate(rows):
        nets[i, : len(row)] = row
    numbers = [options.discount, options.lambda_, options.entropy, options.official]
    numbers += [options.normalise, options.scale, continuous, 0.0, *(n for rule in rules for n in rule.row())]
    memory = np.zeros(FEATURES + 2 * features)
    for k in range(len(networks)):
        memory[RUN + 8 * k + SQUARE] = 1.0
    kind, io = np.dtype(dtype), np.zeros(features + 2 * actions)
    params = aligned(3 * int(offsets[-1]), kind).reshape(3, -1)
    work = aligned(sum(2 * n.room + scratch(n) for n in networks), kind)
    return Learner(params, memory, work, nets, np.array(numbers, np.float64), io, networks, features, actions)


def scratch(network: Network) -> int:
    """Room for a backward pass: a one, the gradients of two layers, the gradient of the convolution."""
    widest = whole(max(max(layer.size, layer.columns) for layer in network.layers))
    return LANES + 2 * widest + (network.layers[0].rows * network.filters if network.image else 0)


def aligned(size: int, dtype: Any) -> Array:
    """Zeros that start on a cache line."""
    kind = np.dtype(dtype)
    raw = np.zeros(size * kind.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size * kind.itemsize].view(kind)
