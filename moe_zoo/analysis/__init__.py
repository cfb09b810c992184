"""What each expert does: routed tokens and how they go with labels, as NumPy arrays."""

from .information import Information, mutual_information
from .label_counts import count_labels, top_labels
from .routed_tokens import RoutedTokens, routed_tokens

__all__ = [
    "Information",
    "RoutedTokens",
    "count_labels",
    "mutual_information",
    "routed_tokens",
    "top_labels",
]
