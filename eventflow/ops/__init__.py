"""Array in, array out: one folder per op, with its definition (``naive.py``) beside the fast paths.

Importing this room loads neither torch nor numba: each op imports its backend when it is first called.
"""

from __future__ import annotations

from eventflow.ops.decode import decode_aedat2 as decode_aedat2
from eventflow.ops.decode import decode_aedat31 as decode_aedat31
from eventflow.ops.decode import decode_dat as decode_dat
from eventflow.ops.decode import decode_evt2 as decode_evt2
from eventflow.ops.decode import decode_evt3 as decode_evt3
from eventflow.ops.decode import decode_evt21 as decode_evt21
from eventflow.ops.decode import decode_nmnist as decode_nmnist
from eventflow.ops.event_count import event_count as event_count
from eventflow.ops.event_frame import event_frame as event_frame
from eventflow.ops.scan import scan as scan
from eventflow.ops.spike_tensor import spike_tensor as spike_tensor
from eventflow.ops.time_surface import time_surface as time_surface
from eventflow.ops.timestamp_image import timestamp_image as timestamp_image
from eventflow.ops.voxel_grid import voxel_grid as voxel_grid

__all__ = [
    "decode_aedat2",
    "decode_aedat31",
    "decode_dat",
    "decode_evt2",
    "decode_evt21",
    "decode_evt3",
    "decode_nmnist",
    "event_count",
    "event_frame",
    "scan",
    "spike_tensor",
    "time_surface",
    "timestamp_image",
    "voxel_grid",
]
