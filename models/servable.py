"""Models that export all of their endpoints."""

import os
from typing import Any

import tensorflow as tf

from moe_zoo.export import export_litert, export_onnx, export_saved_model
from moe_zoo.validation import shown

WRITERS = {"onnx": export_onnx, "litert": export_litert}


class Servable:
    """Part of a Keras model that defines its endpoints and exports them.

    A subclass defines `endpoints`. This is no `keras.Model`: Keras changes the bases of functional
    models in place.
    """

    def endpoints(self) -> dict[str, tf.function]:
        """Return the functions that a SavedModel of this model offers, by name.

        Each has named inputs and default values, drops no tokens and changes no state; the first
        one is the default signature. `moe_zoo.export.endpoint` makes them.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define endpoints().")

    def modules(self) -> list[tf.Module]:
        """Return what the endpoints use apart from the model's own layers, such as a tokenizer."""
        return []

    def call_signature(self) -> list[Any] | None:
        """Return the input signature for formats that Keras writes; `None` leaves it to Keras."""
        return None

    def export(
        self,
        filepath: str | os.PathLike,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Write the model in a format that runs without this library.

        - `"tf_saved_model"`: a SavedModel with all `endpoints()`; see `moe_zoo.load_served`.
        - `"onnx"`: an ONNX file of the model's call; see `moe_zoo.export.export_onnx`.
        - `"litert"`: a LiteRT file of the model's call; see `moe_zoo.export.export_litert`.
        - Other formats are written by Keras' own `Model.export`.

        Args:
            filepath: `str` or path, the folder or file to write.
            format: `str`.
            verbose: `bool`, whether to print a message when the export is complete.
            input_signature: the signature for formats that Keras writes.
            **kwargs: options of the format, such as `opset` for `"onnx"`.

        Raises:
            ValueError: If `input_signature` is given for a format of this library, or the format's
                own function refuses the model.
        """
        if format != "tf_saved_model" and format not in WRITERS:
            if input_signature is None:
                input_signature = self.call_signature()
            super().export(filepath, format, verbose, input_signature, **kwargs)  # type: ignore[misc]
            return
        if input_signature is not None:
            raise ValueError(
                f"Expected no input_signature with format={shown(format)}, whose endpoints have "
                "signatures of their own. Received: input_signature. Leave it out."
            )
        if format == "tf_saved_model":
            export_saved_model(self, filepath, self.endpoints(), self.modules(), **kwargs)
        else:
            WRITERS[format](self, filepath, **kwargs)
        if verbose:
            print(f"Saved artifact at {str(filepath)!r}.")
