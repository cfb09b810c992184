"""Arguments of every class: NumPy's numbers, numbers that are none, texts in place of booleans."""

import importlib
import inspect
import json
import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.experts import MLPExperts
from moe_zoo.gates import SoftmaxGate
from moe_zoo.layers import CGC, MMoE, MoE
from moe_zoo.models.recommender.features import Category
from moe_zoo.models.recommender.tasks import BinaryTask, RegressionTask
from moe_zoo.models.transformer import Attention, FeedForward
from moe_zoo.routers import SwitchRouter
from moe_zoo.tensorboard import RoutingBounds, RoutingCallback
from moe_zoo.validation import (
    check_at_least,
    check_bool,
    check_factor,
    check_int,
    check_number,
    check_positive,
    check_rate,
    check_seed,
    check_share,
    check_sizes,
    shown,
)

PARTS = {  # what classes need besides numbers, made anew for each object
    "router": SwitchRouter,
    "experts": lambda: MLPExperts(4, (8,)),
    "task_experts": lambda: MLPExperts(2, (8,)),
    "shared_experts": lambda: MLPExperts(3, (8,)),
    "parts": lambda: [MLPExperts(2, (8,))],
    "attention": lambda: Attention(2),
    "feed_forward": lambda: FeedForward(8),
    "feature": Category,
    "features": lambda: {"city": Category(vocabulary=["Rome", "Oslo"])},
    "tasks": lambda: [BinaryTask("click"), RegressionTask("rating")],
    "mixing": lambda: MMoE(MLPExperts(2, (4,)), num_tasks=2),
    "of": lambda: ["click", "buy"],
    "middle": list,
    "name": lambda: "thing",
    "initializer": lambda: "zeros",
}
NUMBERS = {  # of arguments whose default is none, or which have none
    "top_k": 2,
    "num_experts": 4,
    "num_tasks": 2,
    "hidden_dim": 8,
    "hidden_dims": (8,),
    "levels": 2,
    "num_layers": 1,
    "num_heads": 2,
    "num_kv_heads": 1,
    "head_dim": 4,
    "vocabulary_size": 11,
    "width": 8,
    "num_classes": 3,
    "num_buckets": 8,
    "num_bins": 7,
    "input_dim": 5,
    "output_dim": 3,
    "factor": 0.5,
    "warmup_steps": 5,
    "peak_learning_rate": 0.25,
    "expert_capacity": 5,
    "group_size": 5,
    "seed": 3,
    "scale": 0.5,
    "max_length": 9,
    "max_size": 9,
    "sequence_length": 9,
    "num_decoder_layers": 1,
    "decoder_moe_every": 1,
    "mean": 0.5,
    "variance": 0.25,
    "gamma": 0.5,
    "boundaries": (0.5, 1.5),
}
NOT_TAKEN = {  # arguments of a base that the class itself fills in
    "CGC": {"levels"},
    "HeterogeneousExperts": {"num_experts"},
    "ProductTask": {"tower"},
    "TransformerStack": {"num_experts"},
}
PAIRED = {"mean", "variance"}  # one is refused without the other
OTHERS = {  # made of files or of other objects, or with Keras' own arguments alone
    *("Tokenizer", "SentencepieceTokenizer", "RecommenderCore"),
    *("RowEmbedding", "TokenEmbedding"),
}
INFINITE, NAN = float("inf"), float("nan")


def registered_classes():
    """Every class of moe_zoo that Keras saves by its name."""
    found = {}
    for prefix in ("moe_zoo", "moe_zoo.models", "moe_zoo.training"):
        folder = Path(importlib.import_module(prefix).__file__).parent
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join((prefix, *parts)).removesuffix(".__init__")
            source = path.read_text(encoding="utf-8")
            if (
                "@keras.saving.register_keras_serializable" not in source
                or name.count("moe_zoo") > 1
            ):
                continue
            module = importlib.import_module(name)
            for cls in vars(module).values():
                if inspect.isclass(cls) and cls.__module__ == name:
                    if keras.saving.get_registered_name(cls).startswith("moe_zoo>"):
                        found[cls.__name__] = cls
    return found


CLASSES = {name: cls for name, cls in registered_classes().items() if name not in OTHERS}


