"""RMTPP and the Neural Hawkes process: every law, peers' cell with copied weights, checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from eventflow.errors import InputError
from eventflow.events import Events, Schema, pad
from eventflow.nn import (
    CTLSTM,
    GRU,
    LSTM,
    Gompertz,
    LogNormalMixture,
    SoftplusIntensity,
    SoftplusNetwork,
    WeibullMixture,
)
from eventflow.testing import check_cell, check_point_process
from eventflow.tpp import (
    IFTPP,
    NHP,
    RMTPP,
    Hawkes,
    NeuralPointProcess,
    PointProcess,
    checkpoint_entry,
    load_model,
    naive,
    save_model,
)


def wild(process: PointProcess, seed: int = 0, scale: float = 0.7) -> PointProcess:
    """Weights far from zero, so that laws are tested where they could fail."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in process.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * scale)
    return process


@pytest.mark.parametrize("bos", [True, False])
def test_nhp_obeys_every_law(bos: bool) -> None:
    check_point_process(wild(NHP(3, hidden_size=5, bos=bos, time_scale=2.0, quadrature=30)))


@pytest.mark.parametrize("slope", [0.4, -0.3, 0.0], ids=["rising", "dying", "flat"])
def test_rmtpp_obeys_every_law(slope: float) -> None:
    process = wild(RMTPP(3, hidden_size=5, embedding_size=4, time_scale=0.5))
    assert isinstance(process, RMTPP) and isinstance(process.head, Gompertz)
    with torch.no_grad():
        process.head.slope.fill_(slope)
    check_point_process(process)


@pytest.mark.parametrize(
    "process",
    [
        RMTPP(3, hidden_size=6, embedding_size=4, mark_slopes=True, time_scale=2.0),
        RMTPP(3, hidden_size=6, compat="easytpp", time_scale=0.5),
        IFTPP(3, hidden_size=6, embedding_size=4, components=5, time_scale=0.5),
        NeuralPointProcess(2, LSTM(5, 6), WeibullMixture(6, 2, components=4), time_scale=3.0),
        NeuralPointProcess(2, CTLSTM(5, 6), LogNormalMixture(6, 2, components=3)),
        NeuralPointProcess(2, CTLSTM(5, 6), SoftplusIntensity(6, 2), quadrature=30),
        NeuralPointProcess(3, GRU(5, 6), SoftplusNetwork(6, 3), quadrature=30, time_scale=0.5),
    ],
    ids=["slopes", "compat", "iftpp", "weibull-lstm", "lognormal-ctlstm", "softplus-ctlstm", "softplus-gru"],
)
def test_cells_and_heads_obey_every_law(process: PointProcess) -> None:
    check_point_process(wild(process, scale=0.4))


def test_the_clock_of_rmtpp_compat_is_a_cell() -> None:
    process = wild(RMTPP(2, hidden_size=4, compat="easytpp"))
    check_cell(process.cell)


def test_easytpp_integrates_nothing_of_iftpp() -> None:
    """Its number is the density of events 2..N in closed form; ties are asked for at 1e-5, in the data's unit."""
    process = wild(IFTPP(2, hidden_size=4, embedding_size=3, components=3, time_scale=0.5)).double()
    tied, apart = (Events.of([0.3, 0.9, 0.9 + gap], mark=[0, 1, 1], span=(0.0, 2.0), schema=Schema(num_marks=2))
                   for gap in (0.0, 1e-5))  # fmt: skip
    exact = process.event_log_prob(pad(apart, dtype=torch.float64))[:, 1:].sum(1)
    for events in (tied, apart):
        torch.testing.assert_close(process.log_prob(events, compat="easytpp"), exact)


def test_rmtpp_saturates_instead_of_overflowing() -> None:
    process = wild(RMTPP(2, hidden_size=4)).double()
    assert isinstance(process, RMTPP) and isinstance(process.head, Gompertz)
    with torch.no_grad():
        process.head.slope.fill_(0.5)
    events = Events.of([1.0, 2.0, 5000.0], mark=[0, 1, 0], span=(0.0, 6000.0), schema=Schema(num_marks=2))
    value = process.log_prob(events)
    value.sum().backward()
    assert value.isfinite().all() and all(p.grad is not None and p.grad.isfinite().all() for p in process.parameters())
    state = process.init(1)
    u = torch.tensor([45.0], dtype=torch.float64)
    torch.testing.assert_close(process.compensator(state, u), naive.compensator(process, state, u), rtol=1e-4, atol=0)


