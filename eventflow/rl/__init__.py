"""Reinforcement learning from streams: every transition is learned from once, when it comes, and then forgotten."""

from __future__ import annotations

from eventflow.rl._event_gvfs import EventGVFs as EventGVFs
from eventflow.rl._gvf import GVF as GVF
from eventflow.rl._gvf import GVFs as GVFs
from eventflow.rl._irregular import gamma_laplace as gamma_laplace
from eventflow.rl._irregular import renewal_value as renewal_value
from eventflow.rl._irregular import semi_markov_value as semi_markov_value

__all__ = ["GVF", "EventGVFs", "GVFs", "gamma_laplace", "renewal_value", "semi_markov_value"]
