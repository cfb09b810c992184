import itertools
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_zoo.models.tokenizers.tokenizer import Tokenizer, train_vocabulary
from moe_zoo.training.text.corpus import Document
from moe_zoo.training.text.text_dataset import (
    encode_documents,
    evaluation_batches,
    language_model_batches,
)

DOCUMENTS = (Document("a", "def f():\n    return 1\n"), Document("b", ""), Document("c", "x = 2"))


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(train_vocabulary([document.text for document in DOCUMENTS] * 3, size=280))


def take(batches, count):
    """Inputs and targets of the next batches, `[count, B, T]` each."""
    inputs, targets = zip(*itertools.islice(batches.as_numpy_iterator(), count), strict=True)
    return np.stack(inputs), np.stack(targets)


class TestEncodeDocuments:
    def test_every_document_begins_with_its_mark(self, tokenizer):
        a, b, c = tokenizer.encode([document.text for document in DOCUMENTS]).to_list()
        tokens = encode_documents(tokenizer, DOCUMENTS)
        assert tokens.dtype == np.int32
        assert tokens.tolist() == [2, *a, 2, *b, 2, *c]

    def test_the_texts_come_back(self, tokenizer):
        tokens = encode_documents(tokenizer, DOCUMENTS)
        texts = tokenizer.decode(tf.RaggedTensor.from_row_starts(tokens, np.where(tokens == 2)[0]))
        assert [text.decode() for text in texts.numpy()] == [d.text for d in DOCUMENTS]

    def test_no_document(self, tokenizer):
        with pytest.raises(ValueError, match="one document or more"):
            encode_documents(tokenizer, [])


class TestLanguageModelBatches:
    def test_shapes_are_static_and_targets_one_ahead(self):
        batches = language_model_batches(np.arange(101), 3, 7, seed=0)
        assert [tuple(spec.shape) for spec in batches.element_spec] == [(3, 7), (3, 7)]
        assert {spec.dtype for spec in batches.element_spec} == {tf.int32}
        inputs, targets = take(batches, 20)
        assert np.array_equal(targets, (inputs + 1) % 101)  # the stream is a ring
        assert np.array_equal(np.diff(inputs, axis=2) % 101, np.ones([20, 3, 6]))

    @settings(max_examples=15)
    @given(st.integers(2, 5), st.integers(1, 7), st.integers(0, 90), st.integers(0, 2**40))
    def test_an_epoch_has_no_token_twice_and_misses_less_than_a_window(
        self, batch_size, length, more, seed
    ):
        count = batch_size * length + more
        windows = count // length
        batches = language_model_batches(np.arange(count), batch_size, length, seed)
        inputs, _ = take(batches, -(-2 * windows // batch_size))
        epochs = inputs.reshape(-1, length)[: 2 * windows].reshape(2, -1)
        for epoch in epochs:
            assert len(np.unique(epoch)) == len(epoch) > count - length

    def test_each_epoch_has_a_new_order_and_offset(self):
        batches = language_model_batches(np.arange(1009), 4, 5, seed=3)  # 201 windows an epoch
        inputs, _ = take(batches, 4 * 201 // 4)
        starts = inputs.reshape(4, 201, 5)[:, :, 0]
        offsets = {min(epoch) % 5 for epoch in starts}
        assert len(offsets) > 1
        orders = np.argsort(starts, axis=1)
        assert all(np.any(a != b) for a, b in itertools.combinations(orders, 2))

    def test_the_order_is_shuffled_well(self):
        inputs, _ = take(language_model_batches(np.arange(50_021), 10, 5, seed=1), 1000)
        starts = inputs.reshape(-1, 5)[:, 0]
        steps = np.diff(starts.astype(float))
        # Two uniform places of [0, 1) lie 1/3 apart on average, with variance 1/18: 10,000 pairs
        # have a standard error of 0.0024, and neighbours are correlated with about 1/sqrt(10,000).
        assert np.mean(np.abs(steps)) / 50_021 == pytest.approx(1 / 3, abs=0.01)
        assert abs(np.corrcoef(starts[:-1], starts[1:])[0, 1]) < 0.04

    @pytest.mark.parametrize("start", [0, 1, 13, 34, 35, 36, 200])
    def test_a_run_goes_on_where_it_was_cut_off(self, start):
        def batches(start_step):  # 137 windows an epoch: batches of 4 go over its end
            return language_model_batches(np.arange(691), 4, 5, seed=7, start_step=start_step)

        whole, resumed = take(batches(0), start + 40), take(batches(start), 40)
        for before, after in zip(whole, resumed, strict=True):
            assert np.array_equal(before[start:], after)

    def test_global_seeds_do_not_matter_but_its_own_does(self):
        results = []
        for seed, other in ((1, 5), (1, 6), (2, 5)):
            keras.utils.set_random_seed(other)
            results.append(take(language_model_batches(np.arange(691), 4, 5, seed), 50)[0])
        assert np.array_equal(results[0], results[1])
        assert not np.array_equal(results[0], results[2])

    def test_a_batch_costs_less_than_a_millisecond(self):
        batches = language_model_batches(np.arange(3_000_000) % 4001, 32, 64, seed=0)
        iterator = iter(batches)
        next(iterator)  # the first one draws the order of the epoch
        best = float("inf")
        for _ in range(5):  # the quickest of five rounds: other processes may be busy
            start = time.perf_counter()
            for _ in range(100):
                next(iterator)
            best = min(best, (time.perf_counter() - start) / 100)
        assert best < 1e-3

    def test_fit_goes_through_it(self):
        model = keras.Sequential([keras.layers.Embedding(11, 8), keras.layers.Dense(11)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.05), loss)
        batches = language_model_batches(np.arange(1009) % 11, 4, 8, seed=0)
        history = model.fit(batches, steps_per_epoch=20, epochs=3, shuffle=False, verbose=0).history
        assert history["loss"][-1] < 0.1  # the next token is a function of the last one

    def test_too_short_a_text(self):
        with pytest.raises(ValueError, match="at least 35 tokens.*5 windows of 7.*length 34"):
            language_model_batches(np.arange(34), 5, 7, seed=0)
        assert take(language_model_batches(np.arange(35), 5, 7, seed=0), 3)[0].shape == (3, 5, 7)

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"batch_size": 0}, "batch_size=0"),
            ({"sequence_length": -1}, "sequence_length=-1"),
            ({"seed": -1}, "seed=-1"),
            ({"start_step": -1}, "start_step=-1"),
        ],
    )
    def test_wrong_arguments_are_named(self, change, named):
        arguments = {"batch_size": 2, "sequence_length": 3, "seed": 0, **change}
        with pytest.raises(ValueError, match=named):
            language_model_batches(np.arange(100), **arguments)


