"""Batches of examples of different lengths: all of them, in few shapes, in a repeatable order."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_zoo.models.tokenizers.tokenizer import Tokenizer, train_vocabulary
from moe_zoo.training.recipes.classifier.dataset import EncodedExamples, classifier_batches
from moe_zoo.training.recipes.translation.dataset import (
    EncodedPairs,
    encode_pairs,
    translation_batches,
)
from moe_zoo.training.text.batch_sampler import BatchSampler, cheapest_cuts
from moe_zoo.training.text.ragged_rows import RaggedRows, encode_texts
from tiny_texts import number_pairs

PAD, BEGIN, END = 0, 1, 2


@st.composite
def samplers(draw):
    sequences = draw(st.integers(1, 2))
    rows = st.lists(st.integers(1, 40), min_size=sequences, max_size=sequences)
    lengths = np.array(draw(st.lists(rows, min_size=1, max_size=150)))
    numbers = [draw(st.integers(*bounds)) for bounds in ((1, 400), (1, 7))]
    return BatchSampler(lengths, *numbers, seed=draw(st.sampled_from([None, 0, 5])))


@given(samplers())
def test_every_example_once_an_epoch_in_few_shapes(sampler):
    count = sampler.batches_per_epoch
    for epoch in range(2):
        batches = [sampler.batch(number) for number in range(epoch * count, (epoch + 1) * count)]
        places = np.concatenate([examples for _, examples in batches])
        assert sorted(places) == list(range(len(sampler.lengths)))
        assert len({(bucket.rows, bucket.lengths) for bucket, _ in batches}) <= sampler.num_buckets
        not_full = [bucket for bucket, examples in batches if len(examples) < bucket.rows]
        assert len(not_full) <= 1 and all(bucket == sampler.buckets[-1] for bucket in not_full)
        for bucket, examples in batches:
            assert np.all(sampler.lengths[examples] <= bucket.lengths)
            assert bucket.rows % 8 == 0
            assert bucket.rows * max(bucket.lengths) <= max(
                sampler.batch_tokens, 8 * max(bucket.lengths)
            )


@given(samplers(), st.integers(0, 1000))
def test_a_batch_is_a_function_of_its_number(sampler, number):
    again = BatchSampler(sampler.lengths, sampler.batch_tokens, sampler.num_buckets, sampler.seed)
    bucket, examples = again.batch(number)  # first of all
    sampler.batch(number // 2)
    assert sampler.batch(number)[0] == bucket
    np.testing.assert_array_equal(sampler.batch(number)[1], examples)


def test_epochs_and_seeds_have_orders_of_their_own():
    lengths = np.random.default_rng(0).integers(2, 30, (200, 2))
    orders = []
    for seed, epoch in itertools.product((0, 1), (0, 1)):
        sampler = BatchSampler(lengths, 128, 4, seed)
        numbers = range(epoch * sampler.batches_per_epoch, (epoch + 1) * sampler.batches_per_epoch)
        orders.append(tuple(np.concatenate([sampler.batch(number)[1] for number in numbers])))
    assert len(set(orders)) == 4
    still = BatchSampler(lengths, 128, 4)
    assert [tuple(still.batch(i)[1]) for i in range(3)] == [
        tuple(still.batch(i + still.batches_per_epoch)[1]) for i in range(3)
    ]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=9), st.integers(1, 4))
def test_cuts_are_the_cheapest_of_all(lengths, num_ranges):
    longest = np.sort(lengths)
    possible = [i for i in range(1, len(longest)) if longest[i - 1] != longest[i]]

    def room(cuts):
        starts = [0, *cuts[:-1]]
        return sum((b - a) * longest[b - 1] for a, b in zip(starts, cuts, strict=True))

    every = [
        [*chosen, len(longest)]
        for size in range(min(num_ranges, len(possible) + 1))
        for chosen in itertools.combinations(possible, size)
    ]
    found = cheapest_cuts(longest, longest, num_ranges)
    assert found in every and room(found) == min(map(room, every))


def test_padding_share_is_counted():
    sampler = BatchSampler(np.array([[2, 3]] * 7 + [[5, 5]] * 6), batch_tokens=24, num_buckets=2)
    # The 7 short ones do not fill 8 rows and go on to the long ones: 13 in two batches of 8 x 5, 5.
    assert sampler.batches_per_epoch == 2
    assert sampler.padding_share == pytest.approx(1 - (7 * 5 + 6 * 10) / (2 * 8 * 10))


@settings(max_examples=12)
@given(samplers())
def test_tokens_and_weights_of_pairs(sampler):
    """Every token of every pair is a label of weight 1 once, whatever the batch."""
    lengths = sampler.lengths if sampler.lengths.shape[1] == 2 else np.repeat(sampler.lengths, 2, 1)
    draw = np.random.default_rng(1)
    sides = [
        RaggedRows.from_lists(draw.integers(3, 99, size - 1) for size in lengths[:, side])
        for side in (0, 1)
    ]
    pairs = EncodedPairs(*sides, dropped=0, special=(PAD, BEGIN, END))
    sampler = BatchSampler(pairs.lengths, sampler.batch_tokens, sampler.num_buckets, sampler.seed)
    seen = []
    for inputs, labels, weights in translation_batches(pairs, sampler, endless=False):
        source, target = inputs["source"].numpy(), inputs["target"].numpy()
        labels, weights = labels.numpy(), weights.numpy()
        assert weights.dtype == np.float32
        for row in range(len(source)):
            count = int(weights[row].sum())
            assert np.array_equal(weights[row], np.arange(len(labels[row])) < count)
            assert np.all(labels[row, count:] == PAD)
            if not count:  # an empty row
                assert np.all(source[row] == PAD) and np.all(target[row] == PAD)
            else:
                assert labels[row, count - 1] == END and target[row, 0] == BEGIN
                assert np.array_equal(target[row, 1:count], labels[row, : count - 1])
                assert np.all(target[row, count:] == PAD)
                length = int(np.sum(source[row] != PAD))
                assert source[row, length - 1] == END
                seen.append((tuple(source[row, : length - 1]), tuple(labels[row, : count - 1])))
    rows = [
        [tuple(x.values[x.starts[i] : x.starts[i + 1]]) for i in range(len(lengths))] for x in sides
    ]
    assert sorted(seen) == sorted(zip(*rows, strict=True))


def test_batches_go_on_where_they_were_cut_off():
    draw = np.random.default_rng(2)
    tokens = RaggedRows.from_lists(draw.integers(3, 99, draw.integers(1, 20)) for _ in range(90))
    examples = EncodedExamples(tokens, np.arange(90, dtype=np.int32) % 3, shortened=0, pad=PAD)
    sampler = BatchSampler(examples.lengths, 100, 3, seed=4)
    whole = list(classifier_batches(examples, sampler).take(40))
    assert 40 > 2 * sampler.batches_per_epoch
    later = list(classifier_batches(examples, sampler, start_step=17).take(23))
    for expected, batch in zip(whole[17:], later, strict=True):
        for a, b in zip(expected, batch, strict=True):
            np.testing.assert_array_equal(a, b)
    assert sum(float(np.sum(weights)) for _, _, weights in whole[: sampler.batches_per_epoch]) == 90


def test_encoding_of_texts_and_of_pairs_that_are_too_long():
    pairs = [*number_pairs(23, seed=3), ("neun " * 40, "9"), ("neun", "9 " * 40), ("", "")]
    tokenizer = Tokenizer(train_vocabulary(["\n".join(a + b for a, b in pairs)], 300))
    encoded = encode_pairs(tokenizer, pairs, max_length=40)
    assert encoded.dropped == 2 and encoded.special == (0, 2, 2)
    for number, pair in enumerate([*pairs[:23], pairs[-1]]):
        for rows, text in zip((encoded.source, encoded.target), pair, strict=True):
            ids = rows.values[rows.starts[number] : rows.starts[number + 1]]
            assert ids.tolist() == tokenizer.encode([text]).to_list()[0]
    assert encode_texts(tokenizer, []).lengths.shape == (0,)
    with pytest.raises(ValueError, match="Received: 26 pairs, none of them so short"):
        encode_pairs(tokenizer, pairs[:23] + pairs[23:25] + [("a b c", "d e f")], max_length=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lengths": np.zeros((0, 2), int)}, r"Expected one example or more\. Received: none"),
        ({"batch_tokens": 0}, r"Received: batch_tokens=0"),
        ({"num_buckets": 0}, r"Received: num_buckets=0"),
    ],
)
def test_plans_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        BatchSampler(
            **{"lengths": np.ones((3, 1), int), "batch_tokens": 9, "num_buckets": 2, **options}
        )
