"""Tables become parts: kinds of columns, targets, splits, and a sentence for each way in which a table can be wrong."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.data import DataError, load

ROWS = 120


def write(path: Path, columns: Mapping[str, Sequence[Any]], separator: str = ",") -> Path:
    """A table as text; None is an empty cell."""
    lines = [separator.join(columns)]
    lines += [
        separator.join("" if cell is None else str(cell) for cell in row) for row in zip(*columns.values(), strict=True)
    ]
    text = "\n".join(lines) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def trips(rows: int = ROWS) -> dict[str, list[Any]]:
    random = np.random.default_rng(3)
    return {
        "fare": [round(float(value), 2) for value in random.gamma(3.0, 4.0, rows)],
        "distance": [None if index % 10 == 3 else index * 0.5 for index in range(rows)],
        "payment": [["cash", "card", "app"][index % 3] for index in range(rows)],
        "zone": [[5, 7, 11][index % 3] for index in range(rows)],
        "shared": [index % 4 == 0 for index in range(rows)],
        "weight": [1 + index % 2 for index in range(rows)],
    }


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "trips.csv", trips())


def test_columns_are_encoded_as_the_train_rows_of_each_fold_say(table: Path) -> None:
    form = {"path": str(table), "target": "fare", "folds": 4, "test": None}
    folds = [load(form, trial=trial) for trial in range(4)]
    assert [fold.rows for fold in folds] == [{"train": 90, "validation": 30}] * 4
    means = set()
    for fold in folds:
        assert fold.preprocessing is not None and fold.train.columns is not None
        entry = next(entry for entry in fold.preprocessing["columns"] if entry["name"] == "distance")
        assert entry["mean"] == pytest.approx(np.nanmean(fold.train.columns["distance"]))
        means.add(entry["mean"])
    assert len(means) == 4
    with pytest.raises(DataError, match=r"data\.folds: 1 given"):
        load({**form, "folds": 1})
    with pytest.raises(DataError, match=r"data\.validation is given"):
        load({**form, "validation": 0.5})


def test_kinds_and_state_come_from_the_train_rows(table: Path) -> None:
    parts = load({"path": str(table), "target": "fare", "categories": ["zone"], "weight": "weight"})
    assert parts.task == "regression"
    assert parts.labels is None
    assert parts.rows == {"train": 72, "validation": 24, "test": 24}
    assert parts.preprocessing is not None
    entries = {entry["name"]: entry for entry in parts.preprocessing["columns"]}
    assert {name: entry["kind"] for name, entry in entries.items()} == {
        "distance": "number",
        "payment": "text",
        "zone": "integer",
        "shared": "bool",
    }
    assert entries["payment"]["vocabulary"] == ["app", "card", "cash"]
    assert entries["zone"]["vocabulary"] == [5, 7, 11]
    assert entries["zone"]["missing"] not in entries["zone"]["vocabulary"]
    assert parts.input_shape == (1 + 4 + 4 + 3,)
    assert parts.train.columns is not None
    distance = parts.train.columns["distance"]
    assert distance.dtype == np.float32
    assert entries["distance"]["mean"] == pytest.approx(float(np.nanmean(distance)), rel=1e-5)
    assert entries["distance"]["variance"] == pytest.approx(float(np.nanvar(distance)), rel=1e-4)
    assert parts.train.weight is not None
    assert set(parts.train.weight) == {1.0, 2.0}


def test_rows_stay_together_and_appear_once(tmp_path: Path) -> None:
    rows = 500
    columns: dict[str, list[Any]] = {
        "y": [float(index) * 1.5 for index in range(rows)],
        "a": list(range(rows)),
        "b": [-i for i in range(rows)],
    }
    parts = load({"path": str(write(tmp_path / "t.csv", columns)), "target": "y"})
    seen = []
    for part in (parts.train, parts.validation, parts.test):
        assert part is not None
        assert part.columns is not None
        np.testing.assert_allclose(part.columns["a"] * 1.5, part.y)
        np.testing.assert_allclose(part.columns["a"], -part.columns["b"])
        seen += part.columns["a"].tolist()
    assert sorted(seen) == list(range(rows))


def test_every_process_sees_the_same_rows(table: Path) -> None:
    program = (
        "import sys; from workers.data import load\n"
        f"parts = load({{'path': {str(table)!r}, 'target': 'fare'}})\n"
        "import hashlib; total = hashlib.sha256(parts.train.y.tobytes() + parts.validation.y.tobytes())\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
        "print(total.hexdigest(), parts.fingerprint)"
    )
    command = [sys.executable, "-c", program]
    seen = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(seen) == 1


def test_read_once_until_the_file_changes(table: Path) -> None:
    form = {"path": str(table), "target": "fare"}
    first = load(form)
    assert load(dict(form)) is first
    assert load({**form, "seed": 1}) is not first
    write(table, trips(ROWS + 1))
    changed = load(form)
    assert changed is not first
    assert changed.fingerprint != first.fingerprint


def test_fingerprint_is_of_the_content_not_of_the_place(table: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere.csv"
    copy.write_bytes(table.read_bytes())
    form = {"target": "fare"}
    assert load({"path": str(table), **form}).fingerprint == load({"path": str(copy), **form}).fingerprint
    assert load({"path": str(table), **form, "seed": 9}).fingerprint != load({"path": str(copy), **form}).fingerprint


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "t.tsv.gz", "t.parquet"])
def test_formats_agree(tmp_path: Path, table: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".parquet"):
        import pandas as pd

        pd.read_csv(table).to_parquet(path)
    else:
        write(path, trips(), "\t" if "tsv" in name else ",")
    form = {"target": "fare", "categories": ["zone"]}
    expected, found = load({"path": str(table), **form}), load({"path": str(path), **form})
    assert found.preprocessing == expected.preprocessing
    np.testing.assert_array_equal(found.train.y, expected.train.y)


def test_parts_from_files_of_their_own(tmp_path: Path, table: Path) -> None:
    """Types may differ between files (2 and 2.0); a column that is not used may hold anything."""
    other = trips(30)
    other["zone"] = [float(zone) for zone in other["zone"]]
    other["zone"][4] = None
    valid = write(tmp_path / "valid.csv", {**other, "key": ["unused"] * 30})
    form = {"path": str(table), "target": "fare", "categories": ["zone"], "validation": str(valid), "test": None}
    parts = load(form)
    assert parts.rows == {"train": ROWS, "validation": 30}
    assert parts.validation.columns is not None
    zone = parts.validation.columns["zone"]
    assert zone.dtype == np.int64
    assert zone[4] == 4  # missing: outside the vocabulary 5, 7, 11
    np.testing.assert_allclose(parts.validation.y, np.array(other["fare"], np.float32))


def test_booleans_with_gaps_become_text(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "y": [1.5 * i for i in range(20)],
        "ok": [None if i == 3 else i % 2 == 0 for i in range(20)],
    }
    parts = load({"path": str(write(tmp_path / "t.csv", columns)), "target": "y", "test": None})
    assert parts.preprocessing is not None
    assert parts.preprocessing["columns"][0]["kind"] == "text"
    assert parts.preprocessing["columns"][0]["vocabulary"] == ["False", "True"]


def test_constant_columns_do_not_explode(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {"y": [1.5 * i for i in range(20)], "a": [0.1] * 20, "b": list(range(20))}
    parts = load({"path": str(write(tmp_path / "t.csv", columns)), "target": "y"})
    assert parts.preprocessing is not None
    assert parts.preprocessing["columns"][0]["variance"] == 1.0


TARGETS = [
    (["yes", "no"], "classification", ["no", "yes"]),
    ([True, False], "classification", [False, True]),
    ([3, 1, 2], "classification", [1, 2, 3]),
    ([0, 1], "classification", [0, 1]),
    ([0.5, 1.5, 2.0], "regression", None),
    (list(range(40)), "regression", None),
]


@pytest.mark.parametrize(("values", "task", "labels"), TARGETS)
def test_task_is_read_from_the_target(tmp_path: Path, values: list[Any], task: str, labels: list[Any] | None) -> None:
    columns: dict[str, list[Any]] = {
        "a": [float(i) for i in range(200)],
        "y": [values[i % len(values)] for i in range(200)],
    }
    form = {"path": str(write(tmp_path / "t.csv", columns)), "target": "y"}
    parts = load(form)
    assert (parts.task, parts.labels) == (task, labels)
    assert parts.train.y.dtype == (np.int64 if labels else np.float32)
    if labels:
        assert parts.classes == len(labels)
        assert type(parts.labels and parts.labels[0]) is type(labels[0])
    if isinstance(values[0], int):
        assert load({**form, "task": "regression"}).train.y.dtype == np.float32


def test_task_can_be_said(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {"a": [float(i) for i in range(200)], "y": [i % 40 for i in range(200)]}
    form = {"path": str(write(tmp_path / "t.csv", columns)), "target": "y"}
    assert load({**form, "task": "classification"}).classes == 40


def test_classes_are_split_in_equal_shares(tmp_path: Path) -> None:
    labels = ["rare"] * 10 + ["common"] * 190
    parts = load({"path": str(write(tmp_path / "t.csv", {"a": list(range(200)), "y": labels})), "target": "y"})
    assert parts.labels == ["common", "rare"]
    assert parts.test is not None
    assert [int((part.y == 1).sum()) for part in (parts.train, parts.validation, parts.test)] == [6, 2, 2]


@pytest.mark.parametrize("own_file", [False, True])
def test_rows_that_are_held_back_share_the_classes_of_the_validation_rows(tmp_path: Path, own_file: bool) -> None:
    labels = ["rare" if index % 10 == 0 else "common" for index in range(300)]
    columns: dict[str, list[Any]] = {"a": list(range(300)), "y": labels}
    form: dict[str, Any] = {"path": str(write(tmp_path / "t.csv", columns)), "target": "y", "held_back": 0.3}
    other: dict[str, list[Any]] = {"a": list(range(300, 600)), "y": labels}
    validation = str(write(tmp_path / "v.csv", other)) if own_file else 0.8
    parts = load({**form, "validation": validation})
    ranking, held = (210, 90) if own_file else (168, 72)
    assert parts.rows == {"train": 300 if own_file else 60, "validation": ranking, "test": held}
    assert parts.test is not None
    rare = [int((part.y == 1).sum()) for part in (parts.validation, parts.test)]
    assert rare == pytest.approx([ranking / 10, held / 10], abs=1)
    assert (parts.validation.columns, parts.test.columns) != (None, None)
    seen = [row for part in (parts.validation, parts.test) for row in (part.columns or {})["a"]]
    assert len(set(seen)) == ranking + held
    assert own_file == (min(seen) >= 300)


def test_names_that_tensorflow_cannot_hold(tmp_path: Path) -> None:
    names = ["hours-per-week", "hours_per_week", "1st", "größe", "A", "a"]
    columns = {name: [float(i * (k + 1)) for i in range(30)] for k, name in enumerate(names)}
    path = write(tmp_path / "t.csv", {**columns, "y": [i * 0.5 for i in range(30)]})
    parts = load({"path": str(path), "target": "y"})
    assert parts.preprocessing is not None
    inputs = {entry["name"]: entry["input"] for entry in parts.preprocessing["columns"]}
    assert inputs == {
        "hours-per-week": "hours_per_week_2",
        "hours_per_week": "hours_per_week",
        "1st": "column_1st",
        "größe": "gr__e",
        "A": "A",
        "a": "a",
    }


def wrong(change: dict[str, list[Any]], **form: Any) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    return {**trips(), **change}, {"target": "fare", **form}


MISTAKES: dict[str, tuple[tuple[dict[str, list[Any]], dict[str, Any]], str]] = {
    "target unknown": (wrong({}, target="fair"), "no column 'fair', which is the target. Did you mean 'fare'"),
    "no target": (wrong({}, target=None), "name the column to predict, one of 'fare', 'distance'"),
    "labels missing": (wrong({"fare": [None, *trips()["fare"][1:]]}), "NaN or empty in 1 of 120 rows"),
    "labels infinite": (wrong({"fare": ["inf", *trips()["fare"][1:]]}), "NaN or infinite in 1 of 120 rows"),
    "regression of text": (wrong({}, target="payment", task="regression"), "regression needs numbers"),
    "one class": (
        wrong({"fare": ["same"] * ROWS}),
        "'fare' is always 'same': classification needs at least two classes",
    ),
    "decimal commas": (
        wrong({"zone": [f'"{row},5"' for row in range(ROWS)]}),
        "'zone' has numbers with a decimal comma",
    ),
    "target is an id": (wrong({"fare": [f"id{i}" for i in range(ROWS)]}), "too many for classes"),
    "text is an id": (wrong({"payment": [f"id{i}" for i in range(ROWS)]}), "Exclude it, or list it in categories"),
    "column empty": (wrong({"distance": [None] * ROWS}), "'distance' has no value in any train row"),
    "column infinite": (wrong({"distance": ["-inf", *trips()["distance"][1:]]}), "infinite in 1 rows"),
    "fractions as categories": (wrong({}, categories=["distance"]), "has fractions"),
    "excluded unknown": (wrong({}, exclude=["distanse"]), "Did you mean 'distance'"),
    "feature unknown": (wrong({}, features=["zon"]), "Did you mean 'zone'"),
    "nothing left": (wrong({}, features=["fare"]), "no column left to learn from"),
    "category not used": (wrong({}, exclude=["zone"], categories=["zone"]), "not among the features"),
    "weight negative": (wrong({"weight": [-1] * ROWS}, weight="weight"), "negative"),
    "unknown key": (wrong({}, tagret="fare"), "unknown key 'tagret'. Did you mean 'target'"),
    "validation none": (wrong({}, validation=None), "no validation rows"),
    "validation one": (wrong({}, validation=1.0), "between 0 and 1"),
    "validation too small": (wrong({}, validation=0.001), "no validation rows"),
    "shares above one": (wrong({}, validation=0.5, test=0.5), "less than 1 together"),
    "task unknown": (wrong({}, task="ranking"), "expected classification, regression"),
    "exclude is text": (wrong({}, exclude="zone"), "expected a list of column names"),
    "seed negative": (wrong({}, seed=-1), "expected a whole number"),
    "function too": (wrong({}, function="data:load"), "and not both"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_in_a_sentence(tmp_path: Path, mistake: str) -> None:
    (columns, form), sentence = MISTAKES[mistake]
    path = write(tmp_path / "trips.csv", columns)
    with pytest.raises(DataError) as caught:
        load({"path": str(path), **form})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


FILES: dict[str, tuple[str, bytes | None, str]] = {
    "a name twice": ("twice.csv", b"fare,x,fare\n1,2,1\n3,4,3\n", "has the columns 'fare' more than once"),
    "missing": ("trisp.csv", None, "Did you mean 'trips.csv'"),
    "missing folder": ("no/trips.csv", None, "does not exist"),
    "empty": ("empty.csv", b"", "is empty"),
    "header alone": ("header.csv", b"fare,a\n", "no rows"),
    "not text": ("bytes.csv", b"fare,a\n1,\xff\xfe\n", "not UTF-8"),
    "not gzip": ("plain.csv.gz", b"fare,a\n1,2\n", "cannot be read"),
    "not parquet": ("plain.parquet", b"fare,a\n1,2\n", "cannot be read"),
    "not npz": ("plain.npz", b"fare,a\n1,2\n", "cannot be read"),
    "truncated gzip": ("cut.csv.gz", gzip.compress(b"fare,a\n" + b"1,2\n" * 500)[:-20], "cannot be read"),
    "ragged": ("ragged.csv", b"fare,a\n1,2\n1,2,3,4\n", "cannot be read"),
    "unknown suffix": ("table.xlsx", b"PK", "expected a name that ends in .csv"),
    "single row": ("one.csv", b"fare,a\n1.5,2\n", "has 1 rows, too few to split"),
}


@pytest.mark.parametrize("case", FILES)
def test_unusable_files_are_told_in_a_sentence(table: Path, case: str) -> None:
    name, content, sentence = FILES[case]
    path = table.parent / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load({"path": str(path), "target": "fare"})
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value) or name in str(caught.value)


def test_a_validation_file_has_the_train_files_columns(table: Path) -> None:
    other = trips(30)
    del other["zone"]
    valid = write(table.parent / "valid.csv", {**other, "zonne": [1] * 30})
    with pytest.raises(DataError, match=r"valid\.csv has no column 'zone'.*'zonne'"):
        load({"path": str(table), "target": "fare", "validation": str(valid)})
    valid = write(table.parent / "valid.csv", {**trips(30), "distance": ["far"] * 30})
    with pytest.raises(DataError, match=r"'distance' of .*valid\.csv should hold numbers and has 'far' in 30 rows"):
        load({"path": str(table), "target": "fare", "validation": str(valid)})


def test_dates_in_parquet_are_refused(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({"y": np.arange(30) * 0.5, "when": pd.date_range("2020-01-01", periods=30)})
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="'when' holds dates"):
        load({"path": str(tmp_path / "t.parquet"), "target": "y"})
