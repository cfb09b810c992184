"""Sizes of the Transformers, as plain data.

`core_parameters` are those without embedding and head, `active_core_parameters` those that one
token meets: one expert of each choice. For the published models `parameters` and
`active_parameters` are the same with embedding and head, at `vocabulary_size`. `router` is a class
of `moe_zoo.routers`, `routing` its arguments.
"""

from typing import Any

# Fedus et al. 2022, in the sizes of the published weights; capacities as these were trained.
_SWITCH: dict[str, Any] = {
    "num_layers": 12,
    "num_heads": 12,
    "head_dim": 64,
    "attention_scale": 1.0,
    "width": 768,
    "hidden_dim": 3072,
    "moe_every": 2,
    "dropout": 0.1,
    "init_scale": 0.1,
    "router": "SwitchRouter",
    "routing": {"capacity_factor": 1.25, "eval_capacity_factor": 2.0},
}
_SWITCH_LARGE = {
    **_SWITCH,
    "num_layers": 24,
    "num_heads": 16,
    "width": 1024,
    "hidden_dim": 4096,
}
_SWITCH_XXL = {
    **_SWITCH_LARGE,
    "num_heads": 64,
    "width": 4096,
    "hidden_dim": 10240,
    "gated": True,
    "activation": "gelu",
    "tie_head": False,
    "routing": {"capacity_factor": 1.25, "eval_capacity_factor": 4.0},
}
_SWITCH_C = {
    **_SWITCH,
    "num_layers": 15,
    "num_heads": 30,
    "width": 2080,
    "hidden_dim": 6144,
    "moe_every": 1,
    "tie_head": False,
    "routing": {"capacity_factor": 1.0, "eval_capacity_factor": 2.0},
}

# Lepikhin et al. 2021. Its 36 layers are read as 18 of the encoder and 18 of the decoder, half of
# them with experts: with 36 of each there would be 1.2e12 parameters in place of the paper's 6e11.
_GSHARD: dict[str, Any] = {
    "num_layers": 18,
    "num_heads": 16,
    "head_dim": 128,
    "width": 1024,
    "hidden_dim": 8192,
    "moe_every": 2,
    "dropout": 0.1,
    "router": "GShardRouter",
    "routing": {"capacity_factor": 1.0, "eval_capacity_factor": 1.0},
}

# Ours, for two cores of a CPU.
_SMALL: dict[str, Any] = {
    "num_layers": 4,
    "num_heads": 4,
    "width": 128,
    "hidden_dim": 512,
    "moe_every": 2,
    "init_scale": 0.1,
    "router": "SwitchRouter",
}
_SMALL_SEQ2SEQ = {**_SMALL, "num_layers": 2}

