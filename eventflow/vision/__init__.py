"""Event cameras: representations, optical flow, the simulator, pictures.

Importing this room loads neither torch nor numba.
"""

from __future__ import annotations

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
