"""optical flow: a step of every network, ours and its authors', and 100 flows a second from events"""

from __future__ import annotations

import json
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eventflow.bench._flow_peer import Authors
from eventflow.bench._report import write
from eventflow.bench._terminal import console as terminal
from eventflow.errors import InputError
from eventflow.nn import state_leaves
from eventflow.vision import CompactFlowNet, EfficientSpikeFlowNet, EVFlowNet, FlowNetwork, LSTMFlowNet, live
from eventflow.vision._flow_steps import Frame, Step

NETWORKS: dict[str, Callable[[], FlowNetwork[Any]]] = {
    "CompactFlowNet": CompactFlowNet, "EfficientSpikeFlowNet": EfficientSpikeFlowNet, "EVFlowNet": EVFlowNet,
    "LSTMFlowNet": LSTMFlowNet,
}  # fmt: skip
#: How many times as fast as the authors' ours is meant to be.
AIMS = {"EfficientSpikeFlowNet": 2.0, "LSTMFlowNet": 1.5}
OURS, LIVE, HALF, THEIRS = "as trained", "live", "live, bfloat16", "authors'"
#: Events a second of the recordings that are made up; DSEC has ten million on average.
RATES = (1_000_000, 10_000_000)
#: Events of each polarity at a pixel and step, on average.
EVENTS = 0.1
#: Size of the images in which memory is watched: what a step leaves behind does not depend on it.
SMALL = (64, 96)


def run(
    *, out: Path | None = None, seconds: float = 10.0, height: int = 288, width: int = 384, steps: int = 10_000,
    official: Path | None = None, networks: list[str] | None = None,
) -> None:  # fmt: skip
    """Time a step of each flow network, in float32 on one thread: CPU time, the contenders in turn, medians.

    Weights are random, batch-norms have seen a few steps; of the spiking network, whose live form passes over silent
    neurons, the share that fires is told. Before anything is timed, the live form is compared with the trained one, and
    the authors' network, with our weights copied into it, with ours. The spiking network of the authors counts its
    operations in each step; that is timed with it, as it cannot be switched off.

    Args:
        out: folder for flow.json.
        seconds: to spend on each network and each contender; slow ones run at least three times.
        height: rows of the images; a multiple of 16.
        width: columns.
        steps: over which memory is watched (of CompactFlowNet).
        official: a checkout of the authors' repository, to be timed beside ours.
        networks: names of those to time; all by default.

    Raises:
        InputError: no time to spend, unknown networks, no such checkout, a size that cannot be halved four times.
    """
    if not seconds > 0 or steps < 1:
        raise InputError(f"bench flow: seconds={seconds}, steps={steps}; expected more than 0")
    chosen = list(NETWORKS) if networks is None else networks
    if unknown := [name for name in chosen if name not in NETWORKS]:
        raise InputError(f"bench flow: no network {unknown[0]!r}; known: {', '.join(NETWORKS)}")
    authors = None if official is None else Authors(official)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            found = {name: _race(name, (height, width), seconds, authors) for name in chosen}
            live_form = {name: _from_events(name, (height, width), seconds) for name in chosen}
            memory = _memory(steps)
    finally:
        torch.set_num_threads(threads)
    _show(found, live_form, memory, (height, width))
    if official is None:
        print("\nTo time the authors' networks beside these: git clone "
              "https://github.com/wponghiran/temporally_dense_flow, and --official temporally_dense_flow")  # fmt: skip
    if out is not None:
        report = {
            "unit": "ms of CPU time, one thread", "size": [height, width], "machine": platform.processor(),
            "torch": torch.__version__, "numpy": np.__version__, "networks": found, "from events": live_form,
            "memory": memory,
        }  # fmt: skip
        out.mkdir(parents=True, exist_ok=True)
        write(json.dumps(report, indent=1) + "\n", out / "flow.json")


