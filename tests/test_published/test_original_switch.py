"""Loaded checkpoints against the original, Hugging Face's transformers in a process of its own.

`make test-original` sets it up. `MOE_ZOO_ORIGINAL` is the Python that has it: without it these
tests are skipped, and with it nothing is.
"""

import json
import os
import random
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import original_switch
import switch_checkpoints as checkpoints
from conftest import ROOT
from moe_zoo.layers import MoE
from moe_zoo.models import SentencepieceTokenizer, TransformerSeq2Seq
from moe_zoo.models.published import pooled_balance_loss
from moe_zoo.scopes import record_plans

PYTHON = os.environ.get("MOE_ZOO_ORIGINAL")
needs_original = pytest.mark.skipif(
    not PYTHON, reason="MOE_ZOO_ORIGINAL names no Python with transformers: make test-original"
)
SEPARATE = {"tie_word_embeddings": False}
ALL_SPARSE = {"encoder_sparse_step": 1, "decoder_sparse_step": 1}
CASES = {
    "tied, padded": ({}, "", {}),
    "overflow": ({"expert_capacity": 2}, "", {}),
    "all blocks sparse": (ALL_SPARSE, "", {}),
    "three tables, bfloat16, shards": (SEPARATE, "separate", {"dtype": "bfloat16", "shards": 3}),
}
SENTENCES = ["the cat sat on the mat.", "", "  ", "naïve ﬁnal\n\tline", "日本 <extra_id_0> to"]


def original(*arguments):
    command = [PYTHON, str(ROOT / "tests" / "original_switch.py"), *map(str, arguments)]
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ | quiet)
    assert run.returncode == 0, run.stderr[-3000:]


def batch():
    draw = np.random.default_rng(1)
    source, target, labels = (draw.integers(2, 97, (3, n)) for n in (23, 11, 11))
    source[1, 19:] = source[2, 5:] = target[:, 0] = 0
    labels[1, 7:] = -100
    return {"source": source, "mask": source != 0, "target": target, "labels": labels}


def of_original(folder, scratch):
    """What the original makes of a checkpoint: `dict` of arrays, and the batch."""
    given = batch()
    np.savez(scratch / "given.npz", **given)
    original("forward", folder, scratch / "given.npz", scratch / "found.npz")
    return given, dict(np.load(scratch / "found.npz"))


def compare(model, given, found, config):
    """States, logits, choices, drops and losses of a model with the original's."""
    source, target = (given[name].astype("int32") for name in ("source", "target"))
    with record_plans() as plans:
        logits = np.asarray(model({"source": source, "target": target}))
    np.testing.assert_allclose(logits, found["logits"], atol=1e-4)
    states = model.encoder(model.embedding(source), mask=given["mask"])
    np.testing.assert_allclose(states, found["states"], atol=1e-4)
    aux = config.get("router_aux_loss_coef", 0.001)
    z = config.get("router_z_loss_coef", 0.001)
    total, labels = cross_entropy(logits, given["labels"]), set()
    for stack in ("encoder", "decoder"):
        own = []
        for b, block in enumerate(getattr(model, stack).blocks):
            if isinstance(block.feed_forward, MoE):
                own.append(plan := plans[block.feed_forward.path])
                labels.add(f"{stack}.{b}")
                compare_routing(plan, found[f"{stack}.{b}.chosen"], found[f"{stack}.{b}.router"])
        if config[f"{stack}_sparse_step"] > 1:  # else the original has no losses
            balance = float(pooled_balance_loss(own))
            np.testing.assert_allclose(balance, found[f"{stack}_aux_loss"], atol=1e-4)
            total += aux * balance + z * float(found[f"{stack}_z_loss"])
    assert labels == {name.removesuffix(".chosen") for name in found if name.endswith(".chosen")}
    np.testing.assert_allclose(total, found["loss"], atol=1e-4)


def compare_routing(plan, chosen, logits):
    """`chosen` `[B, T, E]` is one-hot, and zero where the token was dropped."""
    first, second = np.sort(logits, -1)[..., ::-1][..., :2].transpose(2, 0, 1)
    assert np.min(first - second) > 1e-4, "a tie that rounding decides: take another seed"
    np.testing.assert_array_equal(plan.experts[:, 0], np.argmax(logits, -1))
    np.testing.assert_array_equal(plan.kept[:, 0], np.any(chosen, -1))
    exponentials = np.exp(logits - first[..., None])
    probabilities = exponentials / np.sum(exponentials, -1, keepdims=True)
    np.testing.assert_allclose(plan.probabilities, probabilities, atol=1e-4)


def cross_entropy(logits, labels):
    largest = np.max(logits, -1, keepdims=True)
    norm = largest[..., 0] + np.log(np.sum(np.exp(logits - largest), -1))
    picked = np.take_along_axis(logits, np.maximum(labels, 0)[..., None], -1)[..., 0]
    return np.mean((norm - picked)[labels != -100])


