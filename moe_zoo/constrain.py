"""Layout hints: on which mesh axis a dimension of a tensor lies. Without a mesh they do nothing.

The mathematics names its own dimensions, `GROUP`, `EXPERT` and `BESIDE`; whoever distributes a
model says with `placing` what becomes of them. `BESIDE` are rows that every expert sees: they lie
where groups lie, unless the experts lie on that very axis; then they are whole.
"""

import contextlib

GROUP, EXPERT, BESIDE = "group", "expert", "beside"
_placements: list = []


@contextlib.contextmanager
def placing(placement):
    """Within this context a placement fulfils the hints.

    Args:
        placement: an object with `constrain(tensor, dims) -> tensor` and `group_shards`, the number
            of devices over which the groups of tokens are spread.
    """
    _placements.append(placement)
    try:
        yield
    finally:
        _placements.pop()


def constrain(tensor, *dims):
    """The tensor, with its dimensions laid out as named.

    Args:
        tensor: any tensor.
        *dims: for each leading dimension `GROUP`, `EXPERT`, `BESIDE` or `None` for a whole copy
            everywhere; dimensions left out are whole.
    """
    return _placements[-1].constrain(tensor, dims) if _placements else tensor


def group_shards():
    """The number of devices over which groups of tokens are spread; each routes its own."""
    return _placements[-1].group_shards if _placements else 1