def _race(name: str, size: tuple[int, int], seconds: float, authors: Authors | None) -> dict[str, dict[str, float]]:
    """Contender -> median and best ms of a step; and the median of the ratios to the authors'."""
    torch.manual_seed(0)
    network = settled(NETWORKS[name]())
    x = torch.poisson(torch.full((1, 2, *size), EVENTS))
    forms = {OURS: network, LIVE: live(network)}
    if torch.backends.mkldnn.is_available():
        forms[HALF] = live(network, precision="bfloat16")
    _check(name, forms)
    calls = {form: _stepping(net, x) for form, net in forms.items()}
    if authors is not None and name in authors.NAMES:
        authors.check(name)
        calls[THEIRS] = authors.stepping(name, network, x)
    times = _times(calls, seconds)
    rows = {form: {"median": 1e3 * statistics.median(t), "best": 1e3 * min(t)} for form, t in times.items()}
    for form, row in rows.items():
        if THEIRS in times:
            row["times as fast"] = statistics.median(b / a for a, b in zip(times[form], times[THEIRS], strict=True))
    rows[OURS]["parameters"] = sum(p.numel() for p in network.parameters())
    if isinstance(network, EfficientSpikeFlowNet):
        rows[OURS]["firing rate"] = _firing(network, x)
    return rows


def settled(network: FlowNetwork[Any], *, steps: int = 5) -> FlowNetwork[Any]:
    """In eval mode, its batch-norms with the statistics of a few steps, as training leaves them.

    Without, currents fade from layer to layer, and the deep neurons of a spiking network are silent, which is cheap.
    """
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = None  # the plain mean over what is seen
        x = torch.poisson(torch.full((1, steps, network.channels, *SMALL), EVENTS))
        network.train().scan(x)
    return network.eval()


def _firing(network: EfficientSpikeFlowNet, x: torch.Tensor, *, steps: int = 5) -> float:
    """The mean over layers of the share of neurons that spike at a step, after some, as ``eventflow test`` gives it."""
    state = network.init(1, *x.shape[-2:])
    for _ in range(steps):
        _, state = network.step(state, x)
    return statistics.fmean(float(rate.mean()) for rate in network.firing_rates(state).values())


def _stepping(network: FlowNetwork[Any], x: torch.Tensor) -> Callable[[], Any]:
    state = [network.init(1, *x.shape[-2:])]

    def step() -> torch.Tensor:
        flow, state[0] = network.step(state[0], x)
        return flow

    return step


def _check(name: str, forms: dict[str, FlowNetwork[Any]]) -> None:
    """Nothing is timed that is wrong: the live form against the trained one, over a few small steps."""
    x = torch.poisson(torch.full((1, 3, 2, 32, 48), 0.3), torch.Generator().manual_seed(0))
    want, got = (forms[form].scan(x)[0] for form in (OURS, LIVE))
    torch.testing.assert_close(
        got, want, rtol=1e-3, atol=1e-3 * float(want.abs().max()), msg=lambda text: f"bench flow: {name}, live: {text}"
    )


