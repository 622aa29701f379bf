"""Weights trained with EasyTPP, in models of ours that compute the same likelihood."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.tpp._process import PointProcess
from eventflow.tpp.models._anhn import ANHN
from eventflow.tpp.models._attnhp import AttNHP
from eventflow.tpp.models._fullynn import FullyNN
from eventflow.tpp.models._iftpp import IFTPP
from eventflow.tpp.models._nhp import NHP
from eventflow.tpp.models._odetpp import ODETPP
from eventflow.tpp.models._rmtpp import RMTPP
from eventflow.tpp.models._s2p2 import S2P2
from eventflow.tpp.models._sahp import SAHP
from eventflow.tpp.models._thp import THP

#: (parameter of ours, what it becomes); the names in their checkpoint are asked for one by one.
Pairs = Iterator[tuple[Tensor, Tensor]]
Weights = Callable[[str], Tensor]


def load_easytpp(model: PointProcess, weights: Path | str | Mapping[str, Any]) -> None:
    """Copy the weights of a model trained with EasyTPP into ``model``, whose likelihood is then theirs.

    EasyTPP does not scale time, and starts from zero: the model must be made with ``time_scale=1``, and as
    ``NHP(K, hidden_size=H, bos=False)``, or with ``compat="easytpp"`` where there is one (RMTPP, THP, SAHP, AttNHP,
    FullyNN, ODETPP), or as an S2P2 of the same variant. Their number is then ``model.log_prob(events,
    compat="easytpp")``, and the exact one ``model.log_prob(events)``.

    Weights do not say everything: FullyNN is taken to have ``proper_marked_intensities``, ODETPP two steps a gap
    (``ode_num_sample_per_step: 2``), and S2P2 to be post-normed, with ``act_func: gelu``.

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
            how, ready = _made(model)
            if not ready or model.time_scale != 1:
                raise InputError(f"this {kind.__name__} is not EasyTPP's: make it with {how}time_scale=1")
            return pairs
    why = next((f" ({why})" for kind, why in _NONE.items() if isinstance(model, kind)), "")
    names = ", ".join(kind.__name__ for kind in _MODELS)
    raise InputError(f"{type(model).__name__} has no counterpart in EasyTPP's weights{why}; those that have: {names}")


def _made(model: PointProcess) -> tuple[str, bool]:
    """The argument that makes it EasyTPP's, and whether it was made so."""
    if isinstance(model, NHP):
        return "bos=False and ", not model.bos
    return ("", True) if isinstance(model, S2P2) else ('compat="easytpp" and ', model.compat == "easytpp")  # type: ignore[attr-defined]


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


def _attnhp(model: AttNHP, take: Weights) -> Pairs:
    yield model.embedding.weight, take("layer_type_emb.weight")[:-1]
    size = model.hidden_size
    for i in range(model.num_layers):
        for head in range(model.heads):
            for part in range(3):
                name, columns = f"heads.{head}.{i}.self_attn.linears.{part}", slice(size * part, size * (part + 1))
                turned = take(f"{name}.weight").roll(-size, 1).t()  # there time comes last, here first
                yield model.weight[i, head, :, columns], turned
                yield model.bias[i, head, columns], take(f"{name}.bias")
    yield from _same(model.head, "inten_linear", take, but=["log_scale"])
    yield model.head.log_scale, -take("softplus.log_beta")
    for name in ("0.weight", "0.bias", "1.log_beta"):  # the same once more
        take(f"layer_intensity.{name}")


def _fullynn(model: FullyNN, take: Weights) -> Pairs:
    """What must be positive there is clamped at each call; here it is the softplus of what is learned."""

    def positive(name: str) -> Tensor:
        return take(f"layer_intensity.{name}").clamp_min(torch.finfo(torch.float32).eps)

    def raw(weight: Tensor) -> Tensor:
        return (weight + torch.log(-torch.expm1(-weight))).t()

    yield model.embedding.weight, take("layer_type_emb.weight")[:-1]
    yield from _same(model.cell, "layer_rnn", take)
    past, clock = positive("layer_dense_2.weight").split(model.cell.hidden_size, 1)
    yield model.history.weight, past
    yield model.history.bias, positive("layer_dense_2.bias") + clock @ positive("layer_dense_1.bias")
    yield model.time, raw(clock @ positive("layer_dense_1.weight"))
    for i, (rise, shift) in enumerate(zip(model.rise, model.shift, strict=True)):
        yield rise, raw(positive(f"module_list.{i}.weight"))
        yield shift, positive(f"module_list.{i}.bias")
    yield model.out, raw(positive("layer_dense_3.0.weight"))
    yield model.level, positive("layer_dense_3.0.bias")


