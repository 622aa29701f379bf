"""The models of ``eventflow bench train``, each in EasyTPP's configuration of it (its experiment_config.yaml)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One model there and here.

    Attributes:
        peer: its class in EasyTPP.
        config: what EasyTPP's ``model_config`` says of it.
        network: the arguments of the same model here (``ours`` is its class).
        twin: the arguments of the one that takes EasyTPP's weights, None where there is none.
        points: of the integral of a gap.
    """

    peer: str
    ours: str
    config: dict[str, Any]
    network: dict[str, Any]
    twin: dict[str, Any] | None = None
    points: int = 20
    batch: int = 256
    lr: float = 1e-3

    def job(self) -> dict[str, Any]:
        """As plain data, for the two workers."""
        return asdict(self)


_COMPAT = {"compat": "easytpp"}
_THEIR_ATTENTION = {"hidden_size": 32, "time_emb_size": 16, "num_layers": 2, "num_heads": 2}
_ATTENTION = {"hidden_size": 32, "layers": 2, "heads": 2}
_MIXTURE = {"hidden_size": 32, "model_specs": {"num_mix_components": 3}}

MODELS = {
    "nhp": Setting("TorchNHP", "NHP", {"hidden_size": 64}, {"hidden_size": 64}, {"hidden_size": 64, "bos": False}),
    "rmtpp": Setting(
        "TorchRMTPP", "RMTPP", {"hidden_size": 32}, {"hidden_size": 32}, {"hidden_size": 32, **_COMPAT}
    ),
    "iftpp": Setting(
        "TorchIntensityFree", "IFTPP", _MIXTURE, {"hidden_size": 32, "embedding_size": 32, "components": 3}
    ),
    "sahp": Setting("TorchSAHP", "SAHP", _THEIR_ATTENTION, _ATTENTION, {**_ATTENTION, **_COMPAT}),
    "thp": Setting("TorchTHP", "THP", _THEIR_ATTENTION, _ATTENTION, {**_ATTENTION, **_COMPAT}),
    "attnhp": Setting(
        "TorchAttNHP", "AttNHP", {"hidden_size": 16, "time_emb_size": 4, "num_layers": 2, "num_heads": 2},
        {"hidden_size": 16, "layers": 2, "heads": 2}, points=10,
    ),
}  # fmt: skip
