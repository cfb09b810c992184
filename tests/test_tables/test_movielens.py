"""MovieLens: files of the published formats, made here, since the real ones may not lie about."""

import pytest

from moe_zoo.training.datasets.movielens import GENRES_100K, read_movielens

# (user, item, rating): ratings of 4 and 5 are likes.
RATINGS = [(1, 2, 5), (2, 1, 3), (1, 1, 4), (3, 3, 1), (3, 2, 4)]
GENRES = {1: ["Animation", "Children's", "Comedy"], 2: ["Film-Noir"], 3: []}
ABOUT_USER = {1: ("24", "M", "technician"), 2: ("53", "F", "other"), 3: ("23", "M", "writer")}


def write_100k(folder):
    folder.mkdir()
    (folder / "u.data").write_text(
        "".join(f"{user}\t{item}\t{rating}\t881250949\n" for user, item, rating in RATINGS)
    )
    (folder / "u.user").write_text(
        "".join(f"{user}|{'|'.join(about)}|85711\n" for user, about in ABOUT_USER.items())
    )
    lines = []
    for item, genres in GENRES.items():
        flags = "|".join(str(int(genre in genres)) for genre in GENRES_100K)
        lines.append(f'{item}|Amélie "{item}" (2001)|01-Jan-1995||http://imdb.com/{item}|{flags}\n')
    (folder / "u.item").write_text("".join(lines), encoding="latin-1")


def write_1m(folder):
    folder.mkdir()
    codes = {"technician": 17, "other": 0, "writer": 20}
    (folder / "ratings.dat").write_text(
        "".join(f"{user}::{item}::{rating}::978300760\n" for user, item, rating in RATINGS)
    )
    (folder / "users.dat").write_text(
        "".join(
            f"{user}::{gender}::{age}::{codes[job]}::48067\n"
            for user, (age, gender, job) in ABOUT_USER.items()
        )
    )
    (folder / "movies.dat").write_text(
        "".join(f"{item}::Amélie: {item} (2001)::{'|'.join(g)}\n" for item, g in GENRES.items()),
        encoding="latin-1",
    )


WRITERS = {"100k": ("ml-100k", write_100k), "1m": ("ml-1m", write_1m)}


@pytest.fixture(params=WRITERS)
def edition(request, tmp_path):
    name, write = WRITERS[request.param]
    write(tmp_path / name)
    return request.param


def all_rows(data):
    """{(user, item): (other features, labels)} of all parts."""
    found = {}
    for part in data.parts:
        for features, labels in data.stream(part):
            for i, key in enumerate(zip(features["user"], features["item"], strict=True)):
                row = {name: values[i] for name, values in features.items()}
                found[key] = row, {name: values[i] for name, values in labels.items()}
    return found


def test_rows_are_joined(edition, tmp_path):
    data = read_movielens(edition, tmp_path)
    rows = all_rows(data)
    assert sum(data.rows.values()) == len(rows) == 5
    for user, item, rating in RATINGS:
        row, labels = rows[str(user), str(item)]
        age, gender, job = ABOUT_USER[user]
        assert labels == {"rating": rating, "like": float(rating >= 4)}
        assert row["gender"] == gender
        assert [genre for genre in row["genres"] if genre] == GENRES[item]
        if edition == "100k":
            assert (row["age"], row["occupation"]) == (float(age), job)
        else:  # 1M has codes of age groups and occupations
            assert row["age"] == age


def test_descriptions(edition, tmp_path):
    data = read_movielens(edition, tmp_path, seed=7)
    assert list(data.features) == ["user", "item", "age", "gender", "occupation", "genres"]
    genres = {"kind": "list", "feature": {"kind": "category"}, "separator": "|"}
    assert data.features["genres"] == genres
    assert data.features["age"]["kind"] == {"100k": "number", "1m": "category"}[edition]
    assert data.tasks == {"rating": {"kind": "regression"}, "like": {"kind": "binary"}}
    assert data.description.startswith(f"MovieLens {edition}, own split by draws of seed 7")
    features, labels = next(iter(data.dataset("train", 2)))
    assert set(features) == set(data.features) and set(labels) == set(data.tasks)


def test_the_real_data(data_dir):
    folder = next(
        (data_dir / name for name in ("ml-100k", "ml-1m") if (data_dir / name).is_dir()), None
    )
    if folder is None:
        pytest.skip(f"no MovieLens in {data_dir}: set MOE_ZOO_DATA to the data sets' folder")
    data = read_movielens(folder.name.removeprefix("ml-"), folder)
    assert sum(data.rows.values()) in (100_000, 1_000_209)


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="editions of MovieLens out of 100k, 1m. Received: '10m'"):
        read_movielens("10m")
    write_1m(tmp_path / "ml-1m")
    with open(tmp_path / "ml-1m" / "ratings.dat", "a") as file:
        file.write("9::1::3::978300760\n")
    with pytest.raises(ValueError, match="a row for each user in .*users.dat. Received: user='9'"):
        _ = read_movielens("1m", tmp_path).rows
    (tmp_path / "ml-1m" / "ratings.dat").write_text("1::1::6::978300760\n")
    with pytest.raises(ValueError, match="numbers from 0.5 to 5 in column 'rating'.*line 1"):
        _ = read_movielens("1m", tmp_path).rows
    (tmp_path / "ml-1m" / "users.dat").unlink()
    with pytest.raises(FileNotFoundError, match="without users.dat. Unpack .*ml-1m.zip"):
        read_movielens("1m", tmp_path)


def test_genres_of_the_100k_files_are_in_their_order():
    assert len(GENRES_100K) == 19
    assert sorted(GENRES_100K[1:]) == list(GENRES_100K[1:])
