"""Settings of recipes: a type, a default, a help text and a check for each field.

No Keras is imported here: the command makes its options of the settings.
"""

from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar

from moe_zoo.models.tokenizers.vocabulary import MINIMUM_SIZE
from moe_zoo.validation import (
    LARGEST_INT,
    LARGEST_SIZE,
    check_at_least,
    check_bool,
    check_factor,
    check_int,
    check_number,
    check_positive,
    check_rate,
    shown,
)

from .routers import ROUTERS_OR_DENSE

LARGEST_SEED = 2**32 - 1  # what Keras and NumPy both take
Check = Callable[[str, Any], Any]


def setting(
    default: Any, help: str, choices: Sequence[Any] | None = None, check: Check | None = None
) -> Any:
    """Make a dataclass field that the command line turns into an option.

    Args:
        default: Default of the field.
        help: Help text of the option.
        choices: Values that are allowed; `None` for all.
        check: Function of name and value that raises `ValueError` for a wrong value. It is not
            called for `None`.
    """
    return field(default=default, metadata={"help": help, "choices": choices, "check": check})


def with_default(
    kind: type,
    name: str,
    default: Any,
    choices: Sequence[Any] | None = None,
    help: str | None = None,
) -> Any:
    """Repeat a field of a base class with the default of one recipe.

    Args:
        kind: Settings that have the field.
        name: Name of the field.
        default: Default of this recipe.
        choices: Values that this recipe allows; `None` for those of the base class.
        help: Help text of this recipe; `None` for that of the base class.
    """
    (base,) = (x for x in fields(kind) if x.name == name)
    return setting(
        default,
        help or base.metadata["help"],
        choices or base.metadata["choices"],
        base.metadata["check"],
    )


def whole(least: int, most: int = LARGEST_SIZE) -> Check:
    """Make a check for an integer from `least` to `most`."""
    return lambda name, value: check_int(name, value, least, most)


def not_negative(name: str, value: Any) -> float:
    """Check that a number is at least 0."""
    return check_at_least(name, value, 0.0)


def above_zero(name: str, value: Any) -> float:
    """Check that a number is above 0."""
    return check_positive(name, value, "The default is common.")


def run_seed(name: str, seed: Any) -> int:
    """Check that a seed is from 0 to 2^32 - 1."""
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(
            f"Expected a seed from 0 to {LARGEST_SEED}. Received: {name}={shown(seed)}. Any number "
            "of these will do."
        )
    return seed


def setting_type(setting: Field) -> type:
    """Return the type of a field's values besides `None`: `bool`, `int`, `float` or `str`."""
    return next(kind for kind in CHECKS if kind.__name__ in str(setting.type))


def _check_text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(
            f"Expected a text. Received: {name}={shown(value)}. Leave it out for the default."
        )
    return value


CHECKS: dict[type, Check] = {
    bool: check_bool,
    int: whole(-LARGEST_INT, LARGEST_INT),
    float: check_number,
    str: _check_text,
}