class TestEvaluationBatches:
    @given(st.integers(2, 80), st.integers(1, 4), st.integers(1, 7))
    def test_every_token_but_the_first_is_a_target_once(self, count, batch_size, length):
        tokens = np.arange(1, count + 1)
        batches = evaluation_batches(tokens, batch_size, length)
        assert [tuple(spec.shape) for spec in batches.element_spec] == [(batch_size, length)] * 3
        arrays = [np.stack(a) for a in zip(*batches.as_numpy_iterator(), strict=True)]
        inputs, targets, weights = (array.reshape(-1) for array in arrays)
        kept = weights == 1
        assert np.array_equal(inputs[kept], tokens[:-1])
        assert np.array_equal(targets[kept], tokens[1:])
        assert np.all(weights[~kept] == 0) and np.all(targets[~kept] == 0)
        assert np.sum(~kept) < batch_size * length  # no batch of padding only

    def test_the_number_of_batches_is_known(self):
        batches = evaluation_batches(np.arange(100), 2, 7)
        assert int(batches.cardinality()) == 8  # ceil(99 / 14)

    def test_weighted_metrics_leave_the_filling_out(self):
        """Uniform predictions over 11 tokens have a cross-entropy of log 11, filling or not."""
        model = keras.Sequential([keras.layers.Embedding(11, 11, embeddings_initializer="zeros")])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        metric = keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="entropy")
        model.compile(loss=loss, weighted_metrics=[metric])
        logs = model.evaluate(
            evaluation_batches(np.arange(20) % 11, 3, 7), verbose=0, return_dict=1
        )
        assert logs["entropy"] == pytest.approx(np.log(11))
        assert logs["loss"] == pytest.approx(np.log(11) * 19 / 21)  # 19 targets in 21 places

    @pytest.mark.parametrize("count", [0, 1])
    def test_too_short_a_text(self, count):
        with pytest.raises(ValueError, match=f"at least 2 tokens.*length {count}"):
            evaluation_batches(np.arange(count), 2, 3)
