"""Rows in memory as batches for many epochs."""

import itertools

import numpy as np

from moe_zoo.training.recipes.recommender.encoded_rows import batches_of

X, Y = np.arange(7), np.arange(14.0).reshape(7, 2)


def epochs(count, **options):
    batches = batches_of(({"x": X}, {"y": Y}), 3, **options).as_numpy_iterator()
    found = list(itertools.islice(batches, 3 * count))
    return [
        np.concatenate([x["x"] for x, _ in found[3 * i : 3 * i + 3]]).tolist() for i in range(count)
    ]


def test_one_epoch_in_order():
    batches = list(batches_of(({"x": X}, {"y": Y}), 3))
    assert [len(x["x"]) for x, _ in batches] == [3, 3, 1]
    assert np.concatenate([x["x"] for x, _ in batches]).tolist() == X.tolist()


def test_every_epoch_has_its_own_order_and_all_rows():
    orders = epochs(3, seed=5)
    assert all(sorted(order) == X.tolist() for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert epochs(3, seed=6) != orders


def test_a_later_start_goes_on_with_the_same_orders():
    assert epochs(2, seed=5, epoch=1) == epochs(3, seed=5)[1:]


def test_labels_stay_with_their_rows():
    for x, y in itertools.islice(batches_of(({"x": X}, {"y": Y}), 3, seed=1), 6):
        np.testing.assert_array_equal(y["y"], Y[x["x"].numpy()])