def _odetpp(model: ODETPP, take: Weights) -> Pairs:
    yield model.embedding.weight, take("layer_type_emb.weight")[:-1]
    yield from _same(model.inner, "event_model.linears.0", take)
    yield from _same(model.head, "layer_intensity.0", take, but=["log_scale"])
    yield model.head.log_scale, torch.zeros_like(model.head.log_scale)


def _s2p2(model: S2P2, take: Weights) -> Pairs:
    """Complex weights there; real parts, then imaginary parts here."""
    yield model.embedding.weight, take("layers_mark_emb.weight")[:-1]
    for i, layer in enumerate(model._layers()):

        def part(name: str, prefix: str = f"layers.{i}.") -> Tensor:
            return take(prefix + name)

        def halves(name: str, axis: int = 0, part: Weights = part) -> Tensor:
            return torch.cat([part(name).real, part(name).imag], axis)

        yield layer.log_rate, part("Lambda_P_log_neg_real")
        yield layer.frequency, part("Lambda_P_imag")
        yield layer.start, halves("initial_state_P")
        yield layer.weight_event, halves("E_tilde_PH")
        yield layer.weight_out, halves("C_tilde_HP", 1)
        yield from _same(layer.norm, f"layers.{i}.norm", take)
        if layer.weight_in is not None and layer.skip is not None:
            yield layer.weight_in, halves("B_tilde_PH")
            yield layer.skip, part("D_HH")
        if layer.pace_bias is not None:
            yield layer.pace_bias, part("delta_net.bias")
            weight = part("delta_net.weight")
            if layer.pace_weight is not None:  # no signal reaches that of the first layer
                yield layer.pace_weight, weight
        elif part("log_step_size_P").any():
            raise InputError(f"EasyTPP's layers.{i}.log_step_size_P is not 0, and S2P2 has steps of 1")
    yield from _same(model.head, "intensity_net.intensity_net", take, but=["log_scale"])
    yield model.head.log_scale, -take("intensity_net.softplus.log_beta")


def _attention(model: Any, take: Weights) -> Pairs:
    yield model.embedding.weight, take("layer_type_emb.weight")[:-1]
    for i, layer in enumerate(model.layers):
        for part in ("weight", "bias"):
            names = [f"stack_layers.{i}.self_attn.linears.{j}.{part}" for j in range(3)]
            yield getattr(layer.attention.projection, part), torch.cat([take(name) for name in names])


def _same(module: torch.nn.Module, prefix: str, take: Weights, but: Collection[str] = ()) -> Pairs:
    for name, parameter in module.named_parameters():
        if name not in but:
            yield parameter, take(f"{prefix}.{name}")


_MODELS: dict[type[PointProcess], Callable[[Any, Weights], Pairs]] = {
    NHP: _nhp, RMTPP: _rmtpp, THP: _thp, SAHP: _sahp, AttNHP: _attnhp, FullyNN: _fullynn, ODETPP: _odetpp, S2P2: _s2p2,
}  # fmt: skip
_NONE: dict[type[PointProcess], str] = {
    IFTPP: "its IntensityFree gives the padding a share of the marks, reads the logarithm of the gap before the first "
    "event, and bounds the mixture's deviations: weights of another function",
    ANHN: "its ANHN cannot be made or trained as released: there are no such weights",
}
#: What their models hold and do not use in the likelihood, or compute anew: constants, layers that are never called,
#: the same weights under a second name.
_IDLE = re.compile(
    r".*\.(div_term|position)|stack_layers\.\d+\.feed_forward\..*|layer_intensity_hidden\..*"
    r"|layer_event_emb\..*|layer_neural_ode\..*"
)
