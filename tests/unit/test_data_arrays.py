"""Arrays of .npz files and of user functions become parts."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from workers.data import DataError, Parts, load
from workers.data.arrays import parts_from
from workers.data.options import Options
from workers.data.split import split
from workers.entry_points import EntryPointError

X = np.arange(200, dtype=np.float64).reshape(100, 2)
Y = np.arange(100) % 4
DATASET = SimpleNamespace(element_spec=None, cardinality=None)  # looks like one of tf.data's
PAIR, VALID, TEST = (X, Y), (X[:20], Y[:20]), (X[:8], Y[:8])


def parts(value: Any, **form: Any) -> Parts:
    [found] = parts_from(value, Options.parse({"function": "data:load", **form}), "data:load")
    return found


def test_one_pair_is_split_into_equal_shares_of_the_classes() -> None:
    found = parts((X, Y))
    assert found.rows == {"train": 60, "validation": 20, "test": 20}
    assert (found.task, found.classes, found.input_shape) == ("classification", 4, (2,))
    assert found.train.x.dtype == np.float32
    assert np.bincount(found.validation.y).tolist() == [5, 5, 5, 5]
    np.testing.assert_array_equal(found.train.x[:, 0] // 2 % 4, found.train.y)
    assert parts((X, Y), test=None, validation=0.5).rows == {"train": 50, "validation": 50}


def test_validation_rows_are_held_back_where_there_is_no_test_part() -> None:
    found = parts((PAIR, (X, Y)), held_back=0.5)
    assert found.rows == {"train": 100, "validation": 50, "test": 50}
    assert found.test is not None
    rows = sorted([*found.validation.x[:, 0], *found.test.x[:, 0]])
    np.testing.assert_array_equal(rows, X[:, 0], "a row is lost, or both ranks and scores")
    assert sorted(np.bincount(found.test.y)) == sorted(np.bincount(found.validation.y)) == [12, 12, 13, 13]
    np.testing.assert_array_equal(found.test.x[:, 0] // 2 % 4, found.test.y)
    again, other = parts((PAIR, (X, Y)), held_back=0.5), parts((PAIR, (X, Y)), held_back=0.5, seed=1)
    assert again.test is not None and other.test is not None
    np.testing.assert_array_equal(again.test.x, found.test.x)
    assert not np.array_equal(other.test.x, found.test.x)
    assert again.fingerprint == found.fingerprint != parts((PAIR, (X, Y))).fingerprint


HELD_BACK_MISTAKES: list[tuple[Any, dict[str, Any], str]] = [
    ((PAIR, VALID), {"held_back": 0.5}, "0.5 of the 20 validation rows are 10; a score needs at least 50"),
    ((PAIR, VALID, TEST), {"held_back": 0.5}, "data:load gave one: remove held_back"),
    (PAIR, {"held_back": 0.5, "test": 0.2}, "keep one of them"),
    (PAIR, {"held_back": "some.csv"}, "expected a share of the validation rows"),
    (PAIR, {"held_back": 2}, "between 0 and 1"),
    ((DATASET, DATASET), {"held_back": 0.5}, "a third dataset as the test part"),
]


@pytest.mark.parametrize(("value", "form", "words"), HELD_BACK_MISTAKES)
def test_rows_that_cannot_be_held_back(value: Any, form: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        parts(value, **form)


FORMS: list[tuple[Any, dict[str, int]]] = [
    ((PAIR, VALID), {"train": 100, "validation": 20}),
    ([PAIR, VALID, TEST], {"train": 100, "validation": 20, "test": 8}),
    ({"train": PAIR, "val": VALID}, {"train": 100, "validation": 20}),
    ({"train": {"x": X, "y": Y}, "validation": VALID, "test": TEST}, {"train": 100, "validation": 20, "test": 8}),
    ({"x": X, "y": Y}, {"train": 60, "validation": 20, "test": 20}),
    ({"x_train": X, "y_train": Y, "x_valid": X[:5], "y_valid": Y[:5]}, {"train": 100, "validation": 5}),
    ({"x": X, "y": Y, "x_val": X[:5], "y_val": Y[:5]}, {"train": 100, "validation": 5}),
    (((X, Y, np.ones(100)), VALID), {"train": 100, "validation": 20}),
    ((X.tolist(), Y.tolist()), {"train": 60, "validation": 20, "test": 20}),
]


@pytest.mark.parametrize(("value", "rows"), FORMS)
def test_accepted_forms(value: Any, rows: dict[str, int]) -> None:
    assert parts(value).rows == rows


def test_several_inputs_keep_their_structure() -> None:
    wide, deep = np.zeros((100, 3)), np.zeros((100, 4, 5))
    found = parts(({"wide": wide, "deep": deep}, Y))
    assert found.input_shape == {"wide": (3,), "deep": (4, 5)}
    assert found.validation.x["deep"].shape == (20, 4, 5)
    found = parts(((wide, deep), Y))
    assert found.input_shape == ((3,), (4, 5))
    assert found.train.x[1].shape == (60, 4, 5)
    assert parts(([wide, deep], {"a": Y, "b": Y})).task is None


TARGETS: list[tuple[Any, str | None, Any, int | None]] = [
    (Y, None, "classification", 4),
    (Y.reshape(-1, 1).astype(np.uint8), None, "classification", 4),
    (Y % 2 == 0, None, "classification", 2),
    (np.where(Y > 1, "high", "low"), None, "classification", 2),
    (np.eye(4)[Y], None, "classification", 4),
    (X[:, 0], None, "regression", None),
    (X, None, "regression", None),
    (np.arange(100) * 7919, None, "regression", None),
    (Y, "regression", "regression", None),
    (Y - 1, "classification", "classification", 4),
    (np.zeros((100, 7, 3)), None, None, None),
]


@pytest.mark.parametrize(("y", "said", "task", "classes"), TARGETS)
def test_task_is_read_from_the_targets(y: np.ndarray, said: str | None, task: str | None, classes: int | None) -> None:
    found = parts((X, y), task=said)
    assert (found.task, found.classes) == (task, classes)
    assert found.train.y.shape == (60, *y.shape[1:])


def test_class_numbers_stay_as_the_user_made_them() -> None:
    """A `build(hp)` of the user's own fits its loss to them."""
    found = parts((X, Y + 1))
    assert found.classes == 5
    assert set(found.train.y) == {1, 2, 3, 4}


