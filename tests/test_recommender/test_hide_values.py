"""Values that are taken for unseen ones: what stays zero, and that zeros are trained."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.experts import MLPExperts
from moe_zoo.layers import MMoE
from moe_zoo.models import MultiTaskRecommender
from moe_zoo.models.recommender.features import Buckets, Category, Hashed, ListOf
from moe_zoo.models.recommender.features.hide_values import HideValues
from moe_zoo.models.recommender.features.row_embedding import NEAR_ZERO
from moe_zoo.models.recommender.tasks import BinaryTask

ROWS, IDS = 40, 5


def trained(rate=0.3):
    """A recommender of every feature with a table, and the core's tables after two epochs."""
    keras.utils.set_random_seed(0)
    ids = np.arange(ROWS) % IDS
    x = {"category": ids, "hashed": ids, "list": [[i, (i + 1) % IDS] for i in ids]}
    x["buckets"] = ids.astype("float32")
    features = {"category": Category(3), "hashed": Hashed(97, 3), "buckets": Buckets(3, 3)}
    features["list"] = ListOf(Category(3))
    model = MultiTaskRecommender(
        features, [BinaryTask("y")], MMoE(MLPExperts(2, (5,))), unseen_rate=rate
    )
    model.adapt(x)
    model.core.compile(keras.optimizers.Adam(0.02))
    encoded = model.encode(x)
    model.core.fit(encoded, {"y": (ids < 2).astype("float32")}, epochs=2, batch_size=8, verbose=0)
    return model, encoded


def test_rows_without_a_value_in_training_stay_near_zero_and_others_do_not():
    model, encoded = trained()
    for name, layer in model.core.embeddings.items():
        (table,) = layer.get_weights()
        seen = np.unique(encoded[name])
        unseen = np.setdiff1d(np.arange(len(table)), seen)
        size = np.abs(table).max(1)
        assert len(unseen) and size[unseen].max() <= NEAR_ZERO < size[seen].min() / 5, name


def test_a_share_of_values_is_zero_in_training_alone():
    layer, count = HideValues(0.25, seed=3), 4000
    inputs = [tf.ones([count, 2]), tf.ones([count, 3])]
    rows = [x.numpy() for x in layer(inputs, training=True)]
    assert all((x.min(1) == x.max(1)).all() for x in rows)  # whole values
    hidden = [x[:, 0] == 0 for x in rows]
    for share in (*map(np.mean, hidden), np.mean(hidden[0] == hidden[1])):
        # Five standard deviations of a share; both features agree in 0.25^2 + 0.75^2 of rows.
        expected = 0.25 if share < 0.5 else 0.625
        assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / count)
    assert (layer(inputs, training=True)[0].numpy() != rows[0]).any()  # drawn anew
    for off in (layer(inputs), HideValues(0.0)(inputs, training=True)):
        assert all((x.numpy() == 1).all() for x in off)
    with pytest.raises(ValueError, match=r"rate in \[0, 1\). Received: rate=1.0"):
        HideValues(1.0)


def test_the_rate_and_the_draws_are_saved(tmp_path):
    model, encoded = trained()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.unseen_rate == loaded.core.unseen_rate == 0.3
    mine, theirs = (m.core(encoded, training=True)["y"].numpy() for m in (model, loaded))
    np.testing.assert_array_equal(mine, theirs)
