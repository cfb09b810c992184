"""Which tensor of a checkpoint is which weight of a `TransformerSeq2Seq`."""

from typing import Any, NamedTuple

from moe_zoo.models.transformer.stack import sparse_blocks

from .config import SwitchConfig

SHARED, HEAD = "shared.weight", "lm_head.weight"
TABLES = {"encoder": "encoder.embed_tokens.weight", "decoder": "decoder.embed_tokens.weight"}
ALIASES = (*TABLES.values(), HEAD)  # copies of the shared table, or weights of their own
PROJECTIONS = {"q": "query", "k": "key", "v": "value", "o": "out"}


class Entry(NamedTuple):
    """Where one weight lies in a checkpoint.

    Fields:
        names: tuple of `str`, a tensor, or one for each expert, stacked in this order.
        shape: of each of these tensors.
        transposed: `bool`, whether they are `[out, in]` and the weight is `[in, out]`.
        stacked: `bool`, whether they are an axis of the weight.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    transposed: bool
    stacked: bool = False


def weight_table(
    config: SwitchConfig, encoder_table: str = SHARED, decoder_table: str = SHARED
) -> dict[str, Entry]:
    """Return all weights of a model: `dict` of `Entry` by attribute path from the model.

    Args:
        config: `SwitchConfig`.
        encoder_table: `str`, tensor of the encoder's embedding.
        decoder_table: `str`, of the decoder's; another name for a model with two embeddings.

    Example:

    >>> from moe_zoo.models.published.config import SwitchConfig
    >>> table = weight_table(SwitchConfig(97, 12, 2, 2, 5, 3, 17, 2))
    >>> table["encoder.blocks.1.feed_forward.experts.kernel_in"].names[1]
    'encoder.block.1.layer.1.mlp.experts.expert_1.wi.weight'
    """
    size = (config.vocabulary_size, config.width)
    table = {"embedding.embeddings": Entry((encoder_table,), size, False)}
    if decoder_table != encoder_table:
        table["decoder_embedding.embeddings"] = Entry((decoder_table,), size, False)
    table |= _stack(config, "encoder", config.num_layers, config.moe_every)
    table |= _stack(config, "decoder", config.num_decoder_layers, config.decoder_moe_every)
    if not config.tied:
        table["head.kernel"] = Entry((HEAD,), size, True)
    return table


def _stack(config: SwitchConfig, stack: str, num_layers: int, step: int) -> dict[str, Entry]:
    """Return the weights of encoder or decoder."""
    vector = (config.width,)
    bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    table = {
        f"{stack}.position.table": Entry((bias,), (config.num_buckets, config.num_heads), False)
    }
    sparse = sparse_blocks(num_layers, step)
    parts = {"attention": "SelfAttention"}
    if stack == "decoder":
        parts["cross_attention"] = "EncDecAttention"
    for b in range(num_layers):
        ours, theirs = f"{stack}.blocks.{b}", f"{stack}.block.{b}.layer"
        for i, (part, name) in enumerate(parts.items()):
            table[f"{ours}.{part}_norm.scale"] = _vector(f"{theirs}.{i}.layer_norm", vector)
            table |= _attention(config, f"{ours}.{part}", f"{theirs}.{i}.{name}")
        last = f"{theirs}.{len(parts)}"
        table[f"{ours}.feed_forward_norm.scale"] = _vector(f"{last}.layer_norm", vector)
        make = _sparse if b in sparse else _dense
        table |= make(config, f"{ours}.feed_forward", f"{last}.mlp")
    return table | {f"{stack}.norm.scale": _vector(f"{stack}.final_layer_norm", vector)}


def _vector(name: str, shape: tuple[int, ...]) -> Entry:
    return Entry((f"{name}.weight",), shape, False)


def _attention(config: SwitchConfig, ours: str, theirs: str) -> dict[str, Entry]:
    inner = config.num_heads * config.head_dim
    table = {}
    for letter, name in PROJECTIONS.items():
        shape = (config.width, inner) if letter == "o" else (inner, config.width)
        table[f"{ours}.{name}.kernel"] = Entry((f"{theirs}.{letter}.weight",), shape, True)
    return table


def _dense(config: SwitchConfig, ours: str, theirs: str) -> dict[str, Entry]:
    into, out = (config.hidden_dim, config.width), (config.width, config.hidden_dim)
    return {
        f"{ours}.hidden.kernel": Entry((f"{theirs}.wi.weight",), into, True),
        f"{ours}.out.kernel": Entry((f"{theirs}.wo.weight",), out, True),
    }


def _sparse(config: SwitchConfig, ours: str, theirs: str) -> dict[str, Entry]:
    into, out = (config.hidden_dim, config.width), (config.width, config.hidden_dim)
    router = (f"{theirs}.router.classifier.weight",)
    experts = [f"{theirs}.experts.expert_{e}" for e in range(config.num_experts)]
    inputs, outputs = (tuple(f"{x}.{w}.weight" for x in experts) for w in ("wi", "wo"))
    return {
        f"{ours}.router.kernel": Entry(router, (config.num_experts, config.width), True),
        f"{ours}.experts.kernel_in": Entry(inputs, into, True, stacked=True),
        f"{ours}.experts.kernel_out": Entry(outputs, out, True, stacked=True),
    }


def find_weight(model: Any, path: str) -> Any:
    """Return the variable of a model at an attribute path, such as `"encoder.norm.scale"`."""
    for name in path.split("."):
        model = model[int(name)] if name.isdecimal() else getattr(model, name)
    return model
