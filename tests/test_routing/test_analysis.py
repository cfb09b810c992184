"""What experts do with tokens and labels, against loops over both."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from moe_zoo import routing_stats
from moe_zoo.analysis import (
    RoutedTokens,
    count_labels,
    mutual_information,
    routed_tokens,
    top_labels,
)
from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import GShardRouter, SoftmaxRouter, SwitchRouter

B, T, D, E, L = 3, 5, 7, 4, 6
ROUTERS = {
    "switch": lambda: SwitchRouter(eval_capacity_factor=0.5, min_capacity=1),
    "gshard": lambda: GShardRouter(eval_capacity_factor=0.7, min_capacity=1),
    "dropless": lambda: GShardRouter(capacity_factor=None, eval_capacity_factor=None),
}


def rows(seed=0):
    return np.random.default_rng(seed).normal(size=(B, T, D)).astype("float32")


def mixture(router, **options):
    return MoE(router, FeedForwardExperts(E, 8), name="mixture", **options)


# === Routed tokens ===


def test_looking_counts_in_no_statistics():
    layer = mixture(SwitchRouter())
    layer(rows(), training=True)
    before = routing_stats(layer)["mixture"].steps, layer.statistics.result()
    routed_tokens(layer, rows())
    assert (routing_stats(layer)["mixture"].steps, layer.statistics.result()) == before
    assert routing_stats(layer, training=False)["mixture"].steps == 0


@pytest.mark.parametrize("group", [{}, {"group_size": 4}, {"group_by_row": True}])
@pytest.mark.parametrize("router", ROUTERS)
def test_the_output_is_what_the_kept_experts_make_of_each_token(router, group):
    """With the choices, gates and drops that are shown, one token after another."""
    layer, x = mixture(ROUTERS[router](), **group), rows()
    mask = np.ones((B, T), bool)
    mask[1, 3:] = False
    expected = layer(x, mask=tf.constant(mask), training=False).numpy().reshape(-1, D)
    found = routed_tokens(lambda_model(layer, mask), x)["mixture"]
    np.testing.assert_array_equal(found.real[: B * T], mask.reshape(-1))
    assert not np.any(found.real[B * T :])
    every = layer.experts(tf.tile(x.reshape(1, -1, D), [E, 1, 1])).numpy()  # [E, N, D]
    for n in range(B * T):
        total = np.zeros(D)
        for k in range(found.experts.shape[1]):
            if found.kept[n, k]:
                total += found.gates[n, k] * every[found.experts[n, k], n]
        np.testing.assert_allclose(total, expected[n], rtol=1e-4, atol=1e-5)
    assert np.any(~found.kept[: B * T][mask.reshape(-1)]) == (router != "dropless")


def lambda_model(layer, mask):
    """The layer under this mask, as a model that takes inputs alone."""

    class Masked(keras.layers.Layer):
        def call(self, x, training=None):
            return layer(x, mask=tf.constant(mask), training=training)

    return Masked()


def test_of_a_dense_mixture_the_experts_come_by_their_gates():
    layer, x = mixture(SoftmaxRouter()), rows()
    found = routed_tokens(layer, x)["mixture"]
    expected = tf.nn.softmax(layer.router.logits(x.reshape(1, -1, D)))[0].numpy()
    assert found.experts.shape == (B * T, E) and np.all(np.diff(found.gates, axis=1) <= 0)
    for n in range(B * T):
        assert sorted(found.experts[n]) == list(range(E))
        np.testing.assert_allclose(found.gates[n], expected[n, found.experts[n]], rtol=1e-5)


def test_every_layer_by_its_path_and_no_layer_is_an_error():
    model = keras.Sequential(
        [MoE(SwitchRouter(), FeedForwardExperts(E, 8), name=name) for name in ("first", "second")]
    )
    assert [path.split("/")[-1] for path in routed_tokens(model, rows())] == ["first", "second"]
    with pytest.raises(ValueError, match="Received: 'dense', which calls none"):
        routed_tokens(keras.layers.Dense(3, name="dense"), rows())


def test_a_table_has_a_row_for_each_choice_of_real_tokens():
    experts = np.array([[0, 2], [1, 4], [4, 4], [3, 1]])  # 4 is none
    gates = np.arange(8, dtype="float32").reshape(4, 2)
    kept = np.array([[True, False], [True, False], [False, False], [True, True]])
    real = np.array([True, True, False, False])
    found = RoutedTokens(experts, gates, kept, real, 4)
    table = found.table({"word": [["a", "b"], ["c", "d"]]})
    columns = {name: values.tolist() for name, values in table.items()}
    assert columns == {
        "token": [0, 0, 1],
        "choice": [0, 1, 0],
        "expert": [0, 2, 1],
        "gate": [0.0, 1.0, 2.0],
        "kept": [True, False, True],
        "word": ["a", "a", "b"],
    }
    assert found.table({"word": ["a", "b"]})["word"].tolist() == [
        "a",
        "a",
        "b",
    ]  # the rest is filling
    with pytest.raises(ValueError, match=r"each of 4 tokens\. Received: word with 1\. Give those"):
        found.table({"word": ["a"]})
    with pytest.raises(ValueError, match="Received: word with 5"):
        found.table({"word": list("abcde")})


# === Labels ===


@pytest.mark.parametrize("dropped", [False, True])
def test_counts_are_those_of_a_loop(dropped):
    layer = mixture(ROUTERS["gshard"]())
    found = routed_tokens(layer, rows())["mixture"]
    labels = np.random.default_rng(4).integers(0, L, (B, T))
    expected = np.zeros((L, E), int)
    for n, label in enumerate(labels.reshape(-1)):
        for k in range(2):
            if found.experts[n, k] < E and (dropped or found.kept[n, k]):
                expected[label, found.experts[n, k]] += 1
    np.testing.assert_array_equal(count_labels(found, labels, L, dropped), expected)
    assert expected.sum() == (2 * B * T if dropped else found.kept.sum())


def test_labels_that_are_no_numbers_of_labels():
    found = routed_tokens(mixture(SwitchRouter()), rows())["mixture"]
    for wrong, text in ((-1, "from -1 to 0"), (L, f"from 0 to {L}")):
        labels = np.zeros(B * T, int)
        labels[3] = wrong
        with pytest.raises(ValueError, match=f"from 0 to {L - 1}. Received: labels {text}"):
            count_labels(found, labels, L)


@given(arrays.arrays(np.int64, (L, E), elements=st.integers(0, 9)), st.integers(1, L + 2))
def test_top_labels_are_those_of_a_loop(counts, count):
    table = top_labels(counts, count)
    expected = []
    for expert in range(E):
        order = sorted(range(L), key=lambda label: (-counts[label, expert], label))
        for rank, label in enumerate(order[:count]):
            if counts[label, expert]:
                expected.append((expert, rank, label, counts[label, expert]))
    names = ("expert", "rank", "label", "choices")
    assert list(zip(*(table[name].tolist() for name in names), strict=True)) == expected
    for e, _, label, choices, of_expert, of_label in zip(*table.values(), strict=True):
        assert of_expert == choices / counts[:, e].sum()
        assert of_label == choices / counts[label].sum()


# === Information ===


@given(arrays.arrays(np.int64, (L, E), elements=st.integers(0, 9)).filter(np.any))
def test_information_is_that_of_its_definition(counts):
    total, expected = counts.sum(), 0.0
    for label in range(L):
        for expert in range(E):
            if counts[label, expert]:
                both = counts[label, expert] / total
                apart = counts[label].sum() / total * counts[:, expert].sum() / total
                expected += both * np.log(both / apart)
    found = mutual_information(counts)
    assert found.nats == pytest.approx(expected, abs=1e-12) and found.nats >= 0
    assert 0 <= found.of_label <= 1
    np.testing.assert_allclose(mutual_information(counts.T).nats, found.nats, atol=1e-12)


def test_information_between_nothing_and_everything():
    independent = np.outer([1, 2, 3], [4, 5])
    assert mutual_information(independent).nats == pytest.approx(0, abs=1e-12)
    assert mutual_information(np.diag([3, 3, 3])).of_label == pytest.approx(1)
    assert mutual_information([[2, 5]]) == (0.0, 0.0, 0.0)  # one label: nothing to know
    for wrong in ([[0, 0]], [[-1, 3]]):
        with pytest.raises(ValueError, match="Expected counts of at least one choice"):
            mutual_information(wrong)


def test_what_chance_shows():
    """The mean over 400 draws of independent choices; its standard error is about 3 percent."""
    rng, total = np.random.default_rng(0), 500
    shares = np.outer(np.full(L, 1 / L), np.full(E, 1 / E)).reshape(-1)
    draws = rng.multinomial(total, shares, 400).reshape(-1, L, E)
    mean = np.mean([mutual_information(counts).nats for counts in draws])
    assert mean == pytest.approx((L - 1) * (E - 1) / (2 * total), rel=0.1)
    assert mutual_information(draws[0]).by_chance == (L - 1) * (E - 1) / (2 * total)
