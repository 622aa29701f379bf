"""The demo's camera: a simulated one films a scene whose motion is known, and the network that ships with
``models/compact_flownet`` estimates the flow live."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eventflow._assets import ROOT
from eventflow.bench import _plots, _report
from eventflow.events import Events
from eventflow.io import card, open_recording, write_events
from eventflow.online._command import one_thread
from eventflow.ops import event_count
from eventflow.vision import load_flow, simulate
from eventflow.vision._flow_checkpoint import INTERVAL
from eventflow.vision._flow_picture import event_colours, flow_colours, top_speed, wheel
from eventflow.vision._flow_sinks import open_fields
from eventflow.vision._flow_stream import FlowStreamOptions, FlowSummary, interval_ms, run_flow
from eventflow.vision._flow_view import open_view
from eventflow.vision._scene import Scene
from eventflow.vision._sim_dataset import recording_of

CHECKPOINT = ROOT / "models" / "compact_flownet" / "checkpoint.ckpt"
#: A recording of sim_flow's test split, which no network was trained on, and how many seconds of it.
SCENE, SECONDS = "seed_2000", 1.0
#: Where in the recording the picture is taken, and how much of the events it shows, us.
MOMENT, SHOWN = 600_000, 20_000


class Seen(NamedTuple):
    """What came out.

    error, still: mean end-point error in pixels, of the network and of no motion at all, over all pixels of every field
    whose 100 ms lie in the recording. step_ms: of the stream. words: the command that does the same.
    """

    events: int
    size: tuple[int, int]
    summary: FlowSummary
    step_ms: float
    error: float
    still: float
    words: str


def film(out: Path, *, shown: str) -> Seen:
    """Film, run live, compare with the exact flow and draw: ``camera.raw``, ``flow.npz``, ``flow.gif``, ``flow.png``.

    ``shown``: the folder as a reader would write it.
    """
    recipe = recording_of(card("sim_flow").recipe, SCENE)
    events = simulate(recipe.scene, recipe.camera, duration=SECONDS)
    write_events(events, out / "camera.raw")
    loaded = load_flow(CHECKPOINT)
    rate = 1000 / interval_ms(loaded)
    fields = open_fields(str(out / "flow.npz"), rate=rate, resumable=False)
    view = open_view(out / "flow.gif", rate=rate)
    with one_thread():
        summary = run_flow(loaded, open_recording(out / "camera.raw"), fields, FlowStreamOptions(), view=view)
    view.close()
    with np.load(out / "flow.npz") as archive:
        t, flow = archive["t"], archive["flow"]
    error, still = errors(recipe.scene, t, flow)
    at = int(np.argmin(np.abs(t - MOMENT)))
    _plots.to_png(picture(recipe.scene, events, int(t[at]), flow[at]), out / "flow.png")
    words = f"stream --checkpoint {_known(CHECKPOINT)} --source {shown}/camera.raw --sink {shown}/flow.npz"
    size = (recipe.scene.height, recipe.scene.width)
    return Seen(events.num_events, size, summary, interval_ms(loaded), error, still, words)


def errors(scene: Scene, t: Any, flow: Any) -> tuple[float, float]:
    """See :class:`Seen`: of fields (T, 2, H, W) at times ``t`` us."""
    seen = [i for i in range(len(t)) if t[i] >= INTERVAL]
    exact = [exact_flow(scene, int(t[i])) for i in seen]
    error = np.mean([np.hypot(*(flow[i] - known)).mean() for i, known in zip(seen, exact, strict=True)])
    return float(error), float(np.mean([np.hypot(*known).mean() for known in exact]))


def exact_flow(scene: Scene, t: int) -> Any:
    """(2, H, W) pixels: the displacement over the 100 ms up to ``t`` us."""
    return np.moveaxis(scene.flow((t - INTERVAL) * 1e-6, t * 1e-6)[0], -1, 0)


def picture(scene: Scene, events: Events, t: int, flow: Any) -> Any:
    """Events before ``t`` us, the estimated and the exact flow, and the colours of both."""
    m, exact = events.marks, exact_flow(scene, t)
    counts = event_count(
        events.t, m["x"], m["y"], m["p"], bins=1, height=scene.height, width=scene.width, span=(t - SHOWN, t)
    )[0]  # fmt: skip
    top = max(top_speed(exact), top_speed(flow))
    panels = {
        f"events of {SHOWN // 1000} ms": event_colours(counts), "flow, estimated": flow_colours(flow, largest=top),
        "flow, exact": flow_colours(exact, largest=top), f"{top:.0f} px": wheel(scene.height),
    }  # fmt: skip
    return _plots.images(panels, widths=(1, 1, 1, 0.5))


def _known(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def section(seen: Seen, out: Path) -> str:
    """Of the demo's page."""
    p50, p99 = (1e3 * seconds for seconds in seen.summary.compute)
    return _report.section(
        "The same with a camera",
        _report.paragraph(
            "An event camera has no frames: each pixel speaks by itself when its brightness changes. Three textured "
            f"planes that move by themselves were filmed by a simulated one ({seen.events:,} events in {SECONDS:g} s, "
            f"{seen.size[1]} x {seen.size[0]} pixels), and a small recurrent network that ships with eventflow said "
            f"every {seen.step_ms:g} ms where everything had moved. It was trained on other scenes."
        ),
        _report.figure(
            out / "flow.png",
            "Left: what the camera gave, brighter red, darker blue. Then what the network makes of it, and what is "
            "true: colour is the direction of motion, its strength the distance in 100 ms, as on the disc, whose rim "
            "is the distance written there. flow.gif shows the whole second.",
        ),
        _report.facts([
            (f"{seen.error:.2f} px", "mean error of the flow over 100 ms, over all pixels and fields"),
            (f"{seen.still:.2f} px", "the error of saying that nothing moves"),
            (f"{p50:.1f} ms", f"a field on one core, from events to flow (99 % within {p99:.1f} ms)"),
        ]),
        _report.code(f"eventflow {seen.words} --view"),
    )  # fmt: skip
