"""What all text models have in common: ids as inputs, a tokenizer, verbs that run in a graph."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.models.checks import as_ids, as_strings
from moe_zoo.models.one_replica import BuiltFromOneReplica
from moe_zoo.models.presets import find_preset
from moe_zoo.models.servable import Servable
from moe_zoo.models.some_batches import SomeBatches
from moe_zoo.models.tokenizers.sentencepiece_tokenizer import SentencepieceTokenizer
from moe_zoo.models.tokenizers.tokenizer import Tokenizer
from moe_zoo.routers import Router
from moe_zoo.validation import shown

AnyTokenizer = Tokenizer | SentencepieceTokenizer


class TextModel(Servable, SomeBatches, BuiltFromOneReplica, keras.Model):
    """A functional model of token ids with a tokenizer, which is copied as a whole.

    `tokenizer` may be assigned at any time. It is saved in `.keras` files and in SavedModels, and
    stands in no checkpoint of weights.

    Raises:
        ValueError: If the model is copied layer by layer, as `keras.models.clone_model` does: the
            copy would be a plain functional model, without what the class adds.
    """

    tokenizer: AnyTokenizer | None = None
    presets: dict[str, dict[str, Any]]  # sizes by name

    @classmethod
    def from_preset(cls, preset: str) -> Self:
        """Load a trained model of the zoo by its name. The zoo has none yet: see `from_sizes`.

        Args:
            preset: `str`.

        Raises:
            ValueError: If the name is unknown (the nearest names are given), or the zoo has no
                weights of this model, as is the case for all.
        """
        find_preset(cls.presets, preset)
        raise ValueError(
            f"Expected a preset with trained weights. Received: preset={shown(preset)}, of which "
            f"the zoo has the sizes only. Use {cls.__name__}.from_sizes({shown(preset)}, ...) for "
            "a new model of these sizes."
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "tokenizer":
            if value is not None:
                check_tokenizer(self, value)
            self.__dict__[name] = value  # Keras would put its tables into checkpoints
            self.__dict__.pop("_kept_functions", None)
        else:
            super().__setattr__(name, value)

    def modules(self) -> list:
        return [] if self.tokenizer is None else [self.tokenizer]

    def text_config(self) -> dict[str, Any]:
        """Return the part of the configuration that all text models have."""
        return {
            "name": self.name,
            "vocabulary_size": self.vocabulary_size,
            "tokenizer": self.tokenizer and keras.saving.serialize_keras_object(self.tokenizer),
        }

    def traced(self, make: Callable[[], tf.function]) -> tf.function:
        """Return `make()`, or what it returned before if the model has not changed since.

        A graph holds the variables, the tokenizer and the settings of routers of its tracing.

        Args:
            make: method without arguments that returns a `tf.function`.
        """
        variables = [variable.value for variable in self.variables]
        settings = [x.get_config() for x in self._flatten_layers() if isinstance(x, Router)]
        kept: tuple[list, list, dict[str, tf.function]] | None
        kept = self.__dict__.get("_kept_functions")
        if (
            kept is None
            or len(kept[0]) != len(variables)
            or any(a is not b for a, b in zip(kept[0], variables, strict=True))
            or kept[1] != settings
        ):
            kept = variables, settings, {}
            self.__dict__["_kept_functions"] = kept  # which Keras is not to track
        functions = kept[-1]
        if make.__name__ not in functions:
            functions[make.__name__] = make()
        return functions[make.__name__]

    def _run_through_graph(
        self, inputs: Any, operation_fn: Any = lambda operation: operation, call_fn: Any = None
    ) -> Any:
        # Of those who run through the graph only `clone_model` makes another model of what it gets.
        if getattr(operation_fn, "__module__", None) == keras.models.clone_model.__module__:
            name = type(self).__name__
            raise ValueError(
                f"Expected a {name} to be copied as a whole. Received: {shown(self.name)} "
                "layer by layer, as keras.models.clone_model does, which would give a plain "
                f"functional model. Use {name}.from_config(model.get_config()) for a model "
                "with new weights, copy.deepcopy(model) for one with the same, or "
                "keras.Model(model.inputs, outputs) for one of its layers."
            )
        return super()._run_through_graph(inputs, operation_fn, call_fn)

    def _convert_inputs_to_tensors(self, flat_inputs: Any) -> Any:
        ids = [x if x is None else as_ids(x) for x in flat_inputs]
        return super()._convert_inputs_to_tensors(ids)


# Keras changes the bases of a functional model in place when the first one is made, and fails where
# it reaches one class by two ways: a subclass gets `TextModel` from another base.
if TYPE_CHECKING:
    PartOfTextModel = TextModel
else:
    PartOfTextModel = object


def revived_tokenizer(config: dict[str, Any]) -> dict[str, Any]:
    """Return a model's configuration with a tokenizer in place of its configuration."""
    tokenizer = config.get("tokenizer")
    if isinstance(tokenizer, dict):
        tokenizer = keras.saving.deserialize_keras_object(tokenizer)
    return {**config, "tokenizer": tokenizer}


