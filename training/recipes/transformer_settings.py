"""What the settings of all recipes of Transformers share, as plain data: no Keras is imported."""

from dataclasses import dataclass, field, fields

from moe_zoo.models.tokenizers.vocabulary import MINIMUM_SIZE
from moe_zoo.validation import check_at_least, check_factor, check_int, check_positive, check_rate

from .settings import check_epochs, check_run_seed, check_values, setting

MOST_LAYERS = 1000  # which take minutes to build
DENSE = "dense"
ROUTERS = ("switch", "gshard", "noisy_top_k")
MIXTURES = (*ROUTERS, DENSE)


@dataclass(frozen=True)
class TransformerSettings:
    """Sizes, mixture, optimizer and length of a run; each recipe adds its own.

    Raises:
        ValueError: a size that is not positive, a rate of 1 or more, or a name that is none of the
            choices.
    """

    data: str | None = setting(None, "text file or folder")
    vocabulary_size: int = setting(4096, "pieces of the vocabulary trained on the text")
    width: int = setting(192, "of embedding and blocks")
    num_layers: int = setting(4, "blocks")
    num_heads: int = setting(4, "of attention")
    hidden_dim: int | None = setting(None, "of dense feed-forward layers, 4 widths if not given")
    feed_forward: str = setting("relu", "kind of it", choices=("relu", "swiglu"))
    dropout: float = setting(0.1, "on embeddings and sub-layers, in attention and dense layers")
    router: str = setting("switch", "who goes where; dense has no mixture", choices=MIXTURES)
    num_experts: int = setting(8, "of each sparse block")
    moe_every: int = setting(2, "1 is every block, 2 every other one")
    top_k: int | None = setting(None, "experts per token: 1 of switch, 2 of the others")
    expert_hidden_dim: int | None = setting(
        None, "of one expert; hidden_dim / top_k if not given: as many products as dense"
    )
    capacity_factor: float | None = setting(
        None, "slots over the fair share in training; dropless if not given"
    )
    expert_dropout: float = setting(0.1, "on the hidden layer of experts")
    jitter: float = setting(0.01, "relative noise on the router's input")
    balance_weight: float = setting(0.01, "of the balance losses")
    z_loss_weight: float = setting(0.001, "of the router's z-loss")
    init_scale: float = setting(1.0, "of initial variances; Switch Transformers have 0.1")
    optimizer: str = setting(
        "adamw",
        "factored_adam and adafactor need little memory",
        choices=("adamw", "adam", "adafactor", "factored_adam"),
    )
    learning_rate: float = setting(5e-3, "peak")
    warmup_steps: int = setting(200, "linear warm-up")
    schedule: str = setting("cosine", "decay after it", choices=("cosine", "inverse_sqrt"))
    weight_decay: float = setting(0.01, "of adamw")
    clip_norm: float = setting(1.0, "global gradient norm, 0 for none")
    steps: int = setting(2000, "training steps")
    steps_per_epoch: int = setting(250, "steps between validations and checkpoints")
    precision: str = setting(
        "float32",
        "Keras dtype policy",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    seed: int = setting(0, "of weights, data order, dropout and noise")

    def __post_init__(self):
        check_values(self)
        check_int("num_layers", self.num_layers, least=1, most=MOST_LAYERS)
        for name in ("width", "num_heads", "num_experts", "moe_every", "steps"):
            check_int(name, getattr(self, name), least=1)
        for name in ("hidden_dim", "top_k", "expert_hidden_dim"):
            if getattr(self, name) is not None:
                check_int(name, getattr(self, name), least=1)
        check_int("warmup_steps", self.warmup_steps, least=0)
        check_run_seed("seed", self.seed)
        check_int("steps_per_epoch", self.steps_per_epoch, least=1)
        check_int("vocabulary_size", self.vocabulary_size, least=MINIMUM_SIZE)
        check_factor("capacity_factor", self.capacity_factor)
        for name in ("dropout", "expert_dropout", "jitter"):
            check_rate(name, getattr(self, name))
        for name in ("balance_weight", "z_loss_weight", "clip_norm", "weight_decay"):
            check_at_least(name, getattr(self, name), 0.0)
        for name in ("learning_rate", "init_scale"):
            check_positive(name, getattr(self, name), "The default is common.")
        pairs = 2 * self.num_heads  # rotary positions turn pairs of a head's numbers
        if self.width % pairs:
            raise ValueError(
                f"Expected a width that twice num_heads={self.num_heads} divides. Received: "
                f"width={self.width}. Take {pairs * max(1, round(self.width / pairs))}."
            )
        check_epochs(self.steps, self.steps_per_epoch)
        if self.router != DENSE and self.num_layers == 1 and self.moe_every > 1:
            raise ValueError(
                "Expected a block with a mixture, the second one for the first. Received: "
                f"num_layers=1, moe_every={self.moe_every}. Take moe_every=1, or more layers."
            )


def with_default(name, value):
    """A setting of all Transformers, with a default of one recipe."""
    (shared,) = (x for x in fields(TransformerSettings) if x.name == name)
    return field(default=value, metadata=shared.metadata)
