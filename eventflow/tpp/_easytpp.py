"""Weights trained with EasyTPP, in models of ours that compute the same likelihood."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.tpp._process import PointProcess
from eventflow.tpp.models._nhp import NHP
from eventflow.tpp.models._rmtpp import RMTPP
from eventflow.tpp.models._sahp import SAHP
from eventflow.tpp.models._thp import THP

#: (parameter of ours, what it becomes); the names in their checkpoint are asked for one by one.
Pairs = Iterator[tuple[Tensor, Tensor]]
Weights = Callable[[str], Tensor]


def load_easytpp(model: PointProcess, weights: Path | str | Mapping[str, Any]) -> None:
    """Copy the weights of a model trained with EasyTPP into ``model``, whose likelihood is then theirs.

    EasyTPP does not scale time, and starts from zero: the model must be made with ``time_scale=1``, and as
    ``NHP(K, hidden_size=H, bos=False)``, or with ``compat="easytpp"`` where there is one. Their number is then
    ``model.log_prob(events, compat="easytpp")``, and the exact one ``model.log_prob(events)``.

    Args:
        model: of the sizes in their ``model_config``.
        weights: the file that EasyTPP saved (``saved_model``), or its ``state_dict``.

    Raises:
        InputError: a model without a counterpart, names or shapes that do not fit, weights that would be left over.
    """
    state = _read(weights) if isinstance(weights, (str, Path)) else {k: torch.as_tensor(v) for k, v in weights.items()}
    left = {name for name in state if not _IDLE.fullmatch(name)}

    def take(name: str) -> Tensor:
        if name not in state:
            raise InputError(f"EasyTPP's weights have no {name!r} for this {type(model).__name__}; they have {known}")
        left.discard(name)
        return state[name]

    known = ", ".join(sorted(state))
    pairs = list(_pairs(model)(model, take))
    if left:
        raise InputError(f"EasyTPP's weights {sorted(left)} have no place in this {type(model).__name__}")
    for ours, theirs in pairs:
        if ours.shape != theirs.shape:
            raise InputError(
                f"EasyTPP's weights are of another size: {tuple(theirs.shape)} where this {type(model).__name__} has "
                f"{tuple(ours.shape)}; make it with the hidden_size, layers and num_marks of their model_config"
            )
    with torch.no_grad():
        for ours, theirs in pairs:
            ours.copy_(theirs)


def _read(path: Path | str) -> dict[str, Tensor]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected the saved_model of an EasyTPP run") from error
    except Exception as error:
        raise InputError(f"{path}: is no checkpoint of EasyTPP: {error}") from error


def _pairs(model: PointProcess) -> Callable[[Any, Weights], Pairs]:
    for kind, pairs in _MODELS.items():
        if isinstance(model, kind):
            ready = not model.bos if isinstance(model, NHP) else getattr(model, "compat", None) == "easytpp"
            if not ready or model.time_scale != 1:
                how = "bos=False" if kind is NHP else 'compat="easytpp"'
                raise InputError(f"this {kind.__name__} is not EasyTPP's: make it with {how} and time_scale=1")
            return pairs
    names = ", ".join(kind.__name__ for kind in _MODELS)
    raise InputError(f"{type(model).__name__} has no counterpart in EasyTPP's weights; those that have: {names}")


def _nhp(model: NHP, take: Weights) -> Pairs:
    yield model.embedding.weight, take("layer_type_emb.weight")[:-1]
    yield model.cell.gates.weight, take("rnn_cell.linear_layer.weight")
    yield model.cell.gates.bias, take("rnn_cell.linear_layer.bias")
    yield model.head.weight, take("layer_intensity.0.weight")
    yield model.head.bias, take("layer_intensity.0.bias")
    yield model.head.log_scale, -take("layer_intensity.1.log_beta")


def _rmtpp(model: Any, take: Weights) -> Pairs:
    yield model.embedding.weight[:-1], take("layer_type_emb.weight")[:-1]
    yield from _same(model.cell.time, "layer_temporal_emb", take)
    yield from _same(model.cell.rnn, "layer_rnn", take)
    yield model.head.level.weight, take("hidden_to_intensity_logits.weight")
    yield model.head.level.bias, take("hidden_to_intensity_logits.bias") + take("b_t")[0]
    yield model.head.slope, take("w_t")[0]


def _thp(model: Any, take: Weights) -> Pairs:
    yield from _attention(model, take)
    yield from _same(model.shared, "feed_forward", take)
    yield model.head.weight, take("layer_intensity_hidden.weight")
    yield model.head.bias, take("layer_intensity_hidden.bias") + take("factor_intensity_base")[0]
    yield model.slope, take("factor_intensity_decay")[0]
    yield model.head.log_scale, -take("softplus.log_beta")


def _sahp(model: Any, take: Weights) -> Pairs:
    yield from _attention(model, take)
    yield model.shift.weight, take("layer_position_emb.layer_time_delta.weight")
    yield model.ends.weight, torch.cat([take(f"{name}.0.weight") for name in ("mu", "eta", "gamma")])
    yield model.log_scale, -take("softplus.log_beta")


def _attention(model: Any, take: Weights) -> Pairs:
    yield model.embedding.weight, take("layer_type_emb.weight")[:-1]
    for i, layer in enumerate(model.layers):
        for part in ("weight", "bias"):
            names = [f"stack_layers.{i}.self_attn.linears.{j}.{part}" for j in range(3)]
            yield getattr(layer.attention.projection, part), torch.cat([take(name) for name in names])


def _same(module: torch.nn.Module, prefix: str, take: Weights) -> Pairs:
    for name, parameter in module.named_parameters():
        yield parameter, take(f"{prefix}.{name}")


_MODELS: dict[type[PointProcess], Callable[[Any, Weights], Pairs]] = {
    NHP: _nhp, RMTPP: _rmtpp, THP: _thp, SAHP: _sahp,
}  # fmt: skip
#: What their models hold and do not use in the likelihood, or compute anew: constants, layers that are never called.
_IDLE = re.compile(r".*\.(div_term|position)|stack_layers\.\d+\.feed_forward\..*|layer_intensity_hidden\..*")
