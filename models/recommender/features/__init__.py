"""Features of a table, and how each becomes numbers."""

from .buckets import Buckets
from .category import Category
from .encoder import FeatureEncoder
from .feature import Feature, make_feature
from .hashed import Hashed
from .list_of import ListOf
from .number import Number
from .row_embedding import RowEmbedding

__all__ = [
    "Buckets",
    "Category",
    "Feature",
    "FeatureEncoder",
    "Hashed",
    "ListOf",
    "Number",
    "RowEmbedding",
    "make_feature",
]
