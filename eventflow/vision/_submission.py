"""What DSEC's flow benchmark takes: one 16-bit PNG for each interval of each test sequence."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError
from eventflow.vision._dsec import DsecSequence
from eventflow.vision._png16 import encode_flow, read_png16, write_png16

Array = NDArray[Any]


def write_dsec_submission(folder: str | Path, sequence: DsecSequence, flows: Iterable[Array]) -> list[Path]:
    """Write ``folder/NAME/NNNNNN.png``, the flow of every interval of one sequence; ``folder`` is what is sent in.

    Every file is read back and compared bit for bit. The sequence's folder appears when all of it is written, and not
    at all if anything goes wrong.

    Args:
        folder: of the submission; made if need be.
        sequence: says the name, how many maps are due, and how their files are numbered.
        flows: in the sequence's order, each (height, width, 2): the displacement (x, y) in pixels from the interval's
        start
            to its end, at rectified pixels; taken one at a time.

    Raises:
        InputError: the folder of the sequence is there already; more or fewer flows than intervals; a flow of another
            size than the sensor, or not finite, or outside [-256, 256).

    Source: Gehrig et al., "E-RAFT: dense optical flow from event cameras", 3DV 2021, and the benchmark's page.
    """
    target = Path(folder) / sequence.name
    if target.exists():
        raise InputError(f"{target}: is there already; expected a new folder. Move it away, or write to another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        names = _write(part, sequence, flows)
        part.chmod(0o755)  # mkdtemp's is for its owner only
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return [target / name for name in names]


def _write(folder: Path, sequence: DsecSequence, flows: Iterable[Array]) -> list[str]:
    schema = sequence.recording.schema
    assert schema.height and schema.width, "DSEC's sensor is known where the file does not say"
    size, due, names = (schema.height, schema.width), len(sequence), []
    for i, flow in enumerate(flows):
        if i == due:
            raise InputError(f"write_dsec_submission: more than {due} flows; {sequence.name} has {due} intervals")
        flow = np.asarray(flow)
        if flow.shape != (*size, 2):
            hint = " Write: np.moveaxis(flow, 0, -1)" if flow.shape == (2, *size) else ""
            raise InputError(f"write_dsec_submission: flow {i} is {flow.shape}; expected {(*size, 2)}.{hint}")
        if not np.isfinite(flow).all():
            raise InputError(
                f"write_dsec_submission: flow {i} is not finite everywhere; every pixel needs a prediction"
            )
        path = folder / f"{sequence.indices[i]:06d}.png"
        image = encode_flow(flow, np.ones(size, bool))
        write_png16(path, image)
        if not np.array_equal(read_png16(path), image):
            raise OSError(f"{path}: what was read back is not what was written")
        names.append(path.name)
    if len(names) != due:
        raise InputError(f"write_dsec_submission: {len(names)} flows; {sequence.name} has {due} intervals")
    return names
