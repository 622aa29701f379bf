"""Event cameras: representations, optical flow, the simulator, pictures.

Importing this room loads neither torch nor numba.
"""

from __future__ import annotations

from eventflow.vision._png16 import decode_flow as decode_flow
from eventflow.vision._png16 import encode_flow as encode_flow
from eventflow.vision._png16 import read_flow_png as read_flow_png
from eventflow.vision._png16 import write_flow_png as write_flow_png
from eventflow.vision._scene import Motion as Motion
from eventflow.vision._scene import Plane as Plane
from eventflow.vision._scene import Scene as Scene
from eventflow.vision._scene import random_scene as random_scene
from eventflow.vision._sim_flow import Recipe as Recipe
from eventflow.vision._sim_flow import data_simulate_flow as data_simulate_flow
from eventflow.vision._sim_flow import write_recording as write_recording
from eventflow.vision._simulator import Camera as Camera
from eventflow.vision._simulator import Chunk as Chunk
from eventflow.vision._simulator import simulate as simulate
from eventflow.vision._simulator import simulate_chunks as simulate_chunks
