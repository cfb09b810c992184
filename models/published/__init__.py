"""Published checkpoints in Hugging Face's layout: loading and saving."""

from .loading import from_huggingface
from .router_losses import pooled_balance_loss
from .saving import save_huggingface

__all__ = ["from_huggingface", "pooled_balance_loss", "save_huggingface"]
