"""Temporal point processes: exact likelihood, exact forecasts, verified sampling; trained in parallel, run live."""

from __future__ import annotations

from eventflow.tpp._checkpoint import LoadedModel as LoadedModel
from eventflow.tpp._checkpoint import checkpoint_entry as checkpoint_entry
from eventflow.tpp._checkpoint import load_model as load_model
from eventflow.tpp._checkpoint import save_model as save_model
from eventflow.tpp._process import PointProcess as PointProcess
from eventflow.tpp._process import Prediction as Prediction
from eventflow.tpp.models._hawkes import Hawkes as Hawkes
from eventflow.tpp.models._history import HistoryProcess as HistoryProcess
from eventflow.tpp.models._history import HistoryState as HistoryState
from eventflow.tpp.models._nhp import NHP as NHP
from eventflow.tpp.models._poisson import Poisson as Poisson
from eventflow.tpp.models._rmtpp import RMTPP as RMTPP