def arguments(cls):
    """Arguments of a class and its bases: `dict` of (a value that it takes, whether it has to)."""
    found = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("moe_zoo.") and "__init__" in vars(base):
            for name, parameter in inspect.signature(base.__init__).parameters.items():
                if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name != "self":
                    value = NUMBERS.get(name, parameter.default)
                    needed = parameter.default is parameter.empty or name in PAIRED
                    found[name] = PARTS.get(name, lambda v=value: v)(), needed
    return {name: x for name, x in found.items() if name not in NOT_TAKEN.get(cls.__name__, ())}


def make(cls, **changes):
    """An object of what it needs and of some arguments more."""
    needed = {name: value for name, (value, needed) in arguments(cls).items() if needed}
    return cls(**{**needed, **changes})


def plain(value):
    """Whether an argument is a number, a bool or several numbers."""
    several = value if isinstance(value, tuple) else (value,)
    return all(isinstance(each, bool | int | float) for each in several)


def settings(cls):
    """The arguments that are plain, by name."""
    return {name: value for name, (value, _) in arguments(cls).items() if plain(value)}


def as_numpy(value):
    """The same number in another type; a float as one that float32 holds exactly."""
    if isinstance(value, tuple):
        return tuple(map(as_numpy, value))
    kinds = {bool: np.bool_, int: np.int64, float: np.float32}
    return kinds[type(value)](value)


def as_plain(value):
    return tuple(map(as_plain, value)) if isinstance(value, tuple) else as_numpy(value).item()


@pytest.mark.parametrize("name", CLASSES)
def test_numpy_numbers_become_plain_ones(name):
    cls = CLASSES[name]
    given = settings(cls)
    of_numpy = make(cls, **{k: as_numpy(v) for k, v in given.items()})
    of_python = make(cls, **{k: as_plain(v) for k, v in given.items()})
    configs = [json.loads(json.dumps(x.get_config())) for x in (of_numpy, of_python)]
    for config in configs:
        config.pop("name", None)
    assert re.sub(r"_\d+", "", json.dumps(configs[0])) == re.sub(
        r"_\d+", "", json.dumps(configs[1])
    )


HOSTILE = {
    bool: ("False", "yes", 1, None),
    int: (NAN, 1.5, True, "3", 10**20, -(10**20), np.float32(2.0), [[]]),
    float: (NAN, INFINITE, -INFINITE, "0.5", True, np.float32(INFINITE), 10**400, [[]]),
}


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_no_number_is_refused_by_name(name):
    cls = CLASSES[name]
    unclear = []
    for argument, value in settings(cls).items():
        kind = type(value[0] if isinstance(value, tuple) else value) if value != () else int
        for hostile in HOSTILE[kind]:
            given = (hostile,) if isinstance(value, tuple) else hostile
            try:
                make(cls, **{argument: given})
                unclear.append(f"{argument}={shown(given)} was taken")
            except Exception as error:  # any other kind of error is a finding
                said = f"{argument}={shown(hostile)}"
                if not (isinstance(error, ValueError) and said in str(error)):
                    unclear.append(f"{argument}={shown(given)}: {error!r}"[:200])
    assert not unclear, "\n".join(unclear)


def test_a_model_of_numpy_numbers_is_saved_and_loaded(tmp_path):
    router = SwitchRouter(
        top_k=np.int64(2),
        capacity_factor=Fraction(4, 3),
        eval_capacity_factor=np.float32(1.25),
        route_padding=np.bool_(False),
        seed=np.uint8(5),
    )
    experts = MLPExperts(np.int16(3), [np.int64(5), 7], dropout=np.float64(0.1))
    model = keras.Sequential([keras.Input((11,)), MoE(router, experts, group_size=np.int32(4))])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].router.capacity_factor == 4 / 3
    x = tf.random.stateless_normal([13, 11], [1, 2])
    np.testing.assert_array_equal(model(x), loaded(x))


NUMBER, WHOLE = "finite number", "whole number"


