"""`config.json` of a published Switch Transformer: sizes and rules, read and written."""

import os
from pathlib import Path
from typing import NamedTuple

from moe_zoo.models.transformer.stack import sparse_blocks
from moe_zoo.validation import check_at_least, check_rate, shown

from .strict_json import read_object

MODEL_TYPE = "switch_transformers"
FILE, VOCABULARY = "config.json", "spiece.model"
BIGGEST = 2**31 - 1  # of a size
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "silu": "silu", "swish": "silu"}  # theirs to ours
CONTRADICTING = {  # files whose config.json does not describe the weights next to it, by width
    4096: "switch-xxl-128: it was trained with 24 + 24 layers, gated experts and its own head, and "
    "its config.json says 48 + 12 layers, no gates and a tied head",
    2080: "switch-c-2048: it was trained with 15 + 15 sparse layers and a head of its own, and its "
    "config.json says 15 + 12 layers, no sparse decoder and a tied head",
}


class SwitchConfig(NamedTuple):
    """Sizes and rules of a published Switch Transformer, by our names.

    Fields:
        vocabulary_size, width, num_layers, num_decoder_layers, num_heads: `int`.
        head_dim: `int`; `num_heads * head_dim` need not be the width.
        hidden_dim: `int`, hidden units of the dense layers and of each expert.
        num_experts, expert_capacity: `int`; slots of an expert in each row of a batch.
        moe_every, decoder_moe_every: `int`, the sparse step s: block b, counted from 0, is sparse
            if `s == 1` or `b mod s == 1`; 0 for none.
        num_buckets, max_distance: `int`, of the relative positions.
        activation: `str`.
        dropout, epsilon, jitter, z_loss_weight, balance_loss_weight: `float`.
        tied: `bool`, whether the head is the embedding.
        pad_id, end_id, begin_id: `int`; `begin_id` starts the decoder.
    """

    vocabulary_size: int
    width: int
    num_layers: int
    num_decoder_layers: int
    num_heads: int
    head_dim: int
    hidden_dim: int
    num_experts: int
    expert_capacity: int = 64
    moe_every: int = 2
    decoder_moe_every: int = 2
    num_buckets: int = 32
    max_distance: int = 128
    activation: str = "relu"
    dropout: float = 0.1
    epsilon: float = 1e-6
    jitter: float = 0.01
    z_loss_weight: float = 0.001
    balance_loss_weight: float = 0.001
    tied: bool = True
    pad_id: int = 0
    end_id: int = 1
    begin_id: int = 0


