"""Reinforcement learning from streams: every transition is learned from once, when it comes, and then forgotten."""

from __future__ import annotations

from eventflow.rl._event_gvfs import EventGVFs as EventGVFs
from eventflow.rl._gvf import GVF as GVF
from eventflow.rl._gvf import GVFs as GVFs
from eventflow.rl._irregular import gamma_laplace as gamma_laplace
from eventflow.rl._irregular import renewal_value as renewal_value
from eventflow.rl._irregular import semi_markov_value as semi_markov_value
from eventflow.rl._recurrent import RecurrentTD as RecurrentTD
from eventflow.rl._recurrent import cell_features as cell_features
from eventflow.rl._recurrent import with_bias as with_bias

__all__ = [
    "GVF",
    "EventGVFs",
    "GVFs",
    "RecurrentTD",
    "cell_features",
    "gamma_laplace",
    "renewal_value",
    "semi_markov_value",
    "with_bias",
]
