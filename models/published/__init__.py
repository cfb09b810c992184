"""Published checkpoints in Hugging Face's layout: their files, names and sizes."""

from .router_losses import pooled_balance_loss

__all__ = ["pooled_balance_loss"]