def greedy(model, source, count, cached):
    """Token by token with states, or over the whole text so far; end-of-text fills up with 0."""
    source = source.astype("int32")
    rows = np.zeros((len(source), 1), "int32")
    states = model.initial_states(source, count)
    ended = np.zeros(len(source), bool)
    for place in range(count):
        if cached:
            logits, states = model.step(rows[:, -1], states, place)
        else:
            logits = model({"source": source, "target": rows})[:, -1]
        token = np.where(ended, 0, np.argmax(logits, -1)).astype("int32")
        ended |= token == 1
        rows = np.concatenate([rows, token[:, None]], 1)
        if all(ended):
            break
    return rows


@needs_original
@pytest.mark.parametrize("case", CASES)
def test_loaded_model_is_the_original(case, tmp_path):
    changes, untied, form = CASES[case]
    config = checkpoints.SMALL | changes
    tensors = checkpoints.random_tensors(config, untied=untied)
    checkpoints.write_checkpoint(tmp_path / "model", config, tensors, **form)
    given, found = of_original(tmp_path / "model", tmp_path)
    model = TransformerSeq2Seq.from_huggingface(tmp_path / "model")
    compare(model, given, found, config)
    for way in ("cached", "uncached"):
        rows = greedy(model, given["source"], found[way].shape[1] - 1, way == "cached")
        np.testing.assert_array_equal(rows, found[way])


@needs_original
def test_what_the_original_saves_we_load_and_what_we_save_it_loads(tmp_path):
    config = checkpoints.SMALL | {"eos_token_id": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    original("make", tmp_path / "theirs", tmp_path / "config.json", 5)
    model = TransformerSeq2Seq.from_huggingface(tmp_path / "theirs")
    model.save_huggingface(tmp_path / "ours", max_file_size=20_000)
    for folder in ("theirs", "ours"):
        given, found = of_original(tmp_path / folder, tmp_path)
        compare(model, given, found, config)
    theirs = checkpoints.read_safetensors(tmp_path / "theirs" / "model.safetensors")
    for file in (tmp_path / "ours").glob("*.safetensors"):
        for name, x in checkpoints.read_safetensors(file).items():
            np.testing.assert_array_equal(x, theirs.pop(name))
    assert not theirs


@needs_original
def test_a_head_of_its_own_is_saved_so_that_the_original_shares_the_tables(tmp_path):
    """Releases from 5.0 on would draw the tables of both stacks at random."""
    config = checkpoints.SMALL | SEPARATE
    tensors = checkpoints.random_tensors(config, untied="shared")
    checkpoints.write_checkpoint(tmp_path / "first", config, tensors)
    model = TransformerSeq2Seq.from_huggingface(tmp_path / "first")
    assert model.decoder_embedding is model.embedding
    model.save_huggingface(tmp_path / "second")
    given, found = of_original(tmp_path / "second", tmp_path)
    compare(model, given, found, config)
    again = TransformerSeq2Seq.from_huggingface(tmp_path / "second")
    assert again.decoder_embedding is again.embedding


@needs_original
def test_tokenizer_is_the_originals(tmp_path):
    library = Path(sysconfig.get_path("stdlib"), "argparse.py").read_text(encoding="utf-8")
    corpus = library + "\nnaïve café ﬁn the cat sat on the mat\n" * 20
    (tmp_path / "corpus.txt").write_text(corpus, encoding="utf-8")
    original("train", tmp_path / "spiece", tmp_path / "corpus.txt", 500)
    draw = random.Random(7)
    parts = [
        "the",
        "cat",
        " ",
        "  ",
        "\n",
        "\t",
        "é",
        "ﬁ",
        "½",
        "日",
        "def ",
        "(x)",
        "<extra_id_",
        ">",
    ]
    parts += ["<extra_id_0>", "<extra_id_7>", "<extra_id_99>", "</s>", "<pad>", "<unk>"]
    texts = ["".join(draw.choices(parts, k=draw.randrange(12))) for _ in range(500)]
    texts += SENTENCES
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    original("tokenize", tmp_path, tmp_path / "texts.json", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    tokenizer = SentencepieceTokenizer.load(tmp_path / "spiece.model")
    ids = tokenizer.encode(texts)
    assert [[*row, 1] for row in ids.to_list()] == found["ids"]
    assert [text.decode() for text in tokenizer.decode(ids).numpy()] == found["texts"]


@pytest.mark.parametrize(
    ("release", "right"),
    [
        ((4, 51, 3), False),
        ((4, 52, 4), True),
        ((4, 57, 3), True),
        ((5, 0, 0), False),
        ((5, 17, 0), False),
        ((5, 18, 0), True),
        ((5, 23, 0), True),
    ],
)
def test_releases_that_route_wrongly_are_no_reference(release, right, monkeypatch):
    assert original_switch.is_right(release) == right
    monkeypatch.setattr(original_switch, "version", lambda: release)
    if right:
        original_switch.check_release()
    else:
        with pytest.raises(SystemExit, match="Expected transformers 5.18 or newer, or 4.52.4"):
            original_switch.check_release()


def test_the_original_is_never_imported_here():
    assert not {"torch", "transformers"} & sys.modules.keys()
