"""Names of layers, where Keras would spell `mo_e` or `m_mo_e`."""

import re

import keras


def default_name(class_name: str) -> str:
    """Return `mmoe`, `mmoe_1` and so on for `MMoE`, `shared_bottom` for `SharedBottom`.

    Example:

    >>> default_name("CrossStitch")
    'cross_stitch'
    """
    words = re.sub("(?<=[a-z])(?=[A-Z])", "_", class_name.replace("MoE", "moe"))
    prefix = words.lower()
    number = keras.backend.get_uid(prefix) - 1
    return f"{prefix}_{number}" if number else prefix
