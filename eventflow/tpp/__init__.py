"""Temporal point processes: exact likelihood, exact forecasts, verified sampling; trained in parallel, run live."""

from __future__ import annotations

from eventflow.tpp._baselines import BaselineRow as BaselineRow
from eventflow.tpp._baselines import Baselines as Baselines
from eventflow.tpp._baselines import fit_baselines as fit_baselines
from eventflow.tpp._checkpoint import LoadedModel as LoadedModel
from eventflow.tpp._checkpoint import checkpoint_entry as checkpoint_entry
from eventflow.tpp._checkpoint import load_model as load_model
from eventflow.tpp._checkpoint import save_model as save_model
from eventflow.tpp._metrics import GapMAE as GapMAE
from eventflow.tpp._metrics import GapRMSE as GapRMSE
from eventflow.tpp._metrics import Judged as Judged
from eventflow.tpp._metrics import MarkAccuracy as MarkAccuracy
from eventflow.tpp._metrics import MarkECE as MarkECE
from eventflow.tpp._metrics import MarkNLLPerEvent as MarkNLLPerEvent
from eventflow.tpp._metrics import NextEventMetrics as NextEventMetrics
from eventflow.tpp._metrics import NLLPerEvent as NLLPerEvent
from eventflow.tpp._metrics import NLLPerSequence as NLLPerSequence
from eventflow.tpp._metrics import TimeNLLPerEvent as TimeNLLPerEvent
from eventflow.tpp._metrics import gap_mae as gap_mae
from eventflow.tpp._metrics import gap_rmse as gap_rmse
from eventflow.tpp._metrics import mark_accuracy as mark_accuracy
from eventflow.tpp._metrics import mark_ece as mark_ece
from eventflow.tpp._mixture import LognormalMixture as LognormalMixture
from eventflow.tpp._mixture import fit_lognormal_mixture as fit_lognormal_mixture
from eventflow.tpp._path import intensity_path as intensity_path
from eventflow.tpp._process import PointProcess as PointProcess
from eventflow.tpp._process import Prediction as Prediction
from eventflow.tpp._residuals import QQ as QQ
from eventflow.tpp._residuals import KSTest as KSTest
from eventflow.tpp._residuals import Residuals as Residuals
from eventflow.tpp._residuals import ks_exponential as ks_exponential
from eventflow.tpp._residuals import qq_exponential as qq_exponential
from eventflow.tpp._residuals import time_rescaling_residuals as time_rescaling_residuals
from eventflow.tpp._simulated import Truth as Truth
from eventflow.tpp._simulated import data_simulate as data_simulate
from eventflow.tpp._simulated import truth as truth
from eventflow.tpp.models._hawkes import Hawkes as Hawkes
from eventflow.tpp.models._history import HistoryProcess as HistoryProcess
from eventflow.tpp.models._history import HistoryState as HistoryState
from eventflow.tpp.models._iftpp import IFTPP as IFTPP
from eventflow.tpp.models._neural import DurationProcess as DurationProcess
from eventflow.tpp.models._neural import NeuralPointProcess as NeuralPointProcess
from eventflow.tpp.models._nhp import NHP as NHP
from eventflow.tpp.models._poisson import Poisson as Poisson
from eventflow.tpp.models._rmtpp import RMTPP as RMTPP
