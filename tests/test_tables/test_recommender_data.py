"""Rows in parts: splits, shuffling, batches, and what `fit` gets."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.training.datasets.synthetic_data import synthetic_data
from moe_zoo.training.tables.recommender_data import RecommenderData, data_in_memory
from moe_zoo.training.tables.row_readers import chain_readers, split_by_draws, split_by_files
from moe_zoo.training.tables.rows import Rows, batch_rows, draw_parts, join_rows, shuffle_rows

SHARES = {"train": 0.7, "validation": 0.2, "test": 0.1}


def numbered(count, first=0):
    places = np.arange(first, first + count)
    return Rows(
        {
            "x": places.astype(np.float64),
            "name": np.array([f"n{i}" for i in places], dtype=object),
            "tags": np.array([[f"t{i}"] * (1 + first % 2) for i in places], dtype=object),
        },
        {"y": (places % 2).astype(np.float64)},
    )


def pieces(total, size):
    return lambda: (numbered(min(size, total - i), i) for i in range(0, total, size))


def drawn_data(total=1000, size=37, seed=0):
    return RecommenderData(
        features={"x": {"kind": "number"}, "name": {"kind": "hashed"}, "tags": {"kind": "list"}},
        tasks={"y": {"kind": "binary"}},
        read=split_by_draws(pieces(total, size), seed, SHARES),
        description="numbered rows",
    )


def places_of(stream):
    return [int(x) for rows in stream for x in rows.features["x"]]


class TestSplit:
    def test_draws_depend_on_the_number_of_the_row_alone(self):
        whole = draw_parts(0, 10_000, SHARES.values(), seed=3)
        for first, count in [(0, 1), (17, 100), (9_999, 1)]:
            part = draw_parts(first, count, SHARES.values(), seed=3)
            np.testing.assert_array_equal(part, whole[first : first + count])

    def test_draws_have_their_shares_and_no_pattern(self):
        draws = draw_parts(0, 200_000, SHARES.values(), seed=1)
        shares = np.bincount(draws) / len(draws)
        # Standard error of a share s of n rows: sqrt(s (1 - s) / n) < 0.0011.
        np.testing.assert_allclose(shares, list(SHARES.values()), atol=0.005)
        train = (draws == 0).astype(float)
        for lag in (1, 2, 7):
            assert abs(np.corrcoef(train[lag:], train[:-lag])[0, 1]) < 0.01

    def test_seeds_differ(self):
        one, other = (draw_parts(0, 1000, (0.5, 0.5), seed) for seed in (0, 1))
        assert 0.4 < np.mean(one == other) < 0.6

    @pytest.mark.parametrize("size", [1, 37, 5000])
    def test_parts_are_disjoint_whole_and_the_same_in_any_pieces(self, size):
        data, reference = drawn_data(size=size), drawn_data(size=100)
        parts = {part: places_of(data.stream(part)) for part in SHARES}
        assert sorted(sum(parts.values(), [])) == list(range(1000))
        assert parts == {part: places_of(reference.stream(part)) for part in SHARES}
        assert data.rows == {part: len(places) for part, places in parts.items()}

    def test_wrong_shares(self):
        for shares in ({"train": 0.5, "test": 0.4}, {"train": 1.5, "test": -0.5}):
            with pytest.raises(ValueError, match="sum up to 1. Received: shares="):
                split_by_draws(pieces(1, 1), 0, shares)

    def test_files_of_other_parts_are_not_read(self):
        def broken():
            raise AssertionError

        train = (("train",), split_by_files({"train": broken}))
        rest = (
            ("validation", "test"),
            split_by_draws(pieces(9, 2), 0, {"validation": 0.5, "test": 0.5}),
        )
        read = chain_readers(train, rest)
        assert {part for part, _ in read(("test",))} == {"test"}
        with pytest.raises(AssertionError):
            list(read(("train",)))


class TestShuffle:
    @pytest.mark.parametrize("buffer_rows", [1, 7, 64, 10_000])
    def test_every_row_once_in_the_order_of_seed_and_epoch(self, buffer_rows):
        data = drawn_data()
        order = places_of(data.stream("train"))

        def epoch(seed, number):
            return places_of(data.batches("train", 16, seed, number, buffer_rows))

        orders = [epoch(1, 0), epoch(1, 1), epoch(2, 0)]
        assert all(sorted(places) == order for places in orders)
        assert len({tuple(places) for places in [order, *orders]}) == 4
        assert epoch(1, 0) == orders[0]

    def test_columns_of_a_row_stay_together(self):
        for rows in drawn_data().batches("train", 16, seed=0, buffer_rows=50):
            for i, x in enumerate(rows.features["x"].astype(int)):
                assert rows.features["name"][i] == f"n{x}"
                assert rows.features["tags"][i][0] == f"t{x}"
                assert rows.labels["y"][i] == x % 2

    def test_the_buffer_is_bounded_and_mixes(self):
        stream = shuffle_rows(pieces(10_000, 10)(), 1000, np.random.default_rng(0))
        lengths, places = zip(*((rows.length, rows.features["x"]) for rows in stream), strict=True)
        assert max(lengths) <= 1010
        order = np.concatenate(places)
        early = np.arange(10_000) - order  # no row comes out before the buffer has seen it
        assert early.min() > -1010 and early.max() > 1000
        assert abs(np.corrcoef(order % 500, np.arange(10_000) % 500)[0, 1]) < 0.1

    def test_a_stream_that_fits_in_the_buffer_comes_in_any_order(self):
        """Each of 3! orders of three rows comes as often, within five standard deviations."""
        orders = [
            tuple(places_of(shuffle_rows(pieces(3, 1)(), 100, np.random.default_rng(seed))))
            for seed in range(1200)
        ]
        counts = [orders.count(order) for order in set(orders)]
        assert len(counts) == 6
        assert max(abs(count - 200) for count in counts) < 5 * np.sqrt(1200 * 5 / 36)


class TestBatches:
    def test_sizes(self):
        lengths = [rows.length for rows in batch_rows(pieces(23, 5)(), 7)]
        assert lengths == [7, 7, 7, 2]
        assert places_of(batch_rows(pieces(23, 5)(), 7)) == list(range(23))

    def test_lists_of_other_lengths_are_joined(self):
        joined = join_rows([numbered(1, 0), numbered(2, 1)]).features["tags"]
        assert joined.tolist() == [["t0", ""], ["t1", "t1"], ["t2", "t2"]]

    def test_types(self):
        for data in (drawn_data(), drawn_data().in_memory()):
            features, labels = next(data.batches("train", 4))
            assert features["x"].dtype == labels["y"].dtype == np.float32
            assert features["name"].dtype == features["tags"].dtype == object

    def test_memory_gives_the_same(self):
        data = drawn_data()
        held = data.in_memory()
        for part in SHARES:
            assert places_of(held.stream(part)) == places_of(data.stream(part))
            assert held.whole(part).length == data.rows[part] == held.rows[part]

    def test_errors(self):
        data = drawn_data(total=3)
        with pytest.raises(ValueError, match="parts out of train.*'trian'. Did you mean 'train'"):
            data.batches("trian", 4)
        with pytest.raises(ValueError, match="batch_size=0"):
            data.batches("train", 0)
        empty = data_in_memory({}, {}, {"train": numbered(0)}, "nothing")
        for ask in (lambda: list(empty.batches("train", 4)), lambda: empty.whole("train")):
            with pytest.raises(ValueError, match="part='train' without one, of nothing"):
                ask()


class TestDataset:
    def test_it_holds_the_batches_and_knows_how_many(self):
        data = drawn_data()
        dataset = data.dataset("train", 64, seed=5, epoch=2)
        assert int(dataset.cardinality()) == data.steps("train", 64)
        batches = list(dataset)
        expected = list(data.batches("train", 64, seed=5, epoch=2))
        assert len(batches) == len(expected)
        for (features, labels), rows in zip(batches, expected, strict=True):
            np.testing.assert_array_equal(features["x"], rows.features["x"])
            np.testing.assert_array_equal(labels["y"], rows.labels["y"])
            names = [name.decode() for name in features["name"].numpy()]
            assert names == rows.features["name"].tolist()
            assert features["tags"].shape == rows.features["tags"].shape

    def test_endless_epochs_each_in_its_order(self):
        data = drawn_data()
        steps = data.steps("train", 64)
        taken = [
            f["x"].numpy() for f, _ in data.dataset("train", 64, 1, endless=True).take(2 * steps)
        ]
        epochs = [np.concatenate(part).tolist() for part in (taken[:steps], taken[steps:])]
        assert epochs[0] != epochs[1]
        assert epochs == [places_of(data.batches("train", 64, 1, epoch)) for epoch in (0, 1)]

    def test_fit_takes_it(self):
        data = synthetic_data(dim=3, rows={"train": 100, "validation": 20, "test": 20})
        inputs = {name: keras.Input((), name=name) for name in data.features}
        stacked = keras.layers.Concatenate()(
            [keras.ops.expand_dims(x, -1) for x in inputs.values()]
        )
        outputs = {name: keras.layers.Dense(1, name=name)(stacked) for name in data.tasks}
        model = keras.Model(inputs, outputs)
        model.compile("adam", loss=dict.fromkeys(data.tasks, "mse"))
        history = model.fit(
            data.dataset("train", 32, seed=0, endless=True),
            steps_per_epoch=data.steps("train", 32),
            validation_data=data.dataset("validation", 32),
            epochs=2,
            shuffle=False,
            verbose=0,
        )
        assert len(history.history["val_loss"]) == 2
        model.fit(data.dataset("train", 32, seed=0), shuffle=False, verbose=0)
        assert isinstance(data.dataset("train", 32), tf.data.Dataset)


def test_parts_of_the_synthetic_data_are_of_one_pair_of_tasks():
    rows = {"train": 3000, "validation": 1000, "test": 1000}
    data = synthetic_data(0.5, dim=4, variant="linear", seed=2, rows=rows)
    weights = []
    for part in rows:
        features, labels = data.whole(part)
        inputs = np.stack(list(features.values()), axis=1)
        weights.append(np.linalg.lstsq(inputs, labels["second"], rcond=None)[0])
    np.testing.assert_allclose(weights[0], weights[1], atol=1e-4)
    np.testing.assert_allclose(weights[0], weights[2], atol=1e-4)
    assert data.rows == rows
    assert "linear" in data.description and "0.5" in data.description
