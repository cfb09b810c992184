"""Every byte and every code point, in processes of their own: what crashes there fails here."""

import json
import subprocess
import sys

import pytest
import tensorflow as tf

from moe_zoo.models.tokenizers.tensorflow_text import require_tensorflow_text
from moe_zoo.models.tokenizers.vocabulary import BYTES, SPECIAL_PIECES
from moe_zoo.training.runs.serving import serve_in_fresh_process

FIRST = len(SPECIAL_PIECES)
PROGRAM = """if True:
    import json, sys
    import tensorflow as tf
    from moe_zoo.models.tokenizers.tokenizer import Tokenizer
    from moe_zoo.models.tokenizers.vocabulary import BYTES, SPECIAL_PIECES

    whole = Tokenizer([*SPECIAL_PIECES, *BYTES])
    byte_ids = whole.encode(tf.constant([bytes([b]) for b in range(256)])).to_list()
    points = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
    rows = [points[i : i + 251] for i in range(0, len(points), 251)]
    again = whole.decode(whole.encode(rows)).numpy().tolist()
    wrong = [ascii(row) for row, back in zip(rows, again) if row.encode() != back]
    small = {}
    for b in json.loads(sys.argv[1]):
        byte = chr(b)
        for pieces in ([byte], [byte, byte * 2], [byte * 2]):
            texts = [byte.encode("latin-1"), 3 * byte.encode("latin-1")]
            ids = Tokenizer([*SPECIAL_PIECES, *pieces]).encode(tf.constant(texts)).to_list()
            small.setdefault(b, []).append(ids)
    print(json.dumps([byte_ids, wrong, small]))
"""


@pytest.mark.slow
def test_every_byte_and_code_point_comes_back():
    some = [0x00, 0x10, 0x11, 0x12, 0x20, 0x7F, 0x80, 0xFF]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(some)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    byte_ids, wrong, small = json.loads(run.stdout.splitlines()[-1])
    assert byte_ids == [[FIRST + byte] for byte in range(len(BYTES))]
    assert wrong == []
    for byte, ids in small.items():
        assert ids == [[[3], [3, 3, 3]], [[3], [4, 3]], [[1], [1]]], byte


@pytest.mark.slow
def test_a_process_that_crashed_is_named_by_its_signal(tmp_path):
    served = tf.Module()
    served.search = require_tensorflow_text().FastWordpieceTokenizer(
        ["a", "\x11"], "", unknown_token="a", token_out_type=tf.int32, no_pretokenization=True
    )
    signature = [tf.TensorSpec([None], tf.string, "text")]
    served.count = tf.function(lambda text: served.search.tokenize(text).row_lengths(), signature)
    tf.saved_model.save(served, tmp_path / "served", {"count": served.count})
    with pytest.raises(RuntimeError, match="ended by SIGSEGV. .*export it again") as said:
        serve_in_fresh_process(tmp_path / "served", "count", ["a\x11"])
    assert "cuda" not in str(said.value) and "WARNING" not in str(said.value)
