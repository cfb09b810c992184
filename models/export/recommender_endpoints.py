"""What a SavedModel of a recommender offers."""


def recommender_endpoints(model):
    """Endpoints of a recommender for `export_saved_model`: `serve`.

        serve({column: values}) -> {task: `<float32>[B]`, or `[B, C]` of classes}

    Each column is `<float32, int64 or string>[B]`, as in training; one of lists is `[B, L]`, padded
    with the value for a missing one, or `<string>[B]` if it has a separator. The signature
    `serving_default` takes the columns as keyword arguments, by their names; in a name all but
    letters, digits, `_`, `.` and `-` becomes `_`.

    Args:
        model: a `MultiTaskRecommender`, or its `core` to serve encoded features.

    Raises:
        ValueError: a model that is not adapted.

    Example:

    >>> import tempfile
    >>> import tensorflow as tf
    >>> from moe_zoo.export import export_saved_model
    >>> from moe_zoo.layers import SharedBottom
    >>> from moe_zoo.models import MultiTaskRecommender
    >>> from moe_zoo.models.recommender.features import Category
    >>> from moe_zoo.models.recommender.tasks import BinaryTask
    >>> city = Category(vocabulary=["Rome", "Oslo"])
    >>> model = MultiTaskRecommender({"city": city}, [BinaryTask("click")], SharedBottom((8,)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_saved_model(model, folder, recommender_endpoints(model))
    ...     served = tf.saved_model.load(folder)
    ...     outputs = served.serve({"city": tf.constant(["Oslo", "Bath", ""])})
    >>> {name: tuple(values.shape) for name, values in outputs.items()}
    {'click': (3,)}
    """

    def serve(columns):
        return model(columns)

    return {"serve": (serve, [model.input_specs()])}