@pytest.mark.parametrize(
    ("check", "good", "bad", "words"),
    [
        (lambda v: check_int("n", v, 2, 5), (2, np.int8(5)), (1, 6, 2.0, True, None), WHOLE),
        (lambda v: check_seed("n", v), (None, -1, np.uint32(7)), (0.5, 2**63, True), WHOLE),
        (lambda v: check_sizes("n", v, 1), ((3,), [np.int64(3)], 3), ((), "3", (0,)), "at least 1"),
        (lambda v: check_bool("n", v), (True, np.bool_(False)), (0, "no", None), "True or False"),
        (lambda v: check_number("n", v), (-1, Fraction(1, 3)), (NAN, Decimal(1), "1"), NUMBER),
        (lambda v: check_at_least("n", v, 0.5), (0.5, np.float16(2)), (0.4, INFINITE), NUMBER),
        (lambda v: check_positive("n", v), (1e-30, Fraction(1, 3)), (0, -1, NAN), NUMBER),
        (lambda v: check_factor("n", v), (None, Fraction(5, 4)), (0, INFINITE), "factor"),
        (lambda v: check_rate("n", v), (0, np.float32(0.5)), (1, -0.1, NAN, True), "rate in"),
        (lambda v: check_share("n", v), (0, 1, np.float32(0.5)), (1.1, -0.1, NAN), "share in"),
    ],
)
def test_checks_give_plain_numbers_or_name_the_value(check, good, bad, words):
    for value in good:
        json.dumps(check(value))
    for value in bad:
        with pytest.raises(ValueError, match=re.escape(words)) as raised:
            check(value)
        assert "Received: n=" in str(raised.value)


def test_bounds_of_the_callback_are_finite():
    for bounds in (RoutingBounds(load_cv=INFINITE), RoutingBounds(dropped_fraction=NAN)):
        with pytest.raises(ValueError, match="Received: (load_cv=inf|dropped_fraction=nan)"):
            RoutingCallback(bounds=bounds)


def nested(depth, width=9):
    """Aliases of aliases: `width ** depth` texts in `depth` lists."""
    value = ["lol"] * width
    for _ in range(depth):
        value = [value] * width
    return value


@pytest.mark.parametrize(
    "value",
    [
        nested(60),
        {"a": nested(60)},
        "x" * 10**7,
        b"x" * 10**7,
        10**6000,
        {i: i for i in range(9999)},
    ],
    ids=["lists", "dict of lists", "text", "bytes", "digits", "dict"],
)
def test_any_value_is_shown_at_once_on_one_line(value):
    assert len(shown(value)) <= 300
    assert "\n" not in shown(value)


def test_what_is_shown_is_as_python_writes_it():
    for value in (1, -2.5, None, True, "it's", ["a", (1,)], {"a": {"b": 1}}, b"\x00", INFINITE):
        assert shown(value) == repr(value)
    assert shown("\x1b[31m") == r"'\x1b[31m'"
    assert shown(np.zeros((2, 2))) == "array([[0., 0.],        [0., 0.]])"


# === Parts in a wrong place ===


@pytest.mark.parametrize(
    "make, words",
    [
        (
            lambda: MoE(MLPExperts(3, (4,)), SwitchRouter()),
            "class Router, such as SwitchRouter.*Received: router=<MLPExperts",
        ),
        (
            lambda: MoE(SwitchRouter, MLPExperts(3, (4,))),
            "Received: router=SwitchRouter, a class. Call the class",
        ),
        (
            lambda: MoE(SwitchRouter(), MLPExperts),
            "Received: experts=MLPExperts, a class. Call the class",
        ),
        (lambda: MMoE(SoftmaxGate(), MLPExperts(3, (4,))), "class Experts, such as MLPExperts"),
        (lambda: MMoE(MLPExperts(3, (4,)), SoftmaxGate), "gate=SoftmaxGate, a class"),
        (lambda: MMoE(MLPExperts(3, (4,)), SwitchRouter()), "class Gate, such as SoftmaxGate"),
        (lambda: CGC(MLPExperts(3, (4,)), SoftmaxGate()), "shared_experts=<SoftmaxGate"),
        (lambda: SwitchRouter(dtype="bfloat16"), "Received: dtype='bfloat16'. SwitchRouter always"),
        (lambda: SoftmaxGate(dtype="mixed_float16"), "Expected no dtype.*SoftmaxGate always"),
    ],
)
def test_parts_in_a_wrong_place_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_router_of_float32_is_what_it_is():
    config = SwitchRouter(dtype="float32").get_config()  # as files have it
    assert SwitchRouter.from_config(config).compute_dtype == "float32"
