"""Ambient state: a block holds for what runs in it, in its own thread, and ends with an error."""

import threading

import pytest
import tensorflow as tf

from moe_zoo.scopes import (
    GROUP,
    ROW,
    constrain,
    group_shards,
    is_counting,
    placing,
    portable,
    portable_operations,
    record_plans_by_metric,
)


class Doubling:
    """A placement whose hints can be seen."""

    group_shards = 3

    def constrain(self, tensor, dims):
        return tensor * (2 if dims == (GROUP, ROW) else 1)


def seen():
    """What the calling thread sees."""
    return float(constrain(tf.constant(5.0), GROUP, ROW)), group_shards(), portable(), is_counting()


def seen_by_another_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(seen()))
    thread.start()
    thread.join()
    return results[0]


def test_blocks_hold_for_their_thread_until_they_end():
    outside = (5.0, 1, False, True)
    assert seen() == outside
    with placing(Doubling()):
        assert seen() == (10.0, 3, False, True)
        with portable_operations(), record_plans_by_metric():
            assert seen() == (10.0, 3, True, False)
            assert seen_by_another_thread() == outside
        assert seen() == (10.0, 3, False, True)
    with pytest.raises(RuntimeError), placing(Doubling()), portable_operations():
        raise RuntimeError
    assert seen() == outside
