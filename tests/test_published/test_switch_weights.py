"""Published Switch Transformers: what is loaded computes what the paper-and-pencil model does."""

import json
import warnings

import numpy as np
import pytest
import tensorflow as tf

import switch_checkpoints as checkpoints
from conftest import full_disk
from moe_zoo.layers import MoE
from moe_zoo.models import (
    TransformerSeq2Seq,
)
from moe_zoo.models.published import pooled_balance_loss
from moe_zoo.models.tokenizers.tokenizer import Tokenizer
from moe_zoo.models.tokenizers.vocabulary import SPECIAL_PIECES
from moe_zoo.routers import SwitchRouter
from moe_zoo.scopes import record_plans
from reference.switch import SwitchReference
from sentencepiece_models import toy_model

SOURCE, TARGET = 23, 11
UNTIED = {"tie_word_embeddings": False}
ALL_SPARSE = {"encoder_sparse_step": 1, "decoder_sparse_step": 1}
CASES = {  # changes of the config, what the tensors are, how they are written
    "tied": ({}, {}, {}),
    "overflow": ({"expert_capacity": 2}, {}, {}),
    "all blocks sparse": (ALL_SPARSE, {}, {}),
    "no block sparse": ({"encoder_sparse_step": 0, "decoder_sparse_step": 0}, {}, {}),
    "a head of its own": (UNTIED, {"untied": "shared"}, {}),
    "three tables": (UNTIED, {"untied": "separate"}, {}),
    "shards": ({}, {}, {"shards": 3}),
    "bfloat16": ({}, {}, {"dtype": "bfloat16"}),
}
NOT_KEPT = {  # numbers that the steps overrule, and what no layer has
    "all blocks sparse": {"num_sparse_encoder_layers", "num_sparse_decoder_layers"},
    "no block sparse": {
        "num_sparse_encoder_layers",
        "num_sparse_decoder_layers",
        "num_experts",
        "router_jitter_noise",
    },
}
# Releases from 5.0 on look for them if the head is not tied.
TABLES = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}


def batch(seed=1):
    """Tokens `[3, S]` and `[3, T]`; two sources are padded."""
    draw = np.random.default_rng(seed)
    source = draw.integers(2, 97, (3, SOURCE)).astype("int32")
    target = draw.integers(2, 97, (3, TARGET)).astype("int32")
    source[1, 19:] = source[2, 5:] = target[:, 0] = 0
    return source, target


def written(folder, case="tied", aliases=False):
    """A checkpoint's folder, its config, and its tensors as float32."""
    changes, kind, form = CASES[case]
    config = checkpoints.SMALL | changes
    tensors = checkpoints.random_tensors(config, **kind)
    stored = checkpoints.copied_aliases(tensors) if aliases else tensors
    checkpoints.write_checkpoint(folder, config, stored, **form)
    dtype = checkpoints.dtype_of(form.get("dtype", "float32"))
    return config, {name: x.astype(dtype).astype("float32") for name, x in tensors.items()}


def plans_of(model, source, target, **options):
    """Logits and the plans by (stack, block)."""
    with record_plans() as plans:
        logits = model({"source": source, "target": target}, **options)
    found = {}
    for stack in ("encoder", "decoder"):
        for b, block in enumerate(getattr(model, stack).blocks):
            if isinstance(block.feed_forward, MoE):
                found[stack, b] = plans[block.feed_forward.path]
    return np.asarray(logits), found


@pytest.mark.parametrize("case", CASES)
def test_logits_choices_and_drops_are_those_of_the_reference(case, tmp_path):
    config, tensors = written(tmp_path, case)
    source, target = batch()
    model, reference = (
        TransformerSeq2Seq.from_huggingface(tmp_path),
        SwitchReference(tensors, config),
    )
    states, expected = reference.forward(source, target, source != 0)
    logits, plans = plans_of(model, source, target)
    assert plans.keys() == reference.routing.keys()
    for place, plan in plans.items():
        routing = reference.routing[place]
        np.testing.assert_array_equal(plan.experts[:, 0], routing["experts"])
        np.testing.assert_array_equal(plan.kept[:, 0], routing["kept"])
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    encoded = model.encoder(model.embedding(source), mask=source != 0)
    np.testing.assert_allclose(encoded, states, atol=1e-4)
    if case == "overflow":
        assert sum(np.sum(~np.asarray(plan.kept)) for plan in plans.values()) > 50

    model.save_huggingface(tmp_path / "saved")
    stored = checkpoints.read_safetensors(tmp_path / "saved" / "model.safetensors")
    if case == "three tables":
        del tensors["shared.weight"]  # nobody reads it
    for name, x in tensors.items():
        np.testing.assert_array_equal(stored.pop(name), x)
    extra = {"a head of its own": TABLES, "three tables": {"shared.weight"}}.get(case, set())
    assert stored.keys() == extra
    again = json.loads((tmp_path / "saved" / "config.json").read_text())
    for name in config.keys() - NOT_KEPT.get(case, set()):
        assert again[name] == config[name], name


