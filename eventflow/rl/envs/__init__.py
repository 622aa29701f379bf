"""Environments of our own, for Gymnasium (``pip install 'eventflow[rl]'``): importing this registers their ids.

``gymnasium.make("eventflow/Notify-v0")`` is :class:`PointProcessEnv` with episodes of 1,000 decisions.
"""

from __future__ import annotations

from eventflow.errors import require
from eventflow.rl.envs._user import User as User

gymnasium = require("gymnasium", "rl")

from eventflow.rl.envs._optimal import NotifySolution as NotifySolution  # noqa: E402
from eventflow.rl.envs._optimal import solve as solve  # noqa: E402
from eventflow.rl.envs._point_process import PointProcessEnv as PointProcessEnv  # noqa: E402

__all__ = ["NotifySolution", "PointProcessEnv", "User", "solve"]

if "eventflow/Notify-v0" not in gymnasium.registry:
    gymnasium.register("eventflow/Notify-v0", "eventflow.rl.envs:PointProcessEnv", max_episode_steps=1000)
