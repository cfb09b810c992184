"""Adult: what is an input, and the published counts."""

import pytest

from moe_zoo.training.datasets.adult import read_adult


@pytest.fixture
def data(data_dir):
    folder = data_dir / "adult"
    if not folder.is_dir():
        pytest.skip(f"no adult in {data_dir}: set MOE_ZOO_DATA to the data sets' folder")
    return read_adult(folder).in_memory()


def test_published_counts(data, data_dir):
    assert data.rows["train"] + data.rows["validation"] == 32_561
    assert data.rows["test"] == 16_281
    assert data.rows["validation"] == pytest.approx(3256, abs=250)
    income = {part: data.whole(part).labels["income"].sum() for part in data.parts}
    assert income["train"] + income["validation"] == 7_841
    assert income["test"] == 3_846
    never = sum(data.whole(part).labels["never_married"].sum() for part in data.parts)
    files = (data_dir / "adult" / name for name in ("adult.data", "adult.test"))
    assert never == sum(file.read_text().count(", Never-married,") for file in files)


def test_what_gives_a_label_away_is_no_input(data):
    assert len(data.features) == 11
    assert not {"marital_status", "relationship", "fnlwgt", "income"} & set(data.features)
    features, _ = data.whole("test")
    assert "" in features["workclass"] and "?" not in features["workclass"]
    assert "UCI's training file" in data.description and "seed 0" in data.description


def test_errors(tmp_path):
    (tmp_path / "adult.data").write_text("")
    with pytest.raises(FileNotFoundError, match="adult.data and adult.test.*without adult.test"):
        read_adult(tmp_path)