def test_the_reference_notices_what_the_tests_are_to_find(tmp_path):
    """Without bias tables, or with norms of ones, it gives something else by far."""
    config, tensors = written(tmp_path)
    source, target = batch()
    _, expected = SwitchReference(tensors, config).forward(source, target, source != 0)
    for part in ("relative_attention_bias", "layer_norm"):
        changed = {name: x**0 if part in name else x for name, x in tensors.items()}
        _, logits = SwitchReference(changed, config).forward(source, target, source != 0)
        assert np.max(np.abs(logits - expected)) > 0.01


def test_aliases_may_stand_in_the_file_and_change_nothing(tmp_path):
    written(tmp_path / "without")
    written(tmp_path / "with", aliases=True)
    first, second = (
        TransformerSeq2Seq.from_huggingface(tmp_path / name) for name in ("without", "with")
    )
    compare_weights(first, second)
    assert second.head is None and second.decoder_embedding is second.embedding


def test_losses_are_the_originals(tmp_path):
    """The z-loss by our layers' losses, the balance loss by pooling what was recorded."""
    quiet = {"dropout_rate": 0.0, "router_jitter_noise": 0.0, "num_decoder_layers": 4}
    config = checkpoints.SMALL | quiet | {"router_z_loss_coef": 0.03, "router_aux_loss_coef": 0.07}
    config["expert_capacity"] = 2
    tensors = checkpoints.random_tensors(config)
    checkpoints.write_checkpoint(tmp_path, config, tensors)
    source, target = batch()
    reference = SwitchReference(tensors, config)
    _, logits = reference.forward(source, target, source != 0)
    expected = reference.losses(logits, target)
    model = TransformerSeq2Seq.from_huggingface(tmp_path)
    ours, plans = plans_of(model, source, target, training=True)
    np.testing.assert_allclose(ours, logits, atol=1e-4)
    for stack in ("encoder", "decoder"):
        own = [plan for (name, _), plan in plans.items() if name == stack]
        balance = pooled_balance_loss(own)
        np.testing.assert_allclose(balance, expected[f"{stack}_balance_loss"], rtol=1e-5)
        z_loss = sum(plan.losses["z_loss"] for plan in own)
        np.testing.assert_allclose(z_loss, 0.03 * expected[f"{stack}_z_loss"], rtol=1e-5)
        # Two blocks; each layer has half of the weight.
        weights = {block.feed_forward.router.balance_loss_weight for block in sparse(model, stack)}
        assert weights == {0.035}


def sparse(model, stack):
    return [x for x in getattr(model, stack).blocks if isinstance(x.feed_forward, MoE)]


def test_step_by_step_gives_the_same_unless_an_expert_overflows(tmp_path):
    config, _ = written(tmp_path)
    source, target = batch()
    model = TransformerSeq2Seq.from_huggingface(tmp_path)
    expected = model({"source": source, "target": target})
    states = model.initial_states(source, TARGET)
    for t in range(TARGET):
        logits, states = model.step(target[:, t], states, t)
        np.testing.assert_allclose(logits, expected[:, t], atol=1e-4)


def test_mixed_precision_keeps_weights_and_routers_in_float32(tmp_path):
    written(tmp_path, "bfloat16")
    model = TransformerSeq2Seq.from_huggingface(tmp_path, dtype="mixed_bfloat16")
    source, target = batch()
    logits, plans = plans_of(model, source, target)
    assert {w.dtype for w in model.trainable_variables} == {"float32"}
    assert {plan.probabilities.dtype.name for plan in plans.values()} == {"float32"}
    full = TransformerSeq2Seq.from_huggingface(tmp_path)({"source": source, "target": target})
    # Eight bits of mantissa, some ten roundings deep. A token near a tie may choose otherwise.
    assert np.median(np.abs(logits - np.asarray(full))) < 0.05


