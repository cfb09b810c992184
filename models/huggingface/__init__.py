"""Published checkpoints in Hugging Face's layout: loading and saving."""

from moe_zoo.models.huggingface.loading import from_huggingface
from moe_zoo.models.huggingface.router_losses import pooled_balance_loss
from moe_zoo.models.huggingface.saving import save_huggingface

__all__ = ["from_huggingface", "pooled_balance_loss", "save_huggingface"]
