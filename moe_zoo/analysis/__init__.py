"""What each expert does: routed tokens and how they go with labels, as NumPy arrays."""

from typing import TYPE_CHECKING

from moe_zoo._lazy import lazy_names

if TYPE_CHECKING:
    from .information import Information, mutual_information
    from .label_counts import count_labels, top_labels
    from .routing import RoutedTokens, routed_tokens
    from .verdict import RoutingBounds

__all__ = [
    "Information",
    "RoutedTokens",
    "RoutingBounds",
    "count_labels",
    "mutual_information",
    "routed_tokens",
    "top_labels",
]

if not TYPE_CHECKING:  # else a checker would take any name for one of these
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "information": ["Information", "mutual_information"],
            "label_counts": ["count_labels", "top_labels"],
            "routing": ["RoutedTokens", "routed_tokens"],
            "verdict": ["RoutingBounds"],
        },
    )
