"""Slow NumPy forward pass of a published Switch Transformer, on the tensors of its files.

It knows names and shapes of the published layout and nothing of moe_zoo: kernels are `[out, in]`,
tokens are routed one by one, and attention is computed head by head.
"""

import math

import numpy as np


class SwitchReference:
    """The forward pass of one checkpoint.

    Args:
        tensors: `dict` of arrays by published name.
        config: `dict`, as in `config.json`.

    After `forward`, `routing` holds for each `(stack, block)` a `dict` of `logits` `[B, T, E]`,
    `experts` `[B, T]` and `kept` `[B, T]`.
    """

    def __init__(self, tensors, config):
        self.tensors = {name: np.asarray(x, np.float32) for name, x in tensors.items()}
        self.config = config
        self.routing = {}

    def forward(self, source, target, mask=None):
        """`[B, S]`, `[B, T]`, `[B, S]` -> states of the encoder, logits `[B, T, V]`."""
        mask = np.ones(source.shape, bool) if mask is None else mask
        states = self.stack("encoder", source, mask=mask)
        hidden = self.stack("decoder", target, memory=states, mask=mask)
        if self.config.get("tie_word_embeddings", True):
            return states, hidden * self.config["d_model"] ** -0.5 @ self.tensors["shared.weight"].T
        return states, hidden @ self.tensors["lm_head.weight"].T

    def stack(self, name, ids, mask, memory=None):
        config, causal = self.config, name == "decoder"
        table = self.tensors.get(f"{name}.embed_tokens.weight", self.tensors["shared.weight"])
        x = table[ids]
        length = ids.shape[1]
        bias = self.position_bias(name, length, causal)
        own = np.tri(length, dtype=bool)[None] if causal else mask[:, None, :]
        layers = config.get("num_decoder_layers") if causal else None
        for b in range(layers or config["num_layers"]):
            block = f"{name}.block.{b}.layer"
            y = self.norm(x, f"{block}.0.layer_norm")
            x = x + self.attention(y, y, f"{block}.0.SelfAttention", own, bias)
            if causal:
                y = self.norm(x, f"{block}.1.layer_norm")
                other = mask[:, None, :]
                x = x + self.attention(y, memory, f"{block}.1.EncDecAttention", other, None)
            last = f"{block}.{2 if causal else 1}"
            y = self.norm(x, f"{last}.layer_norm")
            if f"{last}.mlp.router.classifier.weight" in self.tensors:
                x = x + self.mixture(y, f"{last}.mlp", (name, b))
            else:
                x = x + self.feed_forward(y, f"{last}.mlp")
        return self.norm(x, f"{name}.final_layer_norm")

    def norm(self, x, name):
        mean = np.mean(np.square(x), -1, keepdims=True)
        scale = self.tensors[f"{name}.weight"]
        return x / np.sqrt(mean + np.float32(self.config["layer_norm_epsilon"])) * scale

    def attention(self, queries, keys, name, mask, bias):
        """No division by the root of the head's size; `mask` is `[B or 1, Q or 1, K]`."""
        q, k, v = (
            x @ self.tensors[f"{name}.{letter}.weight"].T
            for x, letter in ((queries, "q"), (keys, "k"), (keys, "v"))
        )
        size, heads = self.config["d_kv"], []
        for h in range(self.config["num_heads"]):
            part = slice(h * size, (h + 1) * size)
            scores = q[..., part] @ np.swapaxes(k[..., part], 1, 2)
            if bias is not None:
                scores = scores + bias[:, :, h]
            heads.append(softmax(np.where(mask, scores, np.float32(-1e30))) @ v[..., part])
        return np.concatenate(heads, -1) @ self.tensors[f"{name}.o.weight"].T

    def position_bias(self, stack, length, causal):
        """`[T, T, H]`, of the table in the stack's first block."""
        name = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        config = self.config
        sizes = config["relative_attention_num_buckets"], config["relative_attention_max_distance"]
        buckets = [[bucket(k - q, *sizes, causal) for k in range(length)] for q in range(length)]
        return self.tensors[name][np.array(buckets)]

    def feed_forward(self, x, name):
        hidden = np.maximum(x @ self.tensors[f"{name}.wi.weight"].T, 0)
        return hidden @ self.tensors[f"{name}.wo.weight"].T

    def mixture(self, x, name, place):
        logits = x @ self.tensors[f"{name}.router.classifier.weight"].T
        probabilities = softmax(logits)
        experts = np.argmax(probabilities, -1)
        kept, outputs = np.zeros(experts.shape, bool), np.zeros_like(x)
        for row in range(x.shape[0]):
            waiting = dict.fromkeys(range(logits.shape[-1]), 0)
            for t in range(x.shape[1]):
                e = int(experts[row, t])
                waiting[e] += 1
                if waiting[e] <= self.config["expert_capacity"]:
                    kept[row, t] = True
                    y = self.feed_forward(x[row, t], f"{name}.experts.expert_{e}")
                    outputs[row, t] = probabilities[row, t, e] * y
        self.routing[place] = {"logits": logits, "experts": experts, "kept": kept}
        return outputs

    def losses(self, logits, labels):
        """Cross-entropy, and the z- and balance losses of each stack: blocks are pooled first."""
        found = {}
        picked = np.take_along_axis(log_softmax(logits), np.maximum(labels, 0)[..., None], -1)
        found["cross_entropy"] = -np.mean(picked[..., 0][labels != -100])
        for stack in ("encoder", "decoder"):
            blocks = [self.routing[place] for place in sorted(self.routing) if place[0] == stack]
            all_sparse = self.config[f"{stack}_sparse_step"] == 1
            found[f"{stack}_z_loss"] = found[f"{stack}_balance_loss"] = 0.0
            if not blocks or all_sparse:
                continue
            logits = np.concatenate([block["logits"] for block in blocks], 1)  # [B, n * T, E]
            size = logits.shape[-1]
            chosen = np.eye(size)[np.argmax(logits, -1)]
            found[f"{stack}_z_loss"] = np.mean(np.log(np.sum(np.exp(logits), -1)) ** 2)
            products = np.mean(chosen, 1) * np.mean(softmax(logits), 1)  # [B, E]
            found[f"{stack}_balance_loss"] = size**2 * np.mean(products)
        return found


def bucket(relative, num_buckets, max_distance, causal):
    """Bucket of one distance, key minus query."""
    begin, n = 0, num_buckets
    if causal:
        distance = max(-relative, 0)
    else:
        n //= 2
        begin, distance = (n if relative > 0 else 0), abs(relative)
    exact = n // 2
    if distance < exact:
        return begin + distance
    share = np.log(np.float32(distance / exact)) / np.float32(math.log(max_distance / exact))
    return begin + min(exact + int(share * np.float32(n - exact)), n - 1)


def softmax(x):
    x = np.exp(x - np.max(x, -1, keepdims=True))
    return x / np.sum(x, -1, keepdims=True)


def log_softmax(x):
    x = x - np.max(x, -1, keepdims=True)
    return x - np.log(np.sum(np.exp(x), -1, keepdims=True))
