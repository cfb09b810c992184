"""SavedModels: files that serve a model without this library."""

from .saved_model import check_new_or_saved_model, export_saved_model, serving_mode

__all__ = ["check_new_or_saved_model", "export_saved_model", "serving_mode"]