def test_texts_become_numbers_alike_in_all_parts() -> None:
    text = np.array(["b", "a", "c", "a"], dtype=object)
    found = parts(((X[:4], text), (X[:1], np.array(["c"]))))
    assert found.labels == ["a", "b", "c"]
    assert found.train.y.tolist() == [1, 0, 2, 0]
    assert found.validation.y.tolist() == [2]


MISTAKES: dict[str, tuple[Any, str]] = {
    "nothing": (None, "gave None, expected (x, y)"),
    "one array": (X, "gave a ndarray"),
    "four things": ((X, Y, X, Y), "a tuple of 4"),
    "unequal lengths": ((X, Y[:-1]), "x of 100 rows and y of 99"),
    "inputs of unequal lengths": (({"a": X, "b": X[:3]}, Y), "all need the same length"),
    "empty": ((X[:0], Y[:0]), "is empty"),
    "empty validation": ((PAIR, (X[:0], Y[:0])), "The validation part of data:load is empty"),
    "NaN labels": ((X, np.where(Y == 1, np.nan, Y)), "NaN or infinite in 25 of 100 rows"),
    "other shape": ((PAIR, (X[:, :1], Y)), "x of shape (2,) per row in train and (1,) in validation"),
    "other targets": ((PAIR, (X, np.eye(4)[Y])), "y of shape () per row in train and (4,) in validation"),
    "other outputs": (((X, {"a": Y}), (X, {"b": Y})), "y of shape {'a': ()} per row in train and {'b'"),
    "an output less": (((X, {"a": Y}), PAIR), "y of shape {'a': ()} per row in train and () in validation"),
    "no validation": ({"train": PAIR, "test": TEST}, "gave no validation part"),
    "no targets": ({"x": X}, "gave x alone"),
    "unknown name": ({"x_trian": X, "y_train": Y}, "gave 'x_trian'"),
    "ragged": (([[1, 2], [3]], [0, 1]), "no array"),
    "objects": ((np.array([{}, {}], dtype=object), [0, 1]), "holds objects"),
    "scalar": ((3, 4), "expected an array with a row per example"),
    "negative weights": ((X, Y, -np.ones(100)), "negative"),
    "weights of two columns": ((X, Y, X), "expected one number per row"),
    "part is None": ((PAIR, (None, None)), "The validation part of data:load gave a tuple of 2"),
    "too few rows": ((X[:2], X[:2, 0]), "too few to split"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_in_a_sentence(mistake: str) -> None:
    value, sentence = MISTAKES[mistake]
    with pytest.raises(DataError) as caught:
        parts(value)
    assert sentence in str(caught.value)
    assert "data:load" in str(caught.value) or "too few" in sentence or "Target" in str(caught.value)


def test_arrays_cannot_be_changed_by_a_trial() -> None:
    found = parts((PAIR, VALID))
    with pytest.raises(ValueError, match="read-only"):
        found.train.x[0] = 0
    assert X.flags.writeable


def test_fingerprint_is_of_the_content() -> None:
    changed = X.copy()
    changed[7, 1] += 1e-3
    assert parts((PAIR, VALID)).fingerprint == parts((PAIR, VALID)).fingerprint
    assert parts((PAIR, VALID)).fingerprint != parts(((changed, Y), VALID)).fingerprint


def module(folder: Path, name: str, code: str) -> dict[str, Any]:
    """Arguments of `load` for a function `load` in a module of this name."""
    (folder / f"{name}.py").write_text(code)
    return {"data": {"function": f"{name}:load"}, "import_paths": [str(folder)]}


def test_a_function_is_called_once_per_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    code = "calls = []\ndef load():\n    calls.append(1)\n    return [[0.0], [1.0]] * 50, [0, 1] * 50\n"
    arguments = module(tmp_path, "counted_data", code)
    first = load(**arguments)
    assert load(**arguments) is first
    assert len(sys.modules["counted_data"].calls) == 1
    assert first.rows["train"] == 60


def test_a_function_that_raises_is_told_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    arguments = module(tmp_path, "broken_data", "def load():\n    return {}['train']\n")
    with pytest.raises(DataError, match=r"broken_data:load failed: KeyError \(broken_data\.py, line 2\)"):
        load(**arguments)
    arguments["data"]["function"] = "broken_data:laod"
    with pytest.raises(EntryPointError, match="'load'"):
        load(**arguments)
    arguments["data"] = {"function": "broken_data:load", "validation": "valid.csv"}
    with pytest.raises(DataError, match="expected a share"):
        load(**arguments)


def test_each_row_validates_in_one_fold_and_the_test_part_is_the_same_in_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    code = "calls = []\ndef load():\n    calls.append(1)\n    return [[float(i)] for i in range(100)], [0, 1] * 50\n"
    arguments = module(tmp_path, "folded_data", code)
    arguments["data"] |= {"folds": 3, "test": 0.2}
    folds = [load(**arguments, trial=trial) for trial in (3, 4, 5)]
    assert load(**arguments, trial=30) is folds[0]
    assert len(sys.modules["folded_data"].calls) == 1
    test = folds[0].test
    assert test is not None
    validated = np.concatenate([fold.validation.x[:, 0] for fold in folds])
    np.testing.assert_array_equal(sorted([*validated, *test.x[:, 0]]), np.arange(100.0))
    for fold in folds:
        assert fold.test is not None
        np.testing.assert_array_equal(fold.test.x, test.x)
        assert fold.rows in ({"train": 53, "validation": 27, "test": 20}, {"train": 54, "validation": 26, "test": 20})
        rows = [*fold.train.x[:, 0], *fold.validation.x[:, 0], *test.x[:, 0]]
        np.testing.assert_array_equal(sorted(rows), np.arange(100.0))
        assert abs(np.bincount(fold.validation.y)[0] - 13) <= 1, "not stratified"


def test_parts_that_were_given_are_put_together_before_they_are_divided() -> None:
    x = {"b": X, "a": X + 1000}
    given = ((x, Y), ({"a": x["a"][:20] + 5000, "b": X[:20] + 5000}, Y[:20]), ({"a": X[:9], "b": X[:9]}, Y[:9]))
    options = Options.parse({"function": "data:load", "folds": 4})
    folds = parts_from(given, options, "data:load")
    assert [fold.rows for fold in folds] == [{"train": 90, "validation": 30, "test": 9}] * 4
    validated = np.concatenate([fold.validation.x["a"][:, 0] for fold in folds])
    np.testing.assert_array_equal(sorted(validated), sorted([*x["a"][:, 0], *(x["a"][:20, 0] + 5000)]))
    for fold in folds:
        np.testing.assert_array_equal(fold.train.x["a"] % 1000, fold.train.x["b"] % 1000, "inputs of other rows")
        np.testing.assert_array_equal(fold.train.x["b"][:, 0] % 1000 // 2 % 4, fold.train.y, "targets of other rows")
    weighted = parts_from(((X, Y, np.full(100, 3.0)), (X, Y)), options, "data:load")[0]
    assert "test" not in weighted.rows, "rows were taken for a test part unasked"
    assert set(np.asarray(weighted.train.weight)) == {1.0, 3.0}
    with pytest.raises(DataError, match=r"no validation rows: data:load has 3 rows, .* or data\.folds are too many"):
        parts_from((X[:3], [0.5, 1.5, 2.5]), replace(options, test=None), "data:load")


def test_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", x=X, y=Y)
    np.savez(tmp_path / "parts.npz", x_train=X, y_train=Y, x_val=X[:9], y_val=Y[:9])
    np.savez(tmp_path / "test.npz", x=X[:7], y=Y[:7])
    np.savez(tmp_path / "pickle.npz", x=np.array([{}], dtype=object), y=Y)
    one = load({"path": str(tmp_path / "one.npz")})
    assert one.rows == {"train": 60, "validation": 20, "test": 20}
    assert one.preprocessing is None
    found = load({"path": str(tmp_path / "parts.npz"), "test": str(tmp_path / "test.npz")})
    assert found.rows == {"train": 100, "validation": 9, "test": 7}
    with pytest.raises(DataError, match="cannot be read"):
        load({"path": str(tmp_path / "pickle.npz")})


@pytest.mark.parametrize("rows", [5, 10, 99, 1000])
def test_split_gives_exact_shares(rows: int) -> None:
    classes = np.arange(rows) % 3
    for strata in (None, classes):
        pieces = split(rows, 0.2, 0.2, 7, strata)
        assert sorted(np.concatenate(pieces)) == list(range(rows))
        assert len(pieces[2]) == int(rows * 0.2 + 1e-9)
        assert abs(len(pieces[1]) - rows * 0.2) <= 1
        again = split(rows, 0.2, 0.2, 7, strata)
        assert all((one == two).all() for one, two in zip(pieces, again, strict=True))
