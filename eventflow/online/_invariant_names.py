"""What ``batch_invariant`` knows about torch's functions, by name: which of them give a row the same bits in any batch.

A name ending in ``_`` (in place) and the operators (``__add__``, ``__radd__``, ``__iadd__``) follow the plain name.
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Shapes, copies, indexing, comparisons, selections, integers: no floating-point arithmetic at all.
STRUCTURAL = _names("""
    __get__ __set__ __len__ __bool__ __int__ __float__ __index__ __iter__ __contains__ __repr__ __format__ __hash__
    __deepcopy__ __array__ __getitem__ __setitem__ __dlpack__ __reduce_ex__ size dim ndimension numel nelement stride
    storage_offset is_contiguous is_floating_point is_complex is_inference is_nonzero element_size data_ptr get_device
    untyped_storage item tolist numpy cpu to type type_as double float long int bool detach clone contiguous copy
    requires_grad _set_grad_enabled set_grad_enabled is_grad_enabled is_same_size can_cast result_type promote_types
    is_tensor
    view view_as reshape reshape_as flatten unflatten ravel squeeze unsqueeze expand expand_as broadcast_to
    broadcast_tensors transpose t permute movedim moveaxis swapaxes swapdims narrow select split split_with_sizes chunk
    tensor_split unbind unfold diagonal index_select gather take take_along_dim masked_select index_put index_copy
    index_fill scatter masked_fill masked_scatter where nonzero argwhere cat concat concatenate stack hstack vstack
    dstack repeat repeat_interleave tile roll flip tril triu diag diag_embed one_hot embedding pad fill zero atleast_1d
    atleast_2d meshgrid block_diag real imag view_as_real view_as_complex
    new_zeros new_ones new_empty new_full new_tensor zeros_like ones_like empty_like full_like zeros ones empty full
    empty_strided arange linspace logspace eye tensor as_tensor asarray from_numpy scalar_tensor tril_indices
    triu_indices eq ne lt le gt ge equal not_equal less less_equal greater greater_equal isnan isfinite isinf isposinf
    isneginf isin signbit logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor
    __and__ __or__ __xor__ __iand__ __ior__ __ixor__
    __invert__ __rand__ __ror__ __rxor__ any all argmax argmin max min amax amin aminmax maximum
    minimum fmax fmin sort argsort topk kthvalue median searchsorted bucketize unique unique_consecutive count_nonzero
    cummax cummin
""")

#: Correctly rounded by IEEE 754, so that vector and scalar code agree; and cumsum, which torch does one after another.
EXACT = _names("""
    add sub subtract rsub mul multiply div divide true_divide truediv neg negative pos positive abs absolute sqrt rsqrt
    reciprocal square clamp clip clamp_min clamp_max relu relu6 hardtanh leaky_relu threshold sign floor ceil round
    trunc fix frac fmod remainder mod floor_divide floordiv copysign nan_to_num diff outer cumsum
""")

#: Functions of each element whose vector and scalar code may differ: checked on this machine when first used.
ELEMENTWISE = _names("""
    exp expm1 exp2 log log1p log2 log10 tanh sinh cosh sin cos tan asin acos atan arctan asinh acosh atanh arctanh erf
    erfc erfinv sigmoid special_expit logsigmoid log_sigmoid softplus silu gelu elu selu celu mish softsign hardsigmoid
    hardswish tanhshrink logit lgamma digamma polygamma sinc pow float_power atan2 arctan2 hypot logaddexp logaddexp2
    xlogy xlog1py lerp addcmul addcdiv
    special_ndtr special_log_ndtr special_ndtri special_erf special_erfc special_erfcx special_expm1 special_log1p
    special_logit special_xlogy special_digamma special_gammaln special_gammainc special_gammaincc igamma igammac
""")

#: Known to depend on the batch, and what to write instead.
VARIANT = {
    "batch_norm": "it normalises over the batch: use layer_norm",
    "scaled_dot_product_attention": "write softmax(q @ k.mT * scale, -1) @ v, which is routed",
    "lstm_cell": "write the gates with linear, sigmoid and tanh, which are routed",
    "gru_cell": "write the gates with linear, sigmoid and tanh, which are routed",
    "rand": "a draw per row depends on who else is in the batch",
    "randn": "a draw per row depends on who else is in the batch",
    "rand_like": "a draw per row depends on who else is in the batch",
    "randn_like": "a draw per row depends on who else is in the batch",
    "bernoulli": "a draw per row depends on who else is in the batch",
    "multinomial": "a draw per row depends on who else is in the batch",
}


def plain(name: str) -> str:
    """The name without in-place and operator dress: ``__iadd__``, ``add_`` and ``__radd__`` are all ``add``."""
    if name.startswith("__") and name.endswith("__"):
        core = name[2:-2]
        known = EXACT | ELEMENTWISE | STRUCTURAL
        for candidate in (core, core[1:] if core[:1] in ("r", "i") else core):
            if candidate in known or candidate in ("matmul", "pow"):
                return candidate
        return name
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name
