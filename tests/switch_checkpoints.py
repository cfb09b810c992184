"""Checkpoint folders in the published layout, written without moe_zoo."""

import json

import ml_dtypes
import numpy as np

CODES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
SMALL = {  # distinct primes; heads times d_kv is not d_model
    "model_type": "switch_transformers",
    "vocab_size": 97,
    "d_model": 13,
    "d_kv": 5,
    "num_heads": 3,
    "d_ff": 17,
    "num_layers": 4,
    "num_decoder_layers": 2,
    "num_sparse_encoder_layers": 2,
    "num_sparse_decoder_layers": 1,
    "encoder_sparse_step": 2,
    "decoder_sparse_step": 2,
    "num_experts": 7,
    "expert_capacity": 64,
    "router_bias": False,
    "router_jitter_noise": 0.01,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "dropout_rate": 0.1,
    "layer_norm_epsilon": 1e-6,
    "dense_act_fn": "relu",
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}


def sparse(layers, step):
    return [b for b in range(layers) if step == 1 or (step > 0 and b % step == 1)]


def shapes_of(config):
    """Shapes of all tensors of a tied checkpoint by name."""
    d, f, inner = config["d_model"], config["d_ff"], config["num_heads"] * config["d_kv"]
    shapes = {"shared.weight": (config["vocab_size"], d)}

    def attention(name):
        return {f"{name}.{x}.weight": (d, inner) if x == "o" else (inner, d) for x in "qkvo"}

    for stack in ("encoder", "decoder"):
        layers = config["num_layers" if stack == "encoder" else "num_decoder_layers"]
        bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        shapes[bias] = (config["relative_attention_num_buckets"], config["num_heads"])
        shapes[f"{stack}.final_layer_norm.weight"] = (d,)
        for b in range(layers):
            block = f"{stack}.block.{b}.layer"
            shapes |= attention(f"{block}.0.SelfAttention")
            shapes[f"{block}.0.layer_norm.weight"] = shapes[f"{block}.1.layer_norm.weight"] = (d,)
            mlp = f"{block}.1.mlp"
            if stack == "decoder":
                shapes |= attention(f"{block}.1.EncDecAttention")
                shapes[f"{block}.2.layer_norm.weight"] = (d,)
                mlp = f"{block}.2.mlp"
            parts = [mlp]
            if b in sparse(layers, config[f"{stack}_sparse_step"]):
                shapes[f"{mlp}.router.classifier.weight"] = (config["num_experts"], d)
                parts = [f"{mlp}.experts.expert_{e}" for e in range(config["num_experts"])]
            for part in parts:
                shapes[f"{part}.wi.weight"], shapes[f"{part}.wo.weight"] = (f, d), (d, f)
    return shapes


def random_tensors(config, seed=0, untied=""):
    """Values of all tensors: norms around 1, and large relative biases, so that none is overlooked.

    Args:
        config: `dict`.
        seed: `int`.
        untied: `str`: "" tied, "shared" a head of its own, "separate" three tables.
    """
    shapes = shapes_of(config)
    table = shapes["shared.weight"]
    if untied:
        shapes["lm_head.weight"] = table
    if untied == "separate":
        shapes["encoder.embed_tokens.weight"] = shapes["decoder.embed_tokens.weight"] = table
    draw = np.random.default_rng(seed)
    tensors = {}
    for name, shape in shapes.items():
        x = draw.normal(size=shape)
        if "norm" in name:
            x = 1 + 0.3 * x
        elif "router" in name:
            x = 0.7 * x
        elif "shared" in name or "embed" in name:
            x = 0.3 * x  # a tied head would repeat its own input
        elif "relative" not in name:
            x = x / np.sqrt(shape[1])
        tensors[name] = x.astype("float32")
    return tensors


def write_safetensors(path, tensors):
    header, end = {}, 0
    for name, x in tensors.items():
        begin, end = end, end + x.nbytes
        offsets = [begin, end]
        header[name] = {"dtype": CODES[x.dtype.name], "shape": x.shape, "data_offsets": offsets}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for x in tensors.values():
            file.write(x.tobytes())


def read_safetensors(path):
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    dtypes = {code: dtype_of(name) for name, code in CODES.items()}
    tensors = {}
    for name, entry in json.loads(content[8 : 8 + size]).items():
        if name != "__metadata__":
            begin, end = (8 + size + place for place in entry["data_offsets"])
            x = np.frombuffer(content[begin:end], dtypes[entry["dtype"]])
            tensors[name] = x.reshape(entry["shape"])
    return tensors


def write_checkpoint(folder, config, tensors, dtype="float32", shards=0):
    """A checkpoint's folder, in one file or in so many shards."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = {name: x.astype(dtype_of(dtype)) for name, x in tensors.items()}
    if not shards:
        write_safetensors(folder / "model.safetensors", tensors)
        return folder
    places, names = {}, sorted(tensors)
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: tensors[name] for name in names[i::shards]}
        write_safetensors(folder / file, part)
        places |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def copied_aliases(tensors):
    """The tensors with the copies that some writers leave beside the shared table."""
    names = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    return tensors | dict.fromkeys(names, tensors["shared.weight"])


def dtype_of(name):
    return np.dtype(getattr(ml_dtypes, name, name))
