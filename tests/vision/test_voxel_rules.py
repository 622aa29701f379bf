"""The card of the libraries' voxel rules: its numbers, computed again on the shipped sample."""

from __future__ import annotations

import re

import numpy as np

from eventflow._assets import ROOT
from eventflow.vision import VoxelGrid, load_sequences

BINS = 15
PAGE = ROOT / "datasets" / "dsec" / "voxel_rules.md"
RULES = ("dsec", "eraft", "bflow", "tonic", "openeb", "openeb_volume")


def measured() -> dict[str, tuple[float, float, float]]:
    """rule -> (L1 distance from dsec's in % of dsec's L1, sum of the grid, sum of its moduli)."""
    sequence = load_sequences("datasets/sim_flow/sample", splits=["train"])["train"][0]
    start = int(sequence.timestamps[0, 0])
    window, events = (start + 50_000, start + 150_000), sequence.recording.read()
    grids = {}
    for rule in RULES:
        how = VoxelGrid(bins=BINS, height=24, width=32, rule=rule)
        grids[rule] = how.flush(how.step(how.init(*window), events)).astype(np.float64)
    base = grids["dsec"]
    return {
        rule: (100 * np.abs(grid - base).sum() / np.abs(base).sum(), grid.sum(), np.abs(grid).sum())
        for rule, grid in grids.items()
    }


def table(rows: dict[str, tuple[float, float, float]]) -> list[str]:
    return [f"| `{rule}` | {far:.1f} % | {total:+.1f} | {size:.1f} |" for rule, (far, total, size) in rows.items()]


def test_the_numbers_on_the_card_are_those_of_the_rules() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = re.findall(r"^\| `(\w+)` \| ([\d.]+) % \| ([+-][\d.]+) \| ([\d.]+) \|$", text, re.M)
    rows = measured()
    assert [row[0] for row in shown] == list(RULES), "\n".join(table(rows))
    for rule, *numbers in shown:
        np.testing.assert_allclose([float(v) for v in numbers], rows[rule], atol=0.11, err_msg="\n".join(table(rows)))


def test_the_rules_differ_as_the_card_says() -> None:
    rows = measured()
    assert rows["tonic"][0] > 30 and rows["openeb"][0] > 30  # other bins: not the same function
    assert abs(rows["openeb_volume"][1] - rows["dsec"][1]) < 1e-3  # both keep every event whole
    assert rows["bflow"][2] > rows["dsec"][2]
    assert rows["tonic"][1] != rows["dsec"][1] != rows["openeb"][1] < rows["openeb_volume"][1]


if __name__ == "__main__":
    print("\n".join(table(measured())))
