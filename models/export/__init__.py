"""Exporting models: what every model of the zoo offers outside of Keras."""

from .servable import Servable

__all__ = ["Servable"]
