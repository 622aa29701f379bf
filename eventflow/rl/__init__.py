"""Reinforcement learning from streams: every transition is learned from once, when it comes, and then forgotten."""

from __future__ import annotations

from eventflow.ops.streamx import Rule as Rule
from eventflow.rl._agent import Agent as Agent
from eventflow.rl._callbacks import Checkpoint as Checkpoint
from eventflow.rl._callbacks import Evaluation as Evaluation
from eventflow.rl._control import StreamAC as StreamAC
from eventflow.rl._control import StreamQ as StreamQ
from eventflow.rl._control import StreamSARSA as StreamSARSA
from eventflow.rl._event_gvfs import EventGVFs as EventGVFs
from eventflow.rl._features import cell_features as cell_features
from eventflow.rl._gvf import GVF as GVF
from eventflow.rl._gvf import GVFs as GVFs
from eventflow.rl._irregular import gamma_laplace as gamma_laplace
from eventflow.rl._irregular import renewal_value as renewal_value
from eventflow.rl._irregular import semi_markov_value as semi_markov_value
from eventflow.rl._obgd import ObGD as ObGD
from eventflow.rl._obgd import layer_sparsities as layer_sparsities
from eventflow.rl._obgd import sparse_init as sparse_init
from eventflow.rl._parts import Callback as Callback
from eventflow.rl._parts import Episode as Episode
from eventflow.rl._parts import Transition as Transition
from eventflow.rl._recurrent import RecurrentTD as RecurrentTD
from eventflow.rl._recurrent import with_bias as with_bias
from eventflow.rl._settings import Settings as Settings
from eventflow.rl._td import Observed as Observed
from eventflow.rl._td import StreamTD as StreamTD

__all__ = [
    "Agent",
    "Callback",
    "Checkpoint",
    "Episode",
    "Evaluation",
    "EventGVFs",
    "GVF",
    "GVFs",
    "ObGD",
    "Observed",
    "RecurrentTD",
    "Rule",
    "Settings",
    "StreamAC",
    "StreamQ",
    "StreamSARSA",
    "StreamTD",
    "Transition",
    "cell_features",
    "gamma_laplace",
    "layer_sparsities",
    "renewal_value",
    "semi_markov_value",
    "sparse_init",
    "with_bias",
]
