"""Point processes that go on learning: a stream as tasks, learners of one contract, and what they keep and lose."""

from __future__ import annotations

from eventflow.tpp.continual._dataset import load_tasks as load_tasks
from eventflow.tpp.continual._drifting import DriftingHawkes as DriftingHawkes
from eventflow.tpp.continual._evaluate import HIGHER_IS_BETTER as HIGHER_IS_BETTER
from eventflow.tpp.continual._evaluate import evaluate as evaluate
from eventflow.tpp.continual._evaluate import evaluate_all as evaluate_all
from eventflow.tpp.continual._harness import Block as Block
from eventflow.tpp.continual._harness import prequential_blocks as prequential_blocks
from eventflow.tpp.continual._harness import through_tasks as through_tasks
from eventflow.tpp.continual._importance import Anchor as Anchor
from eventflow.tpp.continual._importance import fisher as fisher
from eventflow.tpp.continual._importance import sensitivity as sensitivity
from eventflow.tpp.continual._learner import ContinualLearner as ContinualLearner
from eventflow.tpp.continual._learner import FineTune as FineTune
from eventflow.tpp.continual._learner import PretrainOnly as PretrainOnly
from eventflow.tpp.continual._learner import Retrain as Retrain
from eventflow.tpp.continual._learner import Steps as Steps
from eventflow.tpp.continual._matrix import EvaluationMatrix as EvaluationMatrix
from eventflow.tpp.continual._matrix import spread as spread
from eventflow.tpp.continual._prototypes import ProtoCL as ProtoCL
from eventflow.tpp.continual._prototypes import PrototypeMarks as PrototypeMarks
from eventflow.tpp.continual._regularised import EWC as EWC
from eventflow.tpp.continual._regularised import MAS as MAS
from eventflow.tpp.continual._regularised import Plateaus as Plateaus
from eventflow.tpp.continual._regularised import TaskFreeMAS as TaskFreeMAS
from eventflow.tpp.continual._replay import CLSER as CLSER
from eventflow.tpp.continual._replay import Replay as Replay
from eventflow.tpp.continual._reservoir import Reservoir as Reservoir
from eventflow.tpp.continual._tasks import Task as Task
from eventflow.tpp.continual._tasks import cut_at as cut_at
from eventflow.tpp.continual._tasks import cut_by_source as cut_by_source
from eventflow.tpp.continual._tasks import cut_by_time as cut_by_time
from eventflow.tpp.continual._tasks import task_log_prob as task_log_prob
from eventflow.tpp.continual._tasks import whole as whole
from eventflow.tpp.continual._words import LEARNERS as LEARNERS
from eventflow.tpp.continual._words import make_learner as make_learner
from eventflow.tpp.continual._words import parse_learner as parse_learner