def test_the_nhp_bound_holds_for_ever() -> None:
    process = wild(NHP(4, hidden_size=8), scale=1.5).double()
    batch = pad(process.simulate(span=(0.0, 5.0), num_sequences=6, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        _, state = process.left_states(batch.to(torch.float64))
        bound, _ = process._bound(state, torch.zeros_like(state.elapsed))
        ahead = torch.linspace(0, 30, 3001, dtype=torch.float64).expand(6, -1)
        total = process.intensity(state, ahead).sum(-1)
    assert (total <= bound[:, None] * (1 + 1e-12)).all()


@pytest.mark.parametrize("process", [NHP(3, hidden_size=8), RMTPP(3), Hawkes(3)], ids=lambda p: type(p).__name__)
def test_float32_stays_close_to_float64(process: PointProcess) -> None:
    events = Hawkes(3).double().simulate(span=(0.0, 60.0), num_sequences=4, generator=torch.Generator().manual_seed(1))
    single = process.float().log_prob(events)
    assert single.dtype == torch.float32
    double = process.double().log_prob(events)
    torch.testing.assert_close(single.double(), double, rtol=2e-5, atol=2e-4)


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    process = wild(NHP(2, hidden_size=4, time_scale=0.3))
    schema = Schema(unit="h", vocabulary=("a", "b"), given_first=True)
    save_model(process, tmp_path / "m.ckpt", schema=schema, start=1.5)
    loaded = load_model(tmp_path / "m.ckpt")
    assert loaded.schema == schema and loaded.start == 1.5 and isinstance(loaded.model, NHP)
    events = Events.of([0.1, 0.7], mark=[0, 1], span=(0.0, 1.0))
    assert torch.equal(loaded.model.log_prob(events), process.log_prob(events))
    assert list(tmp_path.iterdir()) == [tmp_path / "m.ckpt"]


def test_checkpoints_that_are_not_ours(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint"):
        load_model(tmp_path / "missing.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(InputError, match="not a checkpoint"):
        load_model(tmp_path / "text.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="not one of eventflow's"):
        load_model(tmp_path / "other.ckpt")
    process = Hawkes(2)
    entry = checkpoint_entry(process, Schema(num_marks=2))
    torch.save({"eventflow": {**entry, "class_path": "os.system"}, "state_dict": {}}, tmp_path / "evil.ckpt")
    with pytest.raises(InputError, match="is not a PointProcess"):
        load_model(tmp_path / "evil.ckpt")
    wrong = {f"model.{k}": v for k, v in Hawkes(3).state_dict().items()}
    torch.save({"eventflow": entry, "state_dict": wrong}, tmp_path / "wrong.ckpt")
    with pytest.raises(InputError, match="do not fit eventflow.tpp.Hawkes"):
        load_model(tmp_path / "wrong.ckpt")
    save_model(process, tmp_path / "whole.ckpt", schema=Schema(num_marks=2))
    content = (tmp_path / "whole.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cut.ckpt is not a checkpoint, or is truncated"):
        load_model(tmp_path / "cut.ckpt")


def test_a_mark_the_model_does_not_know() -> None:
    events = Events.of([0.1, 0.7], mark=[0, 5], span=(0.0, 1.0))
    with pytest.raises(InputError, match="mark 5 in the data, but this NHP has num_marks=3"):
        NHP(3, hidden_size=4).log_prob(events)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NHP(0), "num_marks=0"),
        (lambda: NHP(2, time_scale=0.0), "time_scale=0.0"),
        (lambda: NHP(2, quadrature=1), "quadrature=1"),
        (lambda: Hawkes(2, mu=[0.1]), r"expected \(2,\)"),
        (lambda: Hawkes(2, alpha=[[-1.0, 0.0], [0.0, 0.0]]), "finite and >= 0"),
        (lambda: Hawkes(1).log_prob(Events.of([1.0], span=(0, 2)), compat="easytp"), "did you mean 'easytpp'"),
        (lambda: Hawkes(1).simulate(span=(2.0, 1.0)), "half-open"),
        (lambda: Hawkes(1).intensity(Hawkes(1).init(3), torch.zeros(2)), r"expected the state's axes \(3,\)"),
    ],
)
def test_wrong_arguments(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(InputError, match=message):
        make()


def test_a_subclass_with_the_law_of_the_next_gap_is_told_its_base() -> None:
    class Mine(NeuralPointProcess):
        def __init__(self, num_marks: int) -> None:
            super().__init__(num_marks, GRU(5, 6), WeibullMixture(6, num_marks))

    with pytest.raises(InputError, match=r"class Mine\(DurationProcess\)"):
        Mine(2)
