"""Settings of the recipe of the LSTM language model."""

from dataclasses import dataclass

from moe_zoo.training.recipes.routers import ROUTERS
from moe_zoo.training.recipes.settings import TextSettings, setting, whole, with_default


@dataclass(frozen=True)
class LSTMSettings(TextSettings):
    """All settings that decide the result of a run; `help` of each field describes it.

    Raises:
        ValueError: As `TextSettings`.

    Example:

    >>> LSTMSettings(steps=500, router="switch").batch_size
    64
    """

    title = "LSTM language model with a mixture of experts (Shazeer et al. 2017)"
    about = (
        "Train an LSTM language model with a mixture of experts, evaluate it on the test part, "
        "export it as a SavedModel, and let a fresh process generate text. The same command "
        "resumes where an earlier one was stopped. Without --data it trains on the source of "
        "Python's standard library."
    )

    preset: str = setting("small_moe_32", "preset of sizes; moe-zoo list shows all")
    router: str = with_default(
        TextSettings, "router", "noisy_top_k", tuple(ROUTERS), help="routing algorithm"
    )
    top_k: int | None = with_default(
        TextSettings,
        "top_k",
        None,
        help="experts per token; 1 with switch and as in the preset with others if not given",
    )
    num_experts: int | None = setting(
        None, "number of experts; as in the preset if not given", check=whole(1)
    )
    vocabulary_size: int = with_default(TextSettings, "vocabulary_size", 2048)
    dropout: float = with_default(TextSettings, "dropout", 0.0)
    batch_size: int = setting(64, "windows in a batch", check=whole(1))
    sequence_length: int = setting(32, "tokens in a window", check=whole(1))
    steps: int = with_default(TextSettings, "steps", 1500)
    learning_rate: float = with_default(TextSettings, "learning_rate", 8e-3)
    warmup_steps: int = with_default(TextSettings, "warmup_steps", 100)
    optimizer: str = with_default(TextSettings, "optimizer", "adam", ("adam", "factored_adam"))
