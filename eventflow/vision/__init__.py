"""Event cameras: representations, optical flow, the simulator, pictures.

Importing this room loads neither torch nor numba: what needs torch (networks, errors of flow) comes when it is first
asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventflow.vision._augment import CenterCrop as CenterCrop
from eventflow.vision._augment import Compose as Compose
from eventflow.vision._augment import DropEvent as DropEvent
from eventflow.vision._augment import RandomCrop as RandomCrop
from eventflow.vision._augment import RandomFlipLR as RandomFlipLR
from eventflow.vision._augment import RandomFlipPolarity as RandomFlipPolarity
from eventflow.vision._augment import RandomFlipUD as RandomFlipUD
from eventflow.vision._augment import RandomTimeReversal as RandomTimeReversal
from eventflow.vision._augment import Sample as Sample
from eventflow.vision._augment import SpatialJitter as SpatialJitter
from eventflow.vision._augment import TimeJitter as TimeJitter
from eventflow.vision._augment import UniformNoise as UniformNoise
from eventflow.vision._dsec import DsecSequence as DsecSequence
from eventflow.vision._dsec import FlowItem as FlowItem
from eventflow.vision._filters import Denoise as Denoise
from eventflow.vision._filters import RefractoryPeriod as RefractoryPeriod
from eventflow.vision._flow_picture import flow_colours as flow_colours
from eventflow.vision._png16 import decode_flow as decode_flow
from eventflow.vision._png16 import encode_flow as encode_flow
from eventflow.vision._png16 import read_flow_png as read_flow_png
from eventflow.vision._png16 import write_flow_png as write_flow_png
from eventflow.vision._render import Look as Look
from eventflow.vision._render import data_render as data_render
from eventflow.vision._representation import EventCount as EventCount
from eventflow.vision._representation import EventFrame as EventFrame
from eventflow.vision._representation import Representation as Representation
from eventflow.vision._representation import SpikeTensor as SpikeTensor
from eventflow.vision._representation import State as State
from eventflow.vision._representation import TimestampImage as TimestampImage
from eventflow.vision._representation import TimeSurface as TimeSurface
from eventflow.vision._representation import VoxelGrid as VoxelGrid
from eventflow.vision._scene import Motion as Motion
from eventflow.vision._scene import Plane as Plane
from eventflow.vision._scene import Scene as Scene
from eventflow.vision._scene import random_scene as random_scene
from eventflow.vision._sequences import load_sequences as load_sequences
from eventflow.vision._sim_dataset import write_dataset as write_dataset
from eventflow.vision._sim_flow import Recipe as Recipe
from eventflow.vision._sim_flow import data_simulate_flow as data_simulate_flow
from eventflow.vision._sim_flow import write_recording as write_recording
from eventflow.vision._simulator import Camera as Camera
from eventflow.vision._simulator import Chunk as Chunk
from eventflow.vision._simulator import simulate as simulate
from eventflow.vision._simulator import simulate_chunks as simulate_chunks
from eventflow.vision._submission import write_dsec_submission as write_dsec_submission

if TYPE_CHECKING:
    from eventflow.vision._flow_checkpoint import LoadedFlow as LoadedFlow
    from eventflow.vision._flow_checkpoint import flow_entry as flow_entry
    from eventflow.vision._flow_checkpoint import load_flow as load_flow
    from eventflow.vision._flow_checkpoint import save_flow as save_flow
    from eventflow.vision._flow_metrics import FlowErrors as FlowErrors
    from eventflow.vision._flow_metrics import angular_error as angular_error
    from eventflow.vision._flow_metrics import epe as epe
    from eventflow.vision._flow_metrics import npe as npe
    from eventflow.vision.models._compact_flownet import CompactFlowNet as CompactFlowNet
    from eventflow.vision.models._compact_flownet import CompactState as CompactState
    from eventflow.vision.models._ev_flownet import EVFlowNet as EVFlowNet
    from eventflow.vision.models._ev_flownet import EVFlowNetState as EVFlowNetState
    from eventflow.vision.models._layers import LSTMState as LSTMState
    from eventflow.vision.models._live import live as live
    from eventflow.vision.models._lstm_flownet import LSTMFlowNet as LSTMFlowNet
    from eventflow.vision.models._network import FlowNetwork as FlowNetwork
    from eventflow.vision.models._network import UNetState as UNetState
    from eventflow.vision.models._spike_flownet import EfficientSpikeFlowNet as EfficientSpikeFlowNet

__all__ = [
    "Camera", "CenterCrop", "Chunk", "CompactFlowNet", "CompactState", "Compose", "Denoise", "DropEvent",
    "DsecSequence", "EVFlowNet", "EVFlowNetState", "EfficientSpikeFlowNet", "EventCount", "EventFrame",
    "FlowErrors", "FlowItem", "FlowNetwork", "LSTMFlowNet", "LSTMState", "LoadedFlow", "Look", "Motion", "Plane",
    "RandomCrop", "RandomFlipLR", "RandomFlipPolarity", "RandomFlipUD", "RandomTimeReversal", "Recipe",
    "RefractoryPeriod", "Representation", "Sample", "Scene", "SpatialJitter", "SpikeTensor", "State", "TimeJitter",
    "TimeSurface", "TimestampImage", "UNetState", "UniformNoise", "VoxelGrid", "angular_error", "data_render",
    "data_simulate_flow", "decode_flow", "encode_flow", "epe", "flow_colours", "flow_entry", "live", "load_flow",
    "load_sequences", "npe", "random_scene", "read_flow_png", "save_flow", "simulate", "simulate_chunks",
    "write_dataset", "write_dsec_submission", "write_flow_png", "write_recording",
]  # fmt: skip

_HOME = {
    "CompactFlowNet": "models._compact_flownet", "CompactState": "models._compact_flownet",
    "EVFlowNet": "models._ev_flownet", "EVFlowNetState": "models._ev_flownet",
    "EfficientSpikeFlowNet": "models._spike_flownet", "FlowErrors": "_flow_metrics",
    "FlowNetwork": "models._network", "LSTMFlowNet": "models._lstm_flownet", "LSTMState": "models._layers",
    "LoadedFlow": "_flow_checkpoint", "UNetState": "models._network", "angular_error": "_flow_metrics",
    "epe": "_flow_metrics", "live": "models._live", "flow_entry": "_flow_checkpoint", "load_flow": "_flow_checkpoint",
    "npe": "_flow_metrics", "save_flow": "_flow_checkpoint",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"eventflow.vision.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
