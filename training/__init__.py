"""Recipes, data sets and schedules, imported as `moe_zoo.training`."""

if __name__ == "training":  # a second copy of every class would be registered with Keras
    raise ImportError(
        "Expected this folder to be imported as `moe_zoo.training`. Received: __name__='training'. "
        "Write `from moe_zoo.training import ...` instead of `import training`."
    )
