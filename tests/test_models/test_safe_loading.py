"""Files of others bring no code along, but for SavedModels, of which the command says so."""

import ast
import json
from pathlib import Path

import keras
import pytest

import moe_zoo
from moe_zoo.files.digests import write_digests
from moe_zoo.models import LSTMLanguageModel
from moe_zoo.models.tokenizers.tokenizer import Tokenizer
from moe_zoo.models.tokenizers.vocabulary import SPECIAL_PIECES
from moe_zoo.training.cli import main
from moe_zoo.training.runs.checkpoints import Checkpoints
from moe_zoo.training.runs.finished_run import load_from_folder

V = 5
REFUSED = "safe_mode=False"  # Keras names what would let it in


def own():
    """A model of the user's."""
    tokens = keras.Input((3,), dtype="int32")
    return keras.Model(tokens, keras.layers.Lambda(lambda x: x * 2)(tokens))


def in_lstm():
    """A model of ours that is given the layer."""
    return LSTMLanguageModel(V, 3, [keras.layers.Lambda(lambda x: x * 2)])


@pytest.fixture(scope="module", params=[own, in_lstm])
def model(request):
    return request.param()


def test_a_finished_run_with_code_in_its_model_is_refused(model, tmp_path, capsys):
    model.save(tmp_path / "model.keras")
    Tokenizer([*SPECIAL_PIECES, "a", "b"]).save(tmp_path / "vocabulary.txt")
    with pytest.raises(ValueError, match=f"(?s)Expected a whole model.*{REFUSED}"):
        load_from_folder(tmp_path)
    assert main(["export", str(tmp_path), "--output", str(tmp_path / "served")]) == 1
    assert "Expected a whole model" in capsys.readouterr().err


def test_a_checkpoint_with_code_in_its_model_is_refused(model, tmp_path):
    folder = tmp_path / "step-00000007"
    folder.mkdir()
    model.save(folder / "model.keras")
    state = {"run": {}, "history": [], "seeds": []}
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    write_digests(folder)
    with pytest.raises(ValueError, match=f"(?s)Expected a whole checkpoint.*{REFUSED}"):
        Checkpoints(tmp_path, 7, {}).restore()


def test_a_configuration_with_code_is_refused(model):
    config = keras.saving.serialize_keras_object(model)
    with pytest.raises(ValueError, match=REFUSED):
        keras.saving.deserialize_keras_object(config)


def test_nothing_of_ours_lets_code_in():
    """No unsafe mode, no pickle but for the one that holds numbers alone, no YAML with objects."""
    folders = [Path(x, name) for x in moe_zoo.__path__ for name in ("cli", "models", "training")]
    sources = [path for folder in folders for path in folder.rglob("*.py")]
    assert len(sources) > 100
    for path in [*sources, *Path(moe_zoo.__file__).parent.rglob("*.py")]:
        check_source(path)


def check_source(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg in ("safe_mode", "allow_pickle"):
            assert isinstance(node.value, ast.Constant), path
            assert node.value.value is (node.arg == "safe_mode"), path
        if isinstance(node, ast.Attribute):
            unsafe = ("enable_unsafe_deserialization", "unsafe_load", "full_load")
            assert node.attr not in unsafe, path
        if isinstance(node, ast.Import):
            pickles = {"pickle", "shelve", "marshal", "dill", "joblib", "torch"}
            names = {alias.name.split(".")[0] for alias in node.names}
            assert not names & pickles or path.name == "imdb.py", path


@pytest.mark.parametrize("command", ["generate", "translate", "classify"])
def test_the_help_says_that_a_saved_model_is_a_program(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "A SavedModel is a program" in said and "that you trust" in said
