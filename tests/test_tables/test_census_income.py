"""Census-income: columns, labels and splits, on rows of our own and on the real test half."""

import time

import numpy as np
import pytest

from moe_zoo.training.datasets.census_income import (
    COLUMNS,
    NUMBERS,
    open_census_income,
    read_census_income,
)
from moe_zoo.training.tables.column_settings import feature_settings

# A row of the published form: 42 values, a space after each comma, a point at the end of the label.
ROW = dict.fromkeys(COLUMNS, "Not in universe") | dict.fromkeys(NUMBERS, "0")
ROW |= {"instance_weight": "1032.38", "mig_chg_msa": "?", "income_50k": "- 50000."}


def census_row(**values):
    return ", ".join((ROW | values).values()) + "\n"


ROWS = [
    census_row(age="38", income_50k="50000+.", marital_stat="Divorced"),
    census_row(age="2", marital_stat="Never married", education="Children"),
    census_row(education="Associates degree-academic program", marital_stat="Widowed"),
    census_row(education="Some college but no degree", marital_stat="Never married"),
    census_row(education="Bachelors degree(BA AB BS)", income_50k="50000+."),
]


def whole(data):
    rows = [data.whole(part) for part in data.parts if data.rows[part]]
    return {
        name: np.concatenate([part.labels[name] for part in rows]).tolist() for name in data.tasks
    }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "census-income.test").write_text("".join(ROWS))
    return tmp_path


@pytest.mark.parametrize("group", [1, 2])
def test_what_is_no_input_is_not_read(folder, group):
    data = read_census_income(folder, group)
    gone = {"education", "marital_stat", "instance_weight", "income_50k"}
    assert set(data.features) == set(COLUMNS) - gone
    assert len(data.features) == 38
    assert {name for name, f in data.features.items() if f["kind"] == "number"} == set(NUMBERS)
    features, _ = next(data.stream("train"))
    assert set(features) == set(data.features)
    assert set(features["mig_chg_msa"]) == {"?"}  # a value like any other


def test_labels_of_both_groups(folder):
    for group, name, positives in ((1, "income", 2), (2, "college", 2)):
        data = read_census_income(folder, group)
        assert list(data.tasks) == [name, "never_married"]
        labels = whole(data)
        assert sum(labels[name]) == positives
        assert sum(labels["never_married"]) == 2
        assert data.tasks[name] == {"kind": "binary"}


def test_the_test_half_alone_is_split_by_draws_and_says_so(folder):
    data = read_census_income(folder, seed=4)
    assert sum(data.rows.values()) == 5
    assert "own split of the UCI test half" in data.description
    assert "70/15/15 percent, draws of seed 4" in data.description


def test_both_files_give_the_official_split(folder):
    (folder / "census-income.data").write_text(census_row() * 7)
    (folder / "census-income.test").write_text("".join(ROWS) * 40)
    data = read_census_income(folder)
    assert data.rows["train"] == 7
    assert data.rows["validation"] + data.rows["test"] == 200
    assert 70 < data.rows["validation"] < 130  # 100, within four standard deviations of 7
    assert "UCI's training half" in data.description and "1:1" in data.description


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="Expected 1 or 2. Received: group=3"):
        read_census_income(tmp_path, group=3)
    with pytest.raises(FileNotFoundError, match="census-income.test.gz or census-income.test"):
        read_census_income(tmp_path)
    (tmp_path / "census-income.test").write_text(ROWS[0] + ROWS[1].replace(", 0,", ",", 1))
    with pytest.raises(ValueError, match="Expected 42 values.*41 values in .*test, line 2"):
        _ = read_census_income(tmp_path).rows


@pytest.fixture(scope="module")
def real():
    """What is read of the real test half, kept for all tests."""
    return {}


class TestRealData:
    @pytest.fixture
    def data(self, data_dir, real):
        folder = data_dir / "census_income_kdd"
        if not folder.is_dir():
            pytest.skip(
                f"no census-income in {data_dir}: set MOE_ZOO_DATA to the data sets' folder"
            )
        if not real:
            start = time.perf_counter()
            for group in (1, 2):
                real[group] = read_census_income(folder, group).in_memory()
            real["seconds"] = (time.perf_counter() - start) / 2
            real["folder"] = folder
        return real

    def test_counts(self, data):
        if "own split" not in data[1].description:
            pytest.skip("the counts are those of the test half, and the training half is here too")
        assert sum(data[1].rows.values()) == 99_762
        labels = whole(data[1])
        assert sum(labels["income"]) == 6_186
        assert np.mean(labels["never_married"]) == pytest.approx(0.432, abs=5e-4)
        shares = np.array(list(data[1].rows.values())) / 99_762
        np.testing.assert_allclose(shares, [0.7, 0.15, 0.15], atol=0.006)
        assert data["seconds"] < 30  # some 3 on an idle machine

    def test_the_definition_of_college_gives_the_correlation_that_the_paper_states(self, data):
        """Group 1, which leaves nothing open, shows how near the test half comes."""
        pearson = {}
        for group, first in ((1, "income"), (2, "college")):
            labels = whole(data[group])
            pearson[group] = abs(np.corrcoef(labels[first], labels["never_married"])[0, 1])
        assert pearson[1] == pytest.approx(0.1768, abs=0.003)
        assert pearson[2] == pytest.approx(0.2373, abs=0.003)

    def test_other_definitions_of_college_do_not(self, data):
        columns = {
            name: feature_settings(name, "category")[0] for name in ("education", "marital_stat")
        }
        table = open_census_income(next(data["folder"].glob("census-income.test*")))
        batches = list(table.batches(columns))
        education, marital = (
            np.concatenate([batch[name] for batch in batches]) for name in columns
        )
        never = marital == "Never married"
        degrees = ("Bachelors", "Masters", "Prof school", "Doctorate")
        for starts in (degrees, (*degrees, "Associates", "Some college")):
            college = [value.startswith(starts) for value in education]
            assert abs(abs(np.corrcoef(college, never)[0, 1]) - 0.2373) > 0.03
