"""``eventflow stream`` where the checkpoint is a flow network's."""

from __future__ import annotations

import sys
from pathlib import Path

from eventflow.io import open_recording
from eventflow.io.live._stream import CameraStream
from eventflow.online._command import one_thread, stopped_by_signals
from eventflow.vision import load_flow
from eventflow.vision._flow_sinks import open_fields
from eventflow.vision._flow_stream import FlowStreamOptions, FlowSummary, interval_ms, run_flow, sensor_size
from eventflow.vision._flow_view import open_view


def stream_flow(
    checkpoint: Path, source: str, sink: str, options: FlowStreamOptions, *, view: bool, view_to: Path | None
) -> FlowSummary:
    """Run a flow network from a recording or a camera to fields, films or lines; the summary goes to stderr.

    Raises:
        InputError: checkpoint, source, sink or snapshot are wrong or do not fit together.
    """
    loaded = load_flow(checkpoint)
    rate = 1000 / interval_ms(loaded)
    recording = open_recording("/dev/stdin" if source == "-" else source)
    try:
        sensor_size(loaded, recording)  # before anything is written
        fields = open_fields(sink, rate=rate, resumable=options.snapshot is not None)
        try:
            shown = open_view(view_to, rate=rate) if view or view_to is not None else None
            if shown is not None:
                _say(f"showing events and flow: {shown.what}")
            try:
                with stopped_by_signals() as stop, one_thread():
                    summary = run_flow(loaded, recording, fields, options, view=shown, note=_say, stop=stop)
            finally:
                if shown is not None:
                    shown.close()
        finally:
            fields.close()
    finally:
        if isinstance(recording, CameraStream):
            recording.close()
            recording.report.warn()
    _report(summary, interval_ms(loaded), fields.name)
    return summary


def _say(text: str) -> None:
    print(f"eventflow stream: {text}", file=sys.stderr)


def _report(summary: FlowSummary, step_ms: float, sink: str) -> None:
    """A small table on stderr."""
    count, (p50, p99) = summary.counters, (1e3 * seconds for seconds in summary.compute)
    rate = summary.fields / max(summary.seconds, 1e-9)
    able = summary.fields / max(summary.busy, 1e-9)
    lines = [
        (count.events, "events in"),
        (count.steps, f"steps of {step_ms:g} ms"),
        (count.fields, f"fields to {sink}; {rate:,.0f} a second, computed in p50 {p50:.1f} ms, p99 {p99:.1f} ms: "
                       f"{able:,.0f} a second would keep up"),
    ]  # fmt: skip
    if summary.behind is not None:
        p50, p99 = (1e3 * seconds for seconds in summary.behind)
        lines.append((summary.fields, f"behind the end of their step: p50 {p50:.1f} ms, p99 {p99:.1f} ms"))
        lines.append((count.skipped, "fields left out to keep up"))
        lines.append((count.late, "events that came when their step was over, left out"))
        lines += [(lost, f"datagrams {cause}") for cause, lost in summary.lost.items()]
    lines.append((summary.state_bytes, "bytes of state"))
    width = max(len(f"{number:,}") for number, _ in lines)
    for number, text in lines:
        print(f"{number:>{width},}  {text}", file=sys.stderr)
    if not summary.ended:
        _say("stopped before the end; the same command goes on from the snapshot")