TRANSFORMER_SEQ2SEQS: dict[str, dict[str, Any]] = {
    "switch_base_8": {
        "description": "Switch-Base with 8 experts.",
        "vocabulary_size": 32128,
        "parameters": 619_339_008,
        "active_parameters": 222_977_280,
        "core_parameters": 594_664_704,
        "active_core_parameters": 198_302_976,
        "sizes": {**_SWITCH, "num_experts": 8},
    },
    "switch_base_16": {
        "description": "Switch-Base with 16 experts.",
        "vocabulary_size": 32128,
        "parameters": 1_072_397_568,
        "active_parameters": 223_051_008,
        "core_parameters": 1_047_723_264,
        "active_core_parameters": 198_376_704,
        "sizes": {**_SWITCH, "num_experts": 16},
    },
    "switch_base_32": {
        "description": "Switch-Base with 32 experts.",
        "vocabulary_size": 32128,
        "parameters": 1_978_514_688,
        "active_parameters": 223_198_464,
        "core_parameters": 1_953_840_384,
        "active_core_parameters": 198_524_160,
        "sizes": {**_SWITCH, "num_experts": 32},
    },
    "switch_base_64": {
        "description": "Switch-Base with 64 experts.",
        "vocabulary_size": 32128,
        "parameters": 3_790_748_928,
        "active_parameters": 223_493_376,
        "core_parameters": 3_766_074_624,
        "active_core_parameters": 198_819_072,
        "sizes": {**_SWITCH, "num_experts": 64},
    },
    "switch_base_128": {
        "description": "Switch-Base with 128 experts.",
        "vocabulary_size": 32128,
        "parameters": 7_415_217_408,
        "active_parameters": 224_083_200,
        "core_parameters": 7_390_543_104,
        "active_core_parameters": 199_408_896,
        "sizes": {**_SWITCH, "num_experts": 128},
    },
    "switch_base_256": {
        "description": "Switch-Base with 256 experts.",
        "vocabulary_size": 32128,
        "parameters": 14_664_154_368,
        "active_parameters": 225_262_848,
        "core_parameters": 14_639_480_064,
        "active_core_parameters": 200_588_544,
        "sizes": {**_SWITCH, "num_experts": 256},
    },
    "switch_large_128": {
        "description": "Switch-Large with 128 experts.",
        "vocabulary_size": 32128,
        "parameters": 26_309_291_008,
        "active_parameters": 740_813_824,
        "core_parameters": 26_276_391_936,
        "active_core_parameters": 707_914_752,
        "sizes": {**_SWITCH_LARGE, "num_experts": 128},
    },
    "switch_xxl": {
        "description": "Switch-XXL as it was trained: gated experts.",
        "vocabulary_size": 32128,
        "parameters": 394_675_073_024,
        "active_parameters": 11_147_915_264,
        "core_parameters": 394_411_880_448,
        "active_core_parameters": 10_884_722_688,
        "sizes": {**_SWITCH_XXL, "num_experts": 128},
    },
    "switch_c": {
        "description": "Switch-C as it was trained: 2,048 experts in every block.",
        "vocabulary_size": 32128,
        "parameters": 1_571_327_875_360,
        "active_parameters": 1_747_228_960,
        "core_parameters": 1_571_194_222_880,
        "active_core_parameters": 1_613_576_480,
        "sizes": {**_SWITCH_C, "num_experts": 2048},
    },
    "gshard_512": {
        "description": "GShard's 36 layers with 512 experts, two for each token.",
        "core_parameters": 155_383_329_792,
        "active_core_parameters": 1_368_486_912,
        "sizes": {**_GSHARD, "num_experts": 512},
    },
    "gshard_2048": {
        "description": "GShard's 36 layers with 2,048 experts, two for each token.",
        "core_parameters": 619_268_109_312,
        "active_core_parameters": 1_396_798_464,
        "sizes": {**_GSHARD, "num_experts": 2048},
    },
    "small_switch_8": {
        "description": "1 of 8 experts at width 128, sized for a CPU.",
        "core_parameters": 2_756_352,
        "active_core_parameters": 921_344,
        "sizes": {**_SMALL_SEQ2SEQ, "num_experts": 8, "routing": {}},
    },
    "small_switch_32": {
        "description": "1 of 32 experts at width 128, sized for a CPU.",
        "core_parameters": 9_053_952,
        "active_core_parameters": 927_488,
        "sizes": {**_SMALL_SEQ2SEQ, "num_experts": 32, "routing": {}},
    },
    "small_gshard_32": {
        "description": "2 of 32 experts of half the size at width 128.",
        "core_parameters": 4_859_648,
        "active_core_parameters": 927_488,
        "sizes": {
            **_SMALL_SEQ2SEQ,
            "num_experts": 32,
            "expert_dim": 256,
            "router": "GShardRouter",
            "routing": {},
        },
    },
    "small_dense": {
        "description": "The FLOP-matched dense baseline of the small ones.",
        "core_parameters": 919_296,
        "active_core_parameters": 919_296,
        "sizes": {**_SMALL_SEQ2SEQ, "num_experts": 0},
    },
}

TRANSFORMER_LANGUAGE_MODELS: dict[str, dict[str, Any]] = {
    "small_switch_8": {
        "description": "1 of 8 experts at width 128, sized for a CPU.",
        "core_parameters": 2_624_640,
        "active_core_parameters": 789_632,
        "sizes": {**_SMALL, "num_experts": 8, "routing": {}},
    },
    "small_switch_32": {
        "description": "1 of 32 experts at width 128, sized for a CPU.",
        "core_parameters": 8_922_240,
        "active_core_parameters": 795_776,
        "sizes": {**_SMALL, "num_experts": 32, "routing": {}},
    },
    "small_gshard_32": {
        "description": "2 of 32 experts of half the size at width 128.",
        "core_parameters": 4_727_936,
        "active_core_parameters": 795_776,
        "sizes": {
            **_SMALL,
            "num_experts": 32,
            "expert_dim": 256,
            "router": "GShardRouter",
            "routing": {},
        },
    },
    "small_dense": {
        "description": "The FLOP-matched dense baseline of the small ones.",
        "core_parameters": 787_584,
        "active_core_parameters": 787_584,
        "sizes": {**_SMALL, "num_experts": 0},
    },
}

# A classifier has the blocks of a language model: only positions and the causal mask differ.
TRANSFORMER_CLASSIFIERS = TRANSFORMER_LANGUAGE_MODELS