def read_config(folder: str | os.PathLike) -> SwitchConfig:
    """Return the `SwitchConfig` of a checkpoint's folder.

    A step in the file decides, else `layers // num_sparse`, as the original computes it. Fields
    that are left out have the original's values.

    Args:
        folder: `str` or path.

    Raises:
        FileNotFoundError: If there is no `config.json`.
        ValueError: If the file is damaged, or of a model that is not supported.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a folder with config.json and tensor files. Received: "
            f"path={shown(str(folder))}, without config.json. Download all files of the checkpoint."
        )
    try:
        values = read_object(path)
        _check_kind(values)
        return _sizes(values)
    except ValueError as error:
        raise ValueError(f"{path} cannot be used. {error}") from error


def _check_kind(values: dict) -> None:
    if (kind := values.get("model_type")) != MODEL_TYPE:
        raise ValueError(
            f"Expected model_type={shown(MODEL_TYPE)}. Received: model_type={shown(kind)}. Only "
            "Switch Transformers can be loaded."
        )
    width = values.get("d_model")
    if isinstance(width, int) and width in CONTRADICTING:
        raise ValueError(
            f"Expected a config.json that describes its weights. Received: d_model={width}, which "
            f"is that of {CONTRADICTING[width]}. Use one of the base or large checkpoints."
        )
    gated = values.get("is_gated_act") or "gated" in str(values.get("feed_forward_proj"))
    activation = values.get("dense_act_fn", "relu")
    if gated or not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ValueError(
            f"Expected ungated layers and one of {sorted(ACTIVATIONS)}. Received: "
            f"dense_act_fn={shown(activation)}, is_gated_act={shown(values.get('is_gated_act'))}, "
            f"feed_forward_proj={shown(values.get('feed_forward_proj'))}. The original's layers "
            "have no gates either, so that such a file does not describe weights that it can run."
        )
    if values.get("router_bias"):
        raise ValueError(
            "Expected routers without bias. Received: router_bias=True. No published checkpoint "
            "has one, and our routers have none."
        )


def _sizes(values: dict) -> SwitchConfig:
    def size(name: str, default: int | None = None, least: int = 1, most: int = BIGGEST) -> int:
        value = values.get(name)
        value = default if value is None else value
        if type(value) is not int or not least <= value <= most:
            raise ValueError(
                f"Expected a whole number from {least} to {most}. Received: {name}={shown(value)}. "
                "Download config.json again."
            )
        return value

    def step(side: str, layers: int) -> int:
        if values.get(f"{side}_sparse_step") is not None:
            return size(f"{side}_sparse_step", least=0)
        count = size(f"num_sparse_{side}_layers", 3, least=0)
        return layers // count if count else layers

    def token(name: str, default: int) -> int:
        return size(name, default, 0, rows - 1)

    def number(name: str, default: float) -> float:
        return check_at_least(name, values.get(name, default), 0.0)

    rows = size("vocab_size", 32128)
    layers = size("num_layers", 12)
    decoder_layers = size("num_decoder_layers", layers)
    if isinstance(ends := values.get("eos_token_id"), list) and ends:
        values = {**values, "eos_token_id": ends[0]}
    tied = values.get("tie_word_embeddings", True)
    if not isinstance(tied, bool):
        raise ValueError(
            f"Expected true or false. Received: tie_word_embeddings={shown(tied)}. Download "
            "config.json again."
        )
    return SwitchConfig(
        vocabulary_size=rows,
        width=size("d_model", 768),
        num_layers=layers,
        num_decoder_layers=decoder_layers,
        num_heads=size("num_heads", 12),
        head_dim=size("d_kv", 64),
        hidden_dim=size("d_ff", 2048),
        num_experts=size("num_experts", 8),
        expert_capacity=size("expert_capacity", 64),
        moe_every=step("encoder", layers),
        decoder_moe_every=step("decoder", decoder_layers),
        num_buckets=size("relative_attention_num_buckets", 32),
        max_distance=size("relative_attention_max_distance", 128),
        activation=ACTIVATIONS[values.get("dense_act_fn", "relu")],
        dropout=check_rate("dropout_rate", values.get("dropout_rate", 0.1)),
        epsilon=number("layer_norm_epsilon", 1e-6),
        jitter=check_rate("router_jitter_noise", values.get("router_jitter_noise", 0.01)),
        z_loss_weight=number("router_z_loss_coef", 0.001),
        balance_loss_weight=number("router_aux_loss_coef", 0.001),
        tied=tied,
        pad_id=token("pad_token_id", 0),
        end_id=token("eos_token_id", 1),
        begin_id=token("decoder_start_token_id", 0),
    )


def config_json(config: SwitchConfig, dtype: str) -> dict:
    """Return the content of `config.json` of a `SwitchConfig`, for the original: `dict`.

    Both the steps and the numbers of sparse blocks are written: releases of the original differ in
    which they read.

    Args:
        config: `SwitchConfig`.
        dtype: `str`, of the tensors, such as `"float32"`.
    """
    sides = (
        ("encoder", config.num_layers, config.moe_every),
        ("decoder", config.num_decoder_layers, config.decoder_moe_every),
    )
    sparse = {}
    for side, layers, step in sides:
        sparse[f"{side}_sparse_step"] = step
        sparse[f"num_sparse_{side}_layers"] = len(sparse_blocks(layers, step))
    return {
        "architectures": ["SwitchTransformersForConditionalGeneration"],
        "model_type": MODEL_TYPE,
        "is_encoder_decoder": True,
        "torch_dtype": dtype,  # dtype to 5.x, which reads both
        "vocab_size": config.vocabulary_size,
        "d_model": config.width,
        "d_kv": config.head_dim,
        "d_ff": config.hidden_dim,
        "num_heads": config.num_heads,
        "num_layers": config.num_layers,
        "num_decoder_layers": config.num_decoder_layers,
        **sparse,
        "num_experts": config.num_experts,
        "expert_capacity": config.expert_capacity,
        "router_bias": False,
        "router_dtype": "float32",
        "router_ignore_padding_tokens": False,
        "router_jitter_noise": config.jitter,
        "router_z_loss_coef": config.z_loss_weight,
        "router_aux_loss_coef": config.balance_loss_weight,
        "relative_attention_num_buckets": config.num_buckets,
        "relative_attention_max_distance": config.max_distance,
        "dense_act_fn": config.activation,
        "dropout_rate": config.dropout,
        "layer_norm_epsilon": config.epsilon,
        "tie_word_embeddings": config.tied,
        "pad_token_id": config.pad_id,
        "eos_token_id": config.end_id,
        "decoder_start_token_id": config.begin_id,
    }
