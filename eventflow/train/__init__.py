"""Training on Lightning: the only room that imports it, and only when one of its classes is first touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventflow.train._command import command as command

if TYPE_CHECKING:
    from eventflow.train._data import EventData as EventData
    from eventflow.train._flow import FlowNetworkCallable as FlowNetworkCallable
    from eventflow.train._flow import FlowTask as FlowTask
    from eventflow.train._flow_data import FlowData as FlowData
    from eventflow.train._loader import EventLoader as EventLoader
    from eventflow.train._rl import AgentCallable as AgentCallable
    from eventflow.train._rl import EnvironmentData as EnvironmentData
    from eventflow.train._rl import StreamTask as StreamTask
    from eventflow.train._task import NetworkCallable as NetworkCallable
    from eventflow.train._task import PointProcessTask as PointProcessTask
    from eventflow.train._watch import Pass as Pass

__all__ = [
    "AgentCallable", "EnvironmentData", "EventData", "EventLoader", "FlowData", "FlowNetworkCallable",
    "FlowTask", "NetworkCallable", "Pass", "PointProcessTask", "StreamTask", "command",
]  # fmt: skip

_HOME = {
    "EventData": "_data", "EventLoader": "_loader", "NetworkCallable": "_task", "Pass": "_watch",
    "PointProcessTask": "_task", "AgentCallable": "_rl", "EnvironmentData": "_rl", "StreamTask": "_rl",
    "FlowData": "_flow_data", "FlowNetworkCallable": "_flow", "FlowTask": "_flow",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"eventflow.train.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
