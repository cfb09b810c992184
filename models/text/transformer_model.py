"""What all Transformer models of texts have apart from their layers."""

from typing import Any, Self

import keras

from moe_zoo.models.transformer.dense_baseline import baseline_config
from moe_zoo.models.transformer.preset_layers import preset_layers
from moe_zoo.models.transformer.stack import TransformerStack
from moe_zoo.models.transformer.templates import revived_templates
from moe_zoo.quantizing import quantize_as, quantized_config
from moe_zoo.routers import Router

from .text_model import TextModel, revived_tokenizer


class TransformerModel(TextModel):
    """A functional model of Transformer stacks: its presets, configuration and dense baseline.

    A subclass names its `presets` and sets `embedding`, `vocabulary_size`, `width` and `pad_id`.
    """

    @classmethod
    def from_sizes(
        cls,
        preset: str,
        vocabulary_size: int | None = None,
        router: Router | None = None,
        num_experts: int | None = None,
        expert_dropout: float | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Make a new model of the sizes that the class's `presets` list, as `moe-zoo list` does.

        Args:
            preset: `str`, the name of the sizes.
            vocabulary_size: `int` or `None`; `None` is the `tokenizer`'s.
            router: a router in place of the preset's.
            num_experts: `int` in place of the preset's.
            expert_dropout: `float`, rate on the experts' hidden layer; `None` is `dropout`. Fedus
                et al. (2022) fine-tune with 0.4.
            dtype: Keras dtype policy of all layers; a router computes in float32 under each.
            **kwargs: further arguments of the constructor, such as `name`, `tokenizer` and a
                classifier's `num_classes`, and others in place of the preset's; `dropout` is that
                of attention and of the feed-forward layers too.

        Raises:
            ValueError: If the preset is unknown (the nearest names are given), or a router is given
                for a model without experts.
        """
        layers = preset_layers(
            cls.presets, preset, router, num_experts, expert_dropout, dtype, **kwargs
        )
        return cls(vocabulary_size, **layers)

    def dense_baseline(self) -> Self:
        """Return a new FLOP-matched model whose sparse blocks are dense.

        See `moe_zoo.models.transformer.dense_layer_like`.
        """
        return self.from_config(baseline_config(self.get_config()))

    def config_with(self, stack: TransformerStack) -> dict:
        """Return the part of the configuration that all models have.

        Args:
            stack: `TransformerStack` of the templates of all blocks.
        """
        return {
            **self.text_config(),
            "width": self.width,
            **stack.model_config(),
            "pad_id": self.pad_id,
            "embeddings_initializer": keras.initializers.serialize(
                self.embedding.embeddings_initializer
            ),
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            **quantized_config(self),
            "frozen": [x.path for x in self._flatten_layers(include_self=False) if not x.trainable],
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> Self:
        config = dict(config)
        frozen = set(config.pop("frozen", ()))
        quantized = config.pop("quantized", {})
        model = cls(**revived_tokenizer(revived_templates(config, custom_objects)))
        for layer in model._flatten_layers(include_self=False):
            if layer.path in frozen:
                layer.trainable = False
        quantize_as(model, quantized)
        return model
