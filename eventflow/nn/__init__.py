"""The Cell contract and the standard cells; heads as distributions."""

from __future__ import annotations

from eventflow.nn._aaren import Aaren as Aaren
from eventflow.nn._aaren import AarenState as AarenState
from eventflow.nn._cell import Cell as Cell
from eventflow.nn._cell import fold as fold
from eventflow.nn._cell import map_state as map_state
from eventflow.nn._cell import state_leaves as state_leaves
from eventflow.nn._cell import where_state as where_state
from eventflow.nn._ctlstm import CTLSTM as CTLSTM
from eventflow.nn._ctlstm import CTLSTMState as CTLSTMState
from eventflow.nn._durations import DurationHead as DurationHead
from eventflow.nn._durations import LogNormalMixture as LogNormalMixture
from eventflow.nn._durations import WeibullMixture as WeibullMixture
from eventflow.nn._gompertz import Gompertz as Gompertz
from eventflow.nn._gompertz import MarkedGompertz as MarkedGompertz
from eventflow.nn._heads import SoftplusIntensity as SoftplusIntensity
from eventflow.nn._heads import SoftplusNetwork as SoftplusNetwork
from eventflow.nn._lif import LIF as LIF
from eventflow.nn._lif import LIFState as LIFState
from eventflow.nn._linear import LinearCell as LinearCell
from eventflow.nn._linear_attention import LinearAttention as LinearAttention
from eventflow.nn._linear_attention import MatrixState as MatrixState
from eventflow.nn._projected import ProjectedCell as ProjectedCell
from eventflow.nn._rnn import GRU as GRU
from eventflow.nn._rnn import LSTM as LSTM
from eventflow.nn._rnn import RNN as RNN
from eventflow.nn._rnn import HiddenState as HiddenState
from eventflow.nn._rnn import LSTMState as LSTMState
from eventflow.nn._selective import SelectiveSSM as SelectiveSSM
from eventflow.nn._selective import SelectiveState as SelectiveState
from eventflow.nn._ssm import Affine as Affine
from eventflow.nn._ssm import DiagSSM as DiagSSM
from eventflow.nn._ssm import DiagState as DiagState
from eventflow.nn._window import WindowAttention as WindowAttention
from eventflow.nn._window import WindowState as WindowState
