"""linear recurrence: compiled, portable and looped, forwards and backwards, beside the memory's limit"""

from __future__ import annotations

import importlib
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eventflow.bench._report import write
from eventflow.bench._terminal import console as terminal
from eventflow.errors import InputError
from eventflow.ops import scan

#: (B, T, D): a batch of sequences, one long sequence, and one so short that fixed costs are all there is.
SHAPES = ((16, 1024, 64), (1, 4096, 64), (1, 8, 4))
DEFINITION = "definition (loop)"  # as one writes it: each ``a[:, t]`` costs a whole array backwards
LIMIT = "memory limit"
#: Arrays read and written: forwards a, b -> h; backwards grad, a, h -> grad_a, grad_b.
ARRAYS = {"forward": 3, "both": 3 + 5}

Recurrence = Callable[[Tensor, Tensor], Tensor]


def run(*, out: Path | None = None, seconds: float = 1.5) -> None:
    """Time h[t] = a[t] h[t-1] + b[t] in float32: ours, the definition, torch's own scan, and the memory.

    CPU time on one thread, the contenders in turn, medians. Before anything is timed, values and gradients are compared
    with the definition in float64. The limit is the time that adding two arrays takes, per array read or written,
    times the arrays that the recurrence has to read and write.

    Args:
        out: folder for scan.json.
        seconds: to spend on each contender and shape; slow ones run at least three times.

    Raises:
        InputError: no time to spend.
    """
    if not seconds > 0:
        raise InputError(f"bench scan: seconds={seconds}; expected more than 0")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = {shape: _race(shape, seconds) for shape in SHAPES}
    finally:
        torch.set_num_threads(threads)
    _show(found)
    if out is not None:
        rows = [
            {"shape": list(shape), "method": name, **row} for shape, part in found.items() for name, row in part.items()
        ]
        versions = {name: importlib.import_module(name).__version__ for name in ("torch", "numba", "numpy")}
        report = {
            "dtype": "float32",
            "unit": "ms of CPU time, median",
            "machine": platform.processor() or platform.machine(),
        }
        out.mkdir(parents=True, exist_ok=True)
        write(json.dumps({**report, **versions, "rows": rows}, indent=1) + "\n", out / "scan.json")


def contenders() -> dict[str, Recurrence]:
    """Name -> recurrence from zero; torch's internal scan only where this version of torch has it."""
    found: dict[str, Recurrence] = {
        "ours, numba": lambda a, b: scan(a, b, backend="numba"),
        "ours, torch": lambda a, b: scan(a, b, backend="torch"),
        "Hillis & Steele": doubling,
        DEFINITION: lambda a, b: scan(a, b, backend="naive"),
        "careful loop": unbound,
    }
    try:
        module: Any = importlib.import_module("torch._higher_order_ops.associative_scan")
    except ImportError:
        return found

    def internal(a: Tensor, b: Tensor) -> Tensor:
        return module.associative_scan(_compose, (a, b), dim=1, combine_mode="generic")[1]

    return {**found, "torch, internal": internal}


def unbound(a: Tensor, b: Tensor) -> Tensor:
    """The loop without indexing, whose gradient is what makes the definition slow: the best that Python can do."""
    h, states = torch.zeros_like(b[:, 0]), []
    for gate, x in zip(a.unbind(1), b.unbind(1), strict=True):
        h = gate * h + x
        states.append(h)
    return torch.stack(states, 1)


def doubling(a: Tensor, b: Tensor) -> Tensor:
    """The textbook's parallel scan: log2(T) sweeps over the whole array, T log2(T) work."""
    step = 1
    while step < b.shape[1]:
        b = torch.cat([b[:, :step], torch.addcmul(b[:, step:], a[:, step:], b[:, :-step])], 1)
        a = torch.cat([a[:, :step], a[:, step:] * a[:, :-step]], 1)
        step *= 2
    return b


