"""What a test of a flow network leaves: errors, parameters, time and arithmetic of a step, and where they came from."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eventflow.train._flow_data import FlowData
from eventflow.train._flow_loader import Clip
from eventflow.train._run import provenance
from eventflow.vision import FlowNetwork
from eventflow.vision._flow_work import work_of

#: Heads of the table -> the names of its columns in the metrics; {} is the tally.
COLUMNS = {"AEE px": "epe_{}", "1PE %": "pe1_{}", "2PE %": "pe2_{}", "3PE %": "pe3_{}", "4PE %": "pe4_{}",
           "5PE %": "pe5_{}", "AE deg": "ae_{}"}  # fmt: skip
ROWS = {
    "every step": "dense", "every step, pixels with events": "dense_events", "at 10 Hz": "10hz",
    "at 10 Hz, pixels with events": "10hz_events", "at 10 Hz, state reset each 100 ms": "10hz_reset",
    "10 Hz flow held for 100 ms": "held", "no motion": "zero",
}  # fmt: skip


def flow_report(
    network: FlowNetwork[Any], data: FlowData, numbers: Mapping[str, float], *, config: dict[str, Any],
    checkpoint: Path,
) -> dict[str, Any]:  # fmt: skip
    """Everything that metrics.json holds but the model's name."""
    clips = data.clips("test")
    own = {name: value for name, value in numbers.items() if not name.endswith("_zero")}
    costs, layers = costs_of(network, clips[0])
    zero = {name.replace("_zero", "_dense"): value for name, value in numbers.items() if name.endswith("_zero")}
    return {
        "data": data.title, "split": "test", "seed": config.get("seed_everything"), "rate": data.rate,
        "truth": clips[0].targets.kind, "recordings": len(clips),
        "metrics": {**own, **costs}, "baselines": {"no motion": zero} if zero else {}, "layers": layers,
        "checkpoint": str(checkpoint), **provenance(), "config": config,
    }  # fmt: skip


def costs_of(network: FlowNetwork[Any], clip: Clip, *, repeats: int = 20) -> tuple[dict[str, float], dict[str, Any]]:
    """Parameters, CPU time, arithmetic and spikes of a step of one recording, after a warm-up of 100 ms.

    The arithmetic is the mean over the steps of one interval; the time the median over ``repeats`` steps, in CPU
    seconds of this process with the threads it has.
    """
    device = next(network.parameters()).device
    first = clip.first * clip.bins
    last = min(first + 2 * clip.bins, clip.last * clip.bins)
    counts = torch.from_numpy(clip.frames.read(first, last)).to(device)[None]
    with torch.no_grad():
        _, state = network.scan(counts[:, : clip.bins])
    rest = counts[:, clip.bins :] if counts.shape[1] > clip.bins else counts
    work, after = work_of(network, rest, state)
    layers = {layer.name: {"macs": layer.macs, "acs": layer.acs, "dense": layer.dense} for layer in work.layers}
    costs = {
        "num_parameters": float(sum(p.numel() for p in network.parameters())),
        "cpu_ms_per_step": 1e3 * _seconds(network, rest, state, repeats),
        "macs_per_step": work.macs, "acs_per_step": work.acs, "dense_macs_per_step": work.dense,
        "energy_mj_per_step": 1e3 * work.joules,
    }  # fmt: skip
    rates = _firing_rates(network, rest, state)
    if rates:
        costs["firing_rate"] = statistics.fmean(rates.values())
        for name, rate in rates.items():
            layers.setdefault(name, {})["firing_rate"] = rate
    return costs, layers


def _seconds(network: FlowNetwork[Any], counts: Tensor, state: Any, repeats: int) -> float:
    times = []
    with torch.no_grad():
        for i in range(repeats):
            x = counts[:, i % counts.shape[1]]
            start = time.process_time()
            _, state = network.step(state, x)
            times.append(time.process_time() - start)
    return statistics.median(times)


def _firing_rates(network: FlowNetwork[Any], counts: Tensor, state: Any) -> dict[str, float]:
    """Layer -> the share of its neurons that spike at a step; {} of a network without."""
    ask: Any = getattr(network, "firing_rates", None)
    if ask is None:
        return {}
    seen: dict[str, list[float]] = {}
    with torch.no_grad():
        for x in counts.unbind(1):
            _, state = network.step(state, x)
            for name, rate in ask(state).items():
                seen.setdefault(name, []).append(float(rate.mean()))
    return {name: statistics.fmean(values) for name, values in seen.items()}


def flow_text(report: Mapping[str, Any]) -> str:
    """The report as tables."""
    numbers = report["metrics"]
    still = report["baselines"].get("no motion", {})
    known = numbers | {key.replace("_dense", "_zero"): value for key, value in still.items()}
    truth = "exact flow" if report["truth"] == "exact" else "flow composed from the maps of 10 Hz"
    head = f"{report['data']}, test: {report['model']}, {report['recordings']} recordings, {report['rate']} Hz"
    lines = [["", *COLUMNS]]
    for text, tally in ROWS.items():
        if f"epe_{tally}" in known:
            lines.append([text, *(f"{known[name.format(tally)]:.3f}" for name in COLUMNS.values())])
    work = (f"a step: {numbers['cpu_ms_per_step']:.2f} ms CPU, {numbers['macs_per_step'] / 1e6:.3f} M MAC, "
            f"{numbers['acs_per_step'] / 1e6:.3f} M AC, {numbers['energy_mj_per_step']:.5f} mJ "
            f"({numbers['dense_macs_per_step'] / 1e6:.3f} M MAC if all were dense); "
            f"{numbers['num_parameters']:,.0f} parameters")  # fmt: skip
    rates = {name: layer["firing_rate"] for name, layer in report["layers"].items() if "firing_rate" in layer}
    spikes = ["spikes per neuron and step: " + ", ".join(f"{n} {r:.3f}" for n, r in rates.items())] if rates else []
    return "\n".join([head, f"against {truth}; flows span 100 ms", "", *_aligned(lines), "", work, *spikes])


def _aligned(lines: list[list[str]]) -> list[str]:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]).rstrip()
        for line in lines
    ]
