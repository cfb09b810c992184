"""Sizes of the prebuilt models, as plain data.

`core_parameters` are those of all layers but the embedding and the softmax.
"""

from typing import Any

from moe_zoo.validation import did_you_mean, shown

# Shazeer et al. 2017, appendix C, tables 7 and 8: without biases, as the published counts are.
_PAPER: dict[str, Any] = {"width": 512, "use_bias": False, "activation": "sigmoid"}

LSTM_LANGUAGE_MODELS: dict[str, dict[str, Any]] = {
    "moe_4": {
        "description": "The paper's MoE-4: 4 experts, all of them used.",
        "core_parameters": 8_392_704,
        "sizes": {**_PAPER, "mixture": {"num_experts": 4, "hidden_dim": 1024, "top_k": 4}},
    },
    "moe_32": {
        "description": "The paper's MoE-32: 4 of 32 experts.",
        "core_parameters": 37_781_504,
        "sizes": {**_PAPER, "mixture": {"num_experts": 32, "hidden_dim": 1024, "top_k": 4}},
    },
    "moe_256": {
        "description": "The paper's MoE-256: 4 of 256 experts.",
        "core_parameters": 272_891_904,
        "sizes": {**_PAPER, "mixture": {"num_experts": 256, "hidden_dim": 1024, "top_k": 4}},
    },
    "moe_1_wide": {
        "description": "The paper's MoE-1-Wide: one dense layer as wide as 4 experts.",
        "core_parameters": 8_388_608,
        "sizes": {**_PAPER, "dense": [4096]},
    },
    "moe_1_deep": {
        "description": "The paper's MoE-1-Deep: four dense layers of one expert's size.",
        "core_parameters": 8_388_608,
        "sizes": {**_PAPER, "dense": [1024, 1024, 1024, 1024]},
    },
    "4xlstm": {
        "description": "The paper's 4xLSTM-512: two more LSTMs in place of the mixture.",
        "core_parameters": 8_388_608,
        "sizes": {"width": 512, "use_bias": False, "lstm_layers": 2},
    },
    "small_moe_32": {
        "description": "4 of 32 experts of 256 units at width 128: trains in minutes on a CPU.",
        "core_parameters": 2_380_800,
        "sizes": {
            "width": 128,
            "use_bias": True,
            "activation": "linear",
            "mixture": {"num_experts": 32, "hidden_dim": 256, "top_k": 4},
        },
    },
    "small_moe_1_wide": {
        "description": "The FLOP-matched dense baseline of small_moe_32: one layer of 1,024 units.",
        "core_parameters": 526_464,
        "sizes": {"width": 128, "use_bias": True, "activation": "linear", "dense": [1024]},
    },
}


def find_preset(presets: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the entry of a preset.

    Args:
        presets: `dict` of entries by name.
        name: `str`.

    Raises:
        ValueError: If there is no such preset; the nearest name is given.
    """
    if name in presets:
        return presets[name]
    raise ValueError(
        f"Expected one of {', '.join(presets)}. Received: preset={shown(name)}."
        f"{did_you_mean(name, presets) or ' See `moe-zoo list`.'}"
    )
