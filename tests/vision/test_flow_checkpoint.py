"""Flow networks in files: what comes back is what was saved; anything else is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from eventflow.errors import InputError
from eventflow.events import Schema
from eventflow.tpp import Poisson, load_model, save_model
from eventflow.vision import CompactFlowNet, EfficientSpikeFlowNet, FlowNetwork, load_flow, save_flow

SCHEMA = Schema(unit="us", height=16, width=16)


@pytest.mark.parametrize("make", [lambda: CompactFlowNet(2, 3), lambda: EfficientSpikeFlowNet(2, 2, threshold=0.3)])
def test_what_comes_back_says_the_same(make, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network: FlowNetwork = make()
    counts = torch.poisson(torch.ones(1, 4, 2, 16, 16))
    network.scan(counts)  # moves the statistics of the batch-norms
    save_flow(network, tmp_path / "a.ckpt", schema=SCHEMA, bins=5, representation="count")
    loaded = load_flow(tmp_path / "a.ckpt")
    assert type(loaded.network) is type(network) and loaded.network.init_args == network.init_args
    assert loaded[1:] == (SCHEMA, 5, "count") and not loaded.network.training
    with torch.no_grad():
        assert torch.equal(loaded.network.scan(counts)[0], network.eval().scan(counts)[0])
    assert not list(tmp_path.glob("*.part"))


def test_other_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    with pytest.raises(InputError, match="no such checkpoint"):
        load_flow(path)
    save_flow(CompactFlowNet(2, 2), path, schema=SCHEMA, bins=10)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="truncated"):
        load_flow(path)
    save_model(Poisson(3), path, schema=Schema(num_marks=3))
    with pytest.raises(InputError, match="is not a FlowNetwork"):
        load_flow(path)
    save_flow(CompactFlowNet(2, 2), path, schema=SCHEMA, bins=10)
    with pytest.raises(InputError, match="is not a PointProcess"):
        load_model(path)
    stored = torch.load(path, weights_only=True)
    del stored["state_dict"]["model.heads.0.weight"]
    torch.save(stored, path)
    with pytest.raises(InputError, match=r"weights do not fit eventflow\.vision\.CompactFlowNet"):
        load_flow(path)
