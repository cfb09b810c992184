"""What a SavedModel of a text classifier offers."""

import tensorflow as tf

from moe_zoo.models.decoding.decode import check_vocabulary_size
from moe_zoo.models.decoding.generation import to_dense


def classifier_endpoints(model, tokenizer, labels=None, max_tokens=None):
    """Endpoints of a text classifier for `export_saved_model`: `serve`, `serve_text`.

        serve(tokens <int32>[B, T]) -> <float32>[B, C], logits of the classes.
        serve_text(text <string>[B]) -> `probabilities` <float32>[B, C] and `label`, the likeliest
            class of each text: <string>[B] with `labels`, else <int32>[B], its index.

    Args:
        model: a `TransformerClassifier`.
        tokenizer: of the model's vocabulary.
        labels: list of `str`, names of the classes, or `None`.
        max_tokens: `int` or `None`; what of a text lies beyond is left out.

    Raises:
        ValueError: the vocabulary is not of the model's size, or there are not as many labels as
            classes.
    """
    check_vocabulary_size(model, tokenizer)
    if labels is not None and len(labels) != model.num_classes:
        raise ValueError(
            f"Expected {model.num_classes} labels, one for each class. Received: labels={labels}. "
            "Give them in the order of the classes."
        )

    def serve(tokens):
        return tf.cast(model(tokens), tf.float32)

    def serve_text(text):
        ids = tokenizer.encode(text)[:, :max_tokens]
        logits = serve(to_dense(ids, least=1, fill=tokenizer.pad_id))
        label = tf.math.top_k(logits, 1).indices[:, 0]
        if labels is not None:
            label = tf.gather(tf.constant(labels), label)
        return {"probabilities": tf.nn.softmax(logits), "label": label}

    return {
        "serve": (serve, [tf.TensorSpec([None, None], tf.int32, "tokens")]),
        "serve_text": (serve_text, [tf.TensorSpec([None], tf.string, "text")]),
    }
