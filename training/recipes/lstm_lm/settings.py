"""The settings of the LSTM language model's recipe, as plain data: no Keras is imported here."""

from dataclasses import dataclass

from moe_zoo.models.tokenizers.vocabulary import MINIMUM_SIZE
from moe_zoo.training.recipes.settings import check_epochs, check_run_seed, check_values, setting
from moe_zoo.validation import check_at_least, check_factor, check_int, check_positive, check_rate


@dataclass(frozen=True)
class LSTMSettings:
    """Everything that decides the result of a run; `help` of each field says what it is.

    Raises:
        ValueError: a size that is not positive, or a name that is none of the choices.

    Example:

    >>> LSTMSettings(steps=500, router="switch").batch_size
    64
    """

    preset: str = setting("small_moe_32", "sizes, see moe-zoo list")
    router: str = setting(
        "noisy_top_k", "who goes where", choices=("noisy_top_k", "switch", "gshard")
    )
    num_experts: int | None = setting(None, "experts, in place of the preset's")
    top_k: int | None = setting(None, "experts per token, in place of the preset's")
    capacity_factor: float | None = setting(
        None, "slots over the fair share in training; dropless if not given"
    )
    dropout: float = setting(0.0, "after every layer but the softmax")
    data: str | None = setting(
        None, "text file or folder of text files; Python's own library if not given"
    )
    vocabulary_size: int = setting(2048, "pieces of the vocabulary trained on the text")
    batch_size: int = setting(64, "windows in a batch")
    sequence_length: int = setting(32, "tokens in a window")
    steps: int = setting(1500, "training steps")
    steps_per_epoch: int = setting(250, "steps between validations and checkpoints")
    learning_rate: float = setting(8e-3, "peak")
    warmup_steps: int = setting(100, "linear warm-up")
    schedule: str = setting("cosine", "decay after it", choices=("cosine", "inverse_sqrt"))
    optimizer: str = setting(
        "adam",
        "factored_adam needs little memory for experts",
        choices=("adam", "factored_adam"),
    )
    clip_norm: float = setting(1.0, "global gradient norm, 0 for none")
    precision: str = setting(
        "float32",
        "Keras dtype policy",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    seed: int = setting(0, "of weights, data order, dropout and noise")

    def __post_init__(self):
        check_values(self)
        for name in ("steps", "batch_size", "sequence_length", "steps_per_epoch"):
            check_int(name, getattr(self, name), least=1)
        for name in ("num_experts", "top_k"):
            if getattr(self, name) is not None:
                check_int(name, getattr(self, name), least=1)
        check_int("warmup_steps", self.warmup_steps, least=0)
        check_run_seed("seed", self.seed)
        check_int("vocabulary_size", self.vocabulary_size, least=MINIMUM_SIZE)
        check_factor("capacity_factor", self.capacity_factor)
        check_positive("learning_rate", self.learning_rate, "0.001 is common with Adam.")
        check_rate("dropout", self.dropout)
        check_at_least("clip_norm", self.clip_norm, 0.0)
        check_epochs(self.steps, self.steps_per_epoch)
