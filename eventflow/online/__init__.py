"""Live running: source -> operator -> sink, one state per key, snapshots that resume exactly; prequential scores."""

from __future__ import annotations

from eventflow.online._command import stream_command as stream_command
from eventflow.online._engine import Engine as Engine
from eventflow.online._invariant import batch_invariant as batch_invariant
from eventflow.online._operator import Operator as Operator
from eventflow.online._operator import StateTable as StateTable
from eventflow.online._options import Counters as Counters
from eventflow.online._options import StreamOptions as StreamOptions
from eventflow.online._options import Summary as Summary
from eventflow.online._prequential import GradientLearner as GradientLearner
from eventflow.online._prequential import Happened as Happened
from eventflow.online._prequential import Learner as Learner
from eventflow.online._prequential import Mean as Mean
from eventflow.online._prequential import Metric as Metric
from eventflow.online._prequential import Progress as Progress
from eventflow.online._prequential import default_metrics as default_metrics
from eventflow.online._prequential import prequential as prequential
from eventflow.online._run import Reporter as Reporter
from eventflow.online._run import run as run
from eventflow.online._snapshot import Snapshot as Snapshot
