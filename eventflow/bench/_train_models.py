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
#: One LSTM layer, and an intensity for each mark: its two layers, and an equal share for all marks, have no twin here.
_HAZARD = {"rnn_type": "LSTM", "hidden_size": 32, "num_layers": 1,
           "model_specs": {"num_mlp_layers": 3, "proper_marked_intensities": True}}  # fmt: skip
_ODE = {"hidden_size": 4, "time_emb_size": 4, "num_layers": 1,
        "model_specs": {"ode_num_sample_per_step": 2, "time_factor": 100}}  # fmt: skip
_LATENT = {
    "hidden_size": 128, "num_layers": 4, "use_mc_samples": True,
    "model_specs": {
        "P": 16, "dropout_rate": 0.1, "act_func": "gelu", "for_loop": True, "pre_norm": False, "post_norm": True,
        "int_forward_variant": False, "int_backward_variant": True, "relative_time": True,
    },
}  # fmt: skip

#: Why the weights of a twin leave EasyTPP's path although both begin with the same likelihood.
DIFFERS = {
    "rmtpp": "EasyTPP adds two biases, and Adam moves their sum twice as far in a step",
    "thp": "EasyTPP adds two biases, and Adam moves their sum twice as far in a step",
    "fullynn": "EasyTPP clamps the weights that must be positive; ours are a softplus of free ones, and move otherwise",
    "odetpp": "EasyTPP adds 1.2e-7 to all intensities, some of which are smaller at first, and its adjoint weights the "
              "gradient of the field by the batch's mean gap; ours is the likelihood's",
    "s2p2": "dropout draws other units",
}  # fmt: skip
#: Twins that train on EasyTPP's likelihood: its exact one is another quantity, without the hazard of no time.
THEIR_OBJECTIVE = ("fullynn",)

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
        {"hidden_size": 16, "layers": 2, "heads": 2},
        {"hidden_size": 16, "layers": 2, "heads": 2, "time_size": 4, **_COMPAT}, points=10,
    ),
    "fullynn": Setting("TorchFullyNN", "FullyNN", _HAZARD, {}, _COMPAT),
    "odetpp": Setting(
        "TorchODETPP", "ODETPP", _ODE, {"hidden_size": 4}, {"hidden_size": 4, **_COMPAT}, batch=32, lr=1e-1
    ),
    # EasyTPP's batch of 256 needs more than 10 GB
    "s2p2": Setting("TorchS2P2", "S2P2", _LATENT, {}, {}, points=10, batch=32, lr=1e-2),
}  # fmt: skip