def _times(calls: dict[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """CPU seconds of each call, in turn, equally often; the first are not counted."""
    for call in calls.values():
        call()
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    spent = 0.0
    while spent < seconds * len(calls) or len(next(iter(times.values()))) < 3:
        for name, call in calls.items():
            begin = time.process_time()
            call()
            times[name].append(time.process_time() - begin)
            spent += times[name][-1]
    return times


def _from_events(name: str, size: tuple[int, int], seconds: float) -> dict[str, dict[str, float]]:
    """Events a second -> median and best ms from a step's events to its flow: counting, and the live network."""
    rows = {}
    network, frame = live(settled(NETWORKS[name]())), Frame("count", size)
    for rate in RATES:
        step, carried = _made_up(rate // 100, size), frame.init()
        state = [network.init(1, *size)]

        def count(step: Step = step, carried: Any = carried) -> None:
            frame.step(carried, step)

        def flow(step: Step = step, carried: Any = carried, state: list[Any] = state) -> None:
            image, _ = frame.step(carried, step)
            _, state[0] = network.step(state[0], torch.from_numpy(image)[None])

        times = _times({"counting": count, "flow": flow}, seconds / 2)
        best, median = 1e3 * min(times["flow"]), 1e3 * statistics.median(times["flow"])
        rows[f"{rate:,}"] = {
            "counting": 1e3 * statistics.median(times["counting"]), "median": median, "best": best,
            "flows a second": 1e3 / median,
        }  # fmt: skip
    return rows


def _made_up(count: int, size: tuple[int, int]) -> Step:
    """Events of 10 ms at random pixels, which is the hardest for caches."""
    draw = np.random.default_rng(0)
    t = np.sort(draw.integers(0, 10_000, count))
    x, y = (draw.integers(0, n, count).astype(np.uint16) for n in (size[1], size[0]))
    return Step(0, 0, 10_000, (t, x, y, draw.integers(0, 2, count).astype(np.uint8)))


def _memory(steps: int) -> dict[str, float]:
    """Bytes of the state, and by how much the process grew, from the first tenth of the steps to the last."""
    network = live(CompactFlowNet().eval())
    step = _stepping(network, torch.poisson(torch.full((1, 2, *SMALL), EVENTS)))
    warm = max(steps // 10, 1)
    for _ in range(warm):
        step()
    before = _held()
    for _ in range(steps - warm):
        step()
    state = sum(leaf.nbytes for leaf in state_leaves(network.init(1, *SMALL)))
    return {"steps": steps, "state bytes": state, "grown bytes": _held() - before}


def _held() -> int:
    """Bytes that the process has now, swapped out or not; where the system does not tell, the most it ever had."""
    status = Path("/proc/self/status")
    if status.is_file():
        words = (line.split() for line in status.read_text().splitlines())
        return 1024 * sum(int(word[1]) for word in words if word[0] in ("VmRSS:", "VmSwap:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _show(
    found: dict[str, Any], live_form: dict[str, Any], memory: dict[str, float], size: tuple[int, int]
) -> None:  # fmt: skip
    from rich.table import Table

    table = Table(title=f"A step at {size[0]}x{size[1]}, ms of CPU time", title_justify="left", box=None)
    for column in ("network", "parameters", "", "median", "best", "a second", "against theirs"):
        table.add_column(column, justify="left" if column in ("network", "") else "right", no_wrap=True)
    for name, rows in found.items():
        for form, row in rows.items():
            ratio = f"{row['times as fast']:.2f}x" if "times as fast" in row and form != THEIRS else ""
            aim = f" (aim {AIMS[name]:g})" if ratio and form == LIVE and name in AIMS else ""
            title = (name, f"{rows[OURS]['parameters'] / 1e6:.2f} M") if form == OURS else ("", "")
            rate = f"{1e3 / row['median']:.1f}"
            table.add_row(*title, form, f"{row['median']:.2f}", f"{row['best']:.2f}", rate, ratio + aim)
    console = terminal()
    console.print(table)
    for name, rows in found.items():
        if "firing rate" in rows[OURS]:
            print(f"\n{name}: {rows[OURS]['firing rate']:.1%} of its neurons fire in a step, the mean over its layers")
    for name, rates in live_form.items():
        print(f"\n{name}, from events: counting and live step")
        for rate, row in rates.items():
            holds = "at least 100" if row["flows a second"] >= 100 else "fewer than 100"
            print(f"  {rate:>10} events a second: {row['median']:.2f} ms (best {row['best']:.2f}, of which counting "
                  f"{row['counting']:.2f}): {row['flows a second']:.1f} flows a second, {holds}")  # fmt: skip
    print(f"\nMemory: {memory['state bytes']:,} bytes of state at {SMALL[0]}x{SMALL[1]}; the process grew by "
          f"{memory['grown bytes']:,} bytes over the last nine tenths of {memory['steps']:,} steps")  # fmt: skip
