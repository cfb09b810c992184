"""Prebuilt mixture-of-experts models, imported as `moe_zoo.models`."""

if __name__ == "models":  # a second copy of every class would be registered with Keras
    raise ImportError(
        "Expected this folder to be imported as `moe_zoo.models`. Received: __name__='models'. "
        "Write `from moe_zoo.models import ...` instead of `import models`."
    )