def named(name: str, dtype: tf.DType, rank: int) -> tf.TensorSpec:
    """Return the specification of an endpoint's input, of any size."""
    return tf.TensorSpec([None] * rank, dtype, name)


def rows_of_embedding(vocabulary_size: int | None, tokenizer: AnyTokenizer | None) -> int:
    """Return the vocabulary's size, the tokenizer's if it is not given.

    Raises:
        ValueError: If neither is given.
    """
    if vocabulary_size is not None:
        return vocabulary_size
    if tokenizer is None:
        raise ValueError(
            "Expected vocabulary_size or a tokenizer. Received: vocabulary_size=None, "
            "tokenizer=None. Give one of them."
        )
    return tokenizer.vocabulary_size


def check_tokenizer(model: TextModel, tokenizer: AnyTokenizer) -> None:
    """Raise `ValueError` unless a tokenizer has the model's vocabulary and padding."""
    if isinstance(tokenizer, type) or not hasattr(tokenizer, "vocabulary_size"):
        raise ValueError(
            f"Expected a Tokenizer or a SentencepieceTokenizer. Received: "
            f"tokenizer={shown(tokenizer)}. Make one, or load it: Tokenizer.load(path)."
        )
    if tokenizer.vocabulary_size != model.vocabulary_size:
        raise ValueError(
            f"Expected a vocabulary of {model.vocabulary_size} pieces, as the model has. Received: "
            f"tokenizer.vocabulary_size={tokenizer.vocabulary_size}. Use the one that it was "
            "trained with."
        )
    if model.pad_id is None:
        return
    if tokenizer.pad_id != model.pad_id:
        raise ValueError(
            f"Expected padding by pad_id={model.pad_id}, as the model has it. Received: "
            f"tokenizer.pad_id={tokenizer.pad_id}. Give the model this pad_id."
        )
    if tokenizer.begin_id == model.pad_id and not getattr(model, "begins_with_padding", True):
        raise ValueError(
            "Expected texts that begin with a token. Received: tokenizer.begin_id="
            f"{tokenizer.begin_id}, which is padding to the model. Give the model "
            "begins_with_padding=True."
        )


def texts_in(values: Any) -> tuple[tf.Tensor | None, bool]:
    """Tell texts from ids.

    Args:
        values: `str`, `<string>[B]` as a list, an array or a tensor, or ids in any form.

    Returns:
        `(texts, single)`: `<string>[B]`, or `None` for ids; and whether there was one `str`.
    """
    single = isinstance(values, str | bytes) or getattr(values, "shape", None) == ()
    if isinstance(values, list | tuple):
        is_text = bool(values) and all(isinstance(x, str | bytes) for x in values)
    elif isinstance(values, np.ndarray):
        is_text = values.dtype.kind in "USO"
    else:
        is_text = isinstance(values, str | bytes) or getattr(values, "dtype", None) == tf.string
    if not is_text:
        return None, False
    return as_strings(tf.reshape(values, [1]) if single else values, "texts"), single


def require_tokenizer(model: TextModel) -> AnyTokenizer:
    """Return the model's tokenizer, which texts need.

    Raises:
        ValueError: If it has none.
    """
    if model.tokenizer is None:
        raise ValueError(
            f"Expected token ids, since {shown(model.name)} has no tokenizer. Received: texts. "
            "Assign the tokenizer of its training first: model.tokenizer = Tokenizer.load(path)."
        )
    return model.tokenizer


def strings(tensor: tf.Tensor, single: bool) -> str | list[str]:
    """Return a tensor of texts as Python strings, or as one if `single`."""
    texts = [text.decode("utf-8", "replace") for text in tensor.numpy()]
    return texts[0] if single else texts