def test_a_loaded_model_has_the_initializers_of_a_new_one(tmp_path):
    written(tmp_path)
    model = TransformerSeq2Seq.from_huggingface(tmp_path)
    fresh = TransformerSeq2Seq.from_config(model.get_config())
    kernels = [model.encoder.blocks[0].attention.query.kernel for model in (model, fresh)]
    values = [np.std(np.asarray(kernel)) for kernel in kernels]
    assert values[0] != values[1] > 0
    compare_weights(model, clone(model))


def clone(model):
    twin = TransformerSeq2Seq.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    return twin


def compare_weights(first, second):
    first, second = first.trainable_variables, second.trainable_variables
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.slow
def test_a_loaded_model_is_served_with_its_vocabulary_inside(tmp_path):
    """By the published rule, fixed capacity included, and without this library's tokenizer file."""
    config = checkpoints.SMALL | {"vocab_size": 128, "expert_capacity": 1, "num_layers": 2}
    tensors = checkpoints.random_tensors(config, untied="shared")
    config["tie_word_embeddings"] = False
    checkpoints.write_checkpoint(tmp_path / "model", config, tensors)
    (tmp_path / "model" / "spiece.model").write_bytes(toy_model())
    model = TransformerSeq2Seq.from_huggingface(tmp_path / "model")
    assert model.tokenizer.vocabulary_size == 128  # that of spiece.model
    model.export(tmp_path / "served")
    served = tf.saved_model.load(tmp_path / "served")
    texts = ["the cat <extra_id_0> on", "cats"]
    found = served.translate(tf.constant(texts), max_new_tokens=6).numpy()
    assert [x.decode() for x in found] == model.translate(texts, max_new_tokens=6)
    source, target = batch()
    reference = SwitchReference(tensors, config)
    _, logits = reference.forward(source, target, source != 0)
    assert not all(np.all(block["kept"]) for block in reference.routing.values())
    np.testing.assert_allclose(served.serve(source, target), logits, atol=1e-4)


# === Saving ===