@dataclass(frozen=True)
class Settings:
    """The base of all settings. Values are checked, and stored as plain Python.

    Attributes:
        title: One line on the recipe, for the command.
        about: Description of the recipe, for the command.

    Raises:
        ValueError: If a value has another type, is out of its range, is not finite, is an empty
            text, or is none of the field's choices.
    """

    title: ClassVar[str]
    about: ClassVar[str]

    learning_rate: float = setting(
        5e-3, "learning rate, the peak if there is a schedule", check=above_zero
    )
    precision: str = setting(
        "float32",
        "Keras dtype policy",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value, check = getattr(self, each.name), each.metadata["check"]
            if value is None and "None" in str(each.type):
                continue
            value = CHECKS[setting_type(each)](each.name, value)
            if choices := each.metadata["choices"]:
                _check_choice(each, value, choices)
            if check:
                value = check(each.name, value)
            object.__setattr__(self, each.name, value)  # the dataclass is frozen


def _check_choice(setting: Field, value: Any, choices: Sequence[Any]) -> None:
    if value not in choices:
        raise ValueError(
            f"Expected one of {', '.join(map(str, choices))}. Received: "
            f"{setting.name}={shown(value)}. The default is {shown(setting.default)}."
        )


@dataclass(frozen=True)
class TextSettings(Settings):
    """Vocabulary, mixture, optimizer and length of a run on text; each recipe adds its own.

    Raises:
        ValueError: As `Settings`, or if `steps` is not a multiple of `steps_per_epoch`.
    """

    data: str | None = setting(None, "text file or folder")
    vocabulary_size: int = setting(
        4096, "size of the vocabulary, which is trained on the text", check=whole(MINIMUM_SIZE)
    )
    router: str = setting(
        "switch", "routing algorithm; dense has no mixture of experts", choices=ROUTERS_OR_DENSE
    )
    top_k: int | None = setting(
        None, "experts per token; 1 with switch and 2 with others if not given", check=whole(1)
    )
    capacity_factor: float | None = setting(
        None,
        "capacity of an expert over an equal share of the tokens, in training; dropless if not "
        "given",
        check=check_factor,
    )
    dropout: float = setting(
        0.1, "dropout rate, except on the hidden layer of experts", check=check_rate
    )
    optimizer: str = setting(
        "adamw",
        "optimizer; factored_adam needs little memory for its slots",
        choices=("adamw", "adam", "adafactor", "factored_adam"),
    )
    warmup_steps: int = setting(200, "steps of linear warmup", check=whole(0))
    schedule: str = setting(
        "cosine", "decay of the learning rate after warmup", choices=("cosine", "inverse_sqrt")
    )
    clip_norm: float = setting(
        1.0, "largest global gradient norm, 0 for no clipping", check=not_negative
    )
    steps: int = setting(2000, "training steps", check=whole(1))
    steps_per_epoch: int = setting(250, "steps between validations and checkpoints", check=whole(1))
    seed: int = setting(0, "seed of weights, data order, dropout and noise", check=run_seed)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps % self.steps_per_epoch:
            whole_epochs = self.steps - self.steps % self.steps_per_epoch or self.steps_per_epoch
            raise ValueError(
                f"Expected a multiple of steps_per_epoch={self.steps_per_epoch}. Received: "
                f"steps={self.steps}. Take {whole_epochs}, or another steps_per_epoch."
            )


MOST_LAYERS = 1000  # which take minutes to build


@dataclass(frozen=True)
class TransformerSettings(TextSettings):
    """Sizes of a Transformer in addition to `TextSettings`; each recipe adds its own.

    Raises:
        ValueError: As `TextSettings`, or if `width` is not a multiple of twice `num_heads`.
    """

    width: int = setting(192, "width of embedding and blocks", check=whole(1))
    num_layers: int = setting(4, "number of blocks", check=whole(1, MOST_LAYERS))
    num_heads: int = setting(4, "attention heads", check=whole(1))
    hidden_dim: int | None = setting(
        None, "hidden units of dense feed-forward layers; 4 * width if not given", check=whole(1)
    )
    feed_forward: str = setting(
        "relu", "activation of the feed-forward layers", choices=("relu", "swiglu")
    )
    num_experts: int = setting(8, "experts in each sparse block", check=whole(1))
    moe_every: int = setting(2, "1 makes every block sparse, 2 every other one", check=whole(1))
    expert_hidden_dim: int | None = setting(
        None,
        "hidden units of an expert; hidden_dim / top_k if not given, which matches the FLOPs of "
        "the dense model",
        check=whole(1),
    )
    expert_dropout: float = setting(
        0.1, "dropout rate on the hidden layer of experts", check=check_rate
    )
    jitter: float = setting(0.01, "relative noise on the router's input", check=check_rate)
    balance_weight: float = setting(0.01, "weight of the balance losses", check=not_negative)
    z_loss_weight: float = setting(0.001, "weight of the router's z-loss", check=not_negative)
    init_scale: float = setting(
        1.0, "scale of initial variances; Switch Transformers use 0.1", check=above_zero
    )
    weight_decay: float = setting(0.01, "weight decay of adamw", check=not_negative)

    def __post_init__(self) -> None:
        super().__post_init__()
        pairs = 2 * self.num_heads  # rotary positions turn pairs of a head's numbers
        if self.width % pairs:
            raise ValueError(
                f"Expected a width that twice num_heads={self.num_heads} divides. Received: "
                f"width={self.width}. Take {pairs * max(1, round(self.width / pairs))}."
            )
