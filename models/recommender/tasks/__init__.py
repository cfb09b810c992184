"""Tasks: what a recommender predicts, its losses and its metrics."""

from .binary import BinaryTask
from .classes import ClassTask
from .product import ProductTask
from .regression import RegressionTask
from .task import Task

__all__ = ["BinaryTask", "ClassTask", "ProductTask", "RegressionTask", "Task"]