def _compose(left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return left[0] * right[0], right[0] * left[1] + right[1]


def _race(shape: tuple[int, int, int], seconds: float) -> dict[str, dict[str, float]]:
    """Name -> medians in ms of the forward pass ("forward") and of forward and backward ("both")."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(shape, generator=generator), torch.randn(shape, generator=generator)
    grad = torch.randn(shape, generator=generator)
    methods = contenders()
    _check(methods, a, b, grad)
    a, b = a.requires_grad_(), b.requires_grad_()
    calls = {}
    for name, method in methods.items():
        calls[name, "forward"] = _forward(method, a.detach(), b.detach())
        calls[name, "both"] = _both(method, (a, b), grad)
    calls[LIMIT, "add"] = _forward(torch.add, a.detach(), b.detach())
    times = _times(calls, seconds)
    limit = {kind: times[LIMIT, "add"] / 3 * arrays for kind, arrays in ARRAYS.items()}
    return {**{name: {kind: times[name, kind] for kind in ARRAYS} for name in methods}, LIMIT: limit}


def _check(methods: dict[str, Recurrence], a: Tensor, b: Tensor, grad: Tensor) -> None:
    """Nothing is timed that is wrong: values and gradients against the definition in float64."""
    exact = _both(methods[DEFINITION], (a.double().requires_grad_(), b.double().requires_grad_()), grad.double())()
    for name, method in methods.items():
        for seen, expected in zip(_both(method, (a.requires_grad_(), b.requires_grad_()), grad)(), exact, strict=True):
            torch.testing.assert_close(
                seen.double(), expected, rtol=1e-3, atol=1e-3, msg=lambda text, name=name: f"bench scan: {name}: {text}"
            )
    a.requires_grad_(False)
    b.requires_grad_(False)


def _forward(method: Recurrence, a: Tensor, b: Tensor) -> Callable[[], Tensor]:
    return lambda: method(a, b)


def _both(method: Recurrence, inputs: tuple[Tensor, Tensor], grad: Tensor) -> Callable[[], tuple[Tensor, ...]]:
    def call() -> tuple[Tensor, ...]:
        h = method(*inputs)
        return h.detach(), *torch.autograd.grad(h, inputs, grad)

    return call


def _times(calls: dict[tuple[str, str], Callable[[], Any]], seconds: float) -> dict[tuple[str, str], float]:
    """Median CPU time of a call in ms, the calls in turn; each one a block of calls that lasts about 10 ms."""
    samples: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    blocks = {}
    for key, call in calls.items():
        call()
        blocks[key] = max(1, int(0.01 / max(_timed(call, 1), 1e-7)))
    spent = dict.fromkeys(calls, 0.0)
    while waiting := [key for key in calls if spent[key] < seconds or len(samples[key]) < 3]:
        for key in waiting:
            samples[key].append(_timed(calls[key], blocks[key]))
            spent[key] += samples[key][-1] * blocks[key]
    return {key: 1e3 * statistics.median(values) for key, values in samples.items()}


def _timed(call: Callable[[], Any], repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - start) / repeats


def _show(found: dict[tuple[int, int, int], dict[str, dict[str, float]]]) -> None:
    from rich.table import Table

    console = terminal()
    for shape, rows in found.items():
        table = Table(title="h_t = a_t h_t-1 + b_t, B{} T{} D{}, float32, CPU ms".format(*shape))
        for heading in ("", "forward", "gain", "+ backward", "gain", "x limit"):
            table.add_column(heading, justify="right" if heading else "left")
        for name, row in sorted(rows.items(), key=lambda item: item[1]["both"]):
            gains = {kind: f"{rows[DEFINITION][kind] / row[kind]:.1f}x" for kind in ARRAYS}
            over = f"{row['both'] / rows[LIMIT]['both']:.1f}"
            table.add_row(name, _ms(row["forward"]), gains["forward"], _ms(row["both"]), gains["both"], over)
        console.print(table)


def _ms(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.0f}"