def test_saving_in_half_the_room_and_in_shards(tmp_path):
    _, tensors = written(tmp_path / "first")
    model = TransformerSeq2Seq.from_huggingface(tmp_path / "first")
    limit = 4000  # the shared table has 97 * 13 * 2 = 2522 bytes, the others fewer
    model.save_huggingface(tmp_path / "second", dtype="bfloat16", max_file_size=limit)
    index = json.loads((tmp_path / "second" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 2 * sum(x.size for x in tensors.values())
    assert index["weight_map"].keys() == tensors.keys()
    files = sorted({*index["weight_map"].values()})
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors" and len(files) > 5
    for file in files:
        stored = checkpoints.read_safetensors(tmp_path / "second" / file)
        assert sum(x.nbytes for x in stored.values()) <= limit
        for name, x in stored.items():
            assert index["weight_map"][name] == file
            np.testing.assert_array_equal(x, tensors[name].astype(x.dtype))
    again = TransformerSeq2Seq.from_huggingface(tmp_path / "second")
    for a, b in zip(model.trainable_variables, again.trainable_variables, strict=True):
        np.testing.assert_array_equal(a.numpy().astype(checkpoints.dtype_of("bfloat16")), b.numpy())


def test_weights_are_saved_merged_with_their_lora(tmp_path):
    written(tmp_path / "first")
    model = TransformerSeq2Seq.from_huggingface(tmp_path / "first")
    query = model.encoder.blocks[0].attention.query
    query.enable_lora(2)
    query.lora_kernel_b.assign(tf.ones_like(query.lora_kernel_b))
    model.save_huggingface(tmp_path / "second")
    again = TransformerSeq2Seq.from_huggingface(tmp_path / "second")
    kernel = again.encoder.blocks[0].attention.query.kernel
    np.testing.assert_array_equal(kernel, query.kernel)


def test_a_folder_in_use_is_replaced_whole_and_keeps_what_is_not_ours(tmp_path):
    written(tmp_path / "model", "shards")
    (tmp_path / "model" / "thesis.txt").write_bytes(b"words")
    model = TransformerSeq2Seq.from_huggingface(tmp_path / "model")
    model.save_huggingface(tmp_path / "model")
    names = ["config.json", "generation_config.json", "model.safetensors", "thesis.txt"]
    assert sorted(file.name for file in (tmp_path / "model").iterdir()) == names
    compare_weights(model, TransformerSeq2Seq.from_huggingface(tmp_path / "model"))
    assert [file.name for file in tmp_path.iterdir()] == ["model"]  # nothing temporary is left
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("")
    with pytest.raises(ValueError, match="new folder or an earlier checkpoint.*other files"):
        model.save_huggingface(tmp_path / "other")


def test_a_save_on_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    written(tmp_path / "model")
    model = TransformerSeq2Seq.from_huggingface(tmp_path / "model")

    with full_disk(3000), pytest.raises(OSError, match="too large"):  # room for the configuration
        model.save_huggingface(tmp_path / "model")
    compare_weights(model, TransformerSeq2Seq.from_huggingface(tmp_path / "model"))
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_models_of_another_form_are_refused(tmp_path):
    written(tmp_path)
    model = TransformerSeq2Seq.from_huggingface(tmp_path)
    config = model.get_config()
    config["attention"]["config"]["scale"] = None
    config["moe"]["config"]["router"]["config"]["expert_capacity"] = None
    other = TransformerSeq2Seq.from_config(config)
    with pytest.raises(ValueError, match=r"scale=1.*fixed capacity in each row.*Received: 'trans"):
        other.save_huggingface(tmp_path / "new")
    with pytest.raises(ValueError, match=r"(?s)published: attention with scale=1[^;]*Received"):
        other.save_huggingface(tmp_path / "new", expert_capacity=5)
    tokenizer = Tokenizer([*SPECIAL_PIECES, *map(chr, range(model.vocabulary_size - 3))])
    model.tokenizer = tokenizer
    with pytest.raises(ValueError, match=r"SentencepieceTokenizer. Received: 'trans.* a Tokenizer"):
        model.save_huggingface(tmp_path / "new")
    model.tokenizer = None
    with pytest.raises(ValueError, match="float32, float16, bfloat16. Received: dtype='int8'"):
        model.save_huggingface(tmp_path / "new", dtype="int8")
    with pytest.raises(
        ValueError, match="whole number of at least 1. Received: max_file_size='5GB'"
    ):
        model.save_huggingface(tmp_path / "new", max_file_size="5GB")
    with pytest.raises(ValueError, match="Received: expert_capacity=2.5"):
        model.save_huggingface(tmp_path / "new", expert_capacity=2.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the layers that stay as they are
        model.quantize("int8")
    with pytest.raises(ValueError, match="without quantization. .*attention/.* is in int8, for"):
        model.save_huggingface(tmp_path / "new")


def test_another_routing_rule_can_be_loaded_and_saved_by_naming_a_capacity(tmp_path):
    written(tmp_path / "first", "overflow")
    model = TransformerSeq2Seq.from_huggingface(
        tmp_path / "first", SwitchRouter(eval_capacity_factor=None)
    )
    _, plans = plans_of(model, *batch())
    assert all(np.all(plan.kept[:, 0] | ~plan.token_mask()) for plan in plans.values())
    with pytest.raises(ValueError, match="give expert_capacity for another rule"):
        model.save_huggingface(tmp_path / "second")
    model.save_huggingface(tmp_path / "second", expert_capacity=5)
    assert json.loads((tmp_path / "second" / "config.json").read_text())["expert_capacity"] == 5
    compare_weights(model, TransformerSeq2Seq.from_huggingface(tmp_path / "second"))


def test_what_the_form_cannot_express_is_refused(tmp_path):
    """Each would be another model after loading."""
    written(tmp_path / "first", "overflow")
    model = TransformerSeq2Seq.from_huggingface(tmp_path / "first")
    router = next(x for x in model._flatten_layers() if isinstance(x, SwitchRouter))
    router.batch_priority = True
    with pytest.raises(ValueError, match="published: SwitchRouter with top_k=1 and slots in the"):
        model.save_huggingface(tmp_path / "second")
    router.batch_priority = False
    model.encoder.blocks[0].attention.dropout.rate = 0.37
    with pytest.warns(UserWarning, match=r"one rate of dropout .* Received: \[0.*, 0\.37\]"):
        model.save_huggingface(tmp_path / "second")
    config = model.get_config()
    tables = type(model).from_config({**config, "share_embeddings": False, "tie_head": True})
    with pytest.raises(ValueError, match="one embedding for both stacks, or a head of its own"):
        tables.save_huggingface(tmp_path / "third", expert_capacity=5)
    assert not (tmp_path / "third").exists()
