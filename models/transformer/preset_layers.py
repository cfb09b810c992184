"""The layers of a preset."""

from typing import Any

import keras

from moe_zoo import routers
from moe_zoo.experts import FeedForwardExperts, GatedExperts
from moe_zoo.layers import MoE
from moe_zoo.models.presets import find_preset
from moe_zoo.routers import Router
from moe_zoo.validation import shown

from .attention import Attention
from .feed_forward import FeedForward
from .gated_feed_forward import GatedFeedForward


def preset_layers(
    presets: dict[str, dict[str, Any]],
    name: str,
    router: Router | None = None,
    num_experts: int | None = None,
    expert_dropout: float | None = None,
    dtype: Any = None,
    **changes: Any,
) -> dict[str, Any]:
    """Return the arguments of a Transformer model of the sizes of a preset.

    Args:
        presets: `dict` of presets by name, such as `TRANSFORMER_LANGUAGE_MODELS`.
        name: `str`.
        router: a router in place of the preset's.
        num_experts: `int` in place of the preset's.
        expert_dropout: `float`, rate on the experts' hidden layer; `None` is that of all layers.
            Fedus et al. (2022) fine-tune with 0.4, and 0.1 elsewhere (table 4).
        dtype: Keras dtype policy of all layers; a router computes in float32 under each.
        **changes: arguments of the model, in place of the preset's; `dropout` is that of attention
            and of the feed-forward layers too.

    Returns:
        `dict`.

    Raises:
        ValueError: If the preset is unknown (the nearest names are given), or a router is given for
            a model without experts.
    """
    sizes = find_preset(presets, name)["sizes"]
    dropout = changes.get("dropout", sizes.get("dropout", 0.0))
    shared = {"dtype": dtype}
    if "init_scale" in sizes:
        shared["kernel_initializer"] = keras.initializers.VarianceScaling(
            sizes["init_scale"], "fan_in", "truncated_normal"
        )
    attention = Attention(
        sizes["num_heads"],
        sizes.get("head_dim"),
        scale=sizes.get("attention_scale"),
        dropout=dropout,
        **shared,
    )
    gated = sizes.get("gated", False)
    shared["activation"] = sizes.get("activation", "relu")
    dense = GatedFeedForward if gated else FeedForward
    experts = sizes["num_experts"] if num_experts is None else num_experts
    moe = None
    if sizes["num_experts"]:
        rate = dropout if expert_dropout is None else expert_dropout
        kind = GatedExperts if gated else FeedForwardExperts
        size = sizes.get("expert_dim", sizes["hidden_dim"])
        moe = MoE(
            router or getattr(routers, sizes["router"])(**sizes["routing"]),
            kind(experts, size, use_bias=False, dropout=rate, **shared),
            dtype=dtype,
        )
    elif not (router is None and num_experts is None and expert_dropout is None):
        raise ValueError(
            f"Expected a preset with a mixture of experts. Received: preset={shown(name)}, "
            f"router={shown(router)}, num_experts={num_experts}, expert_dropout={expert_dropout}. "
            "Leave these out for a dense baseline."
        )
    return {
        "width": sizes["width"],
        "num_layers": sizes["num_layers"],
        "attention": attention,
        "feed_forward": dense(sizes["hidden_dim"], dropout=dropout, **shared),
        "moe": moe,
        "moe_every": sizes["moe_every"],
        "dropout": dropout,
        "dtype": dtype,
        **({"tie_head": sizes["tie_head"]} if "tie_head" in sizes else {}),
        **changes,
    }
