"""The `data` of a study as a person writes it, checked as far as that needs no more of the data than a table's header.

What it becomes is a plain dictionary with every default spelled out: `workers.data` reads it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces.mistakes import told
from tuner.definitions.fields import Fields, is_number
from tuner.definitions.stored_data import PARTS, Held, part_file
from tuner.definitions.table_header import column_names
from tuner.names import brief, near, visible

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".npz")
OF_ROWS = ("task", "validation", "folds", "test", "held_back", "seed")
OF_COLUMNS = (
    "target", "task", "validation", "folds", "test", "held_back", "exclude", "features", "categories", "weight", "seed",
)  # fmt: skip
TASKS = ("regression", "classification")
SHARE = 0.2  # of the rows, for validation and for the test, unless said otherwise
MOST_SHARED = 0.9  # of the rows, so that some remain to learn from
MOST_FOLDS = 100  # into which the rows are divided
MOST_NAMED = 12  # columns in a sentence
MOST_HELD_BACK = 0.5  # of the validation rows: trials are ranked by the others

_SYNONYMS = {
    "file": "path",
    "train": "path",
    "label": "target",
    "labels": "target",
    "y": "target",
    "valid": "validation",
    "validation_split": "validation",
    "test_split": "test",
    "holdout": "held_back",
    "hold_back": "held_back",
    **dict.fromkeys(("cv", "cross_validation", "n_splits", "n_folds", "k_folds", "kfold"), "folds"),
    "drop": "exclude",
    "ignore": "exclude",
    "columns": "features",
    "categorical": "categories",
    "weights": "weight",
    "sample_weight": "weight",
    "random_state": "seed",
    "loader": "function",
}


def read_data(form: Fields, base: Path) -> dict[str, Any] | None:
    """The field `data` of a study's form, every default spelled out; None where it is absent or wrong.

    A text is a function ("module:function") or, by its suffix, a file. Paths are resolved against `base`.
    """
    given = form.raw("data")
    if given is None:
        return None
    if callable(given) or (isinstance(given, str) and not _is_file_name(given)):
        function = form.entry_point("data", "module:function")
        given = None if function is None else {"function": function}
    elif isinstance(given, (str, Path)):
        given = {"path": given}
    elif not isinstance(given, Mapping):
        form.wrong("data", "expected {path: train.csv, target: COLUMN}, or the text 'module:function'.")
        given = None
    if given is None:
        return None
    data = Fields(given, form.problems, "data.")
    if "frame" in data:
        return _frame(data)
    kind = next((kind for kind in ("function", "arrays") if kind in data), None)
    return _table(data, base) if kind is None else _rows(data, kind)


def _rows(data: Fields, kind: str) -> dict[str, Any]:
    """What a function returns, or arrays in memory."""
    meant_for_files = [key for key in ("path", *OF_COLUMNS) if key in data and key not in OF_ROWS]
    for key in meant_for_files:
        data.problems.append(f"{data.path(key)} belongs to a file, but `data.{kind}` is given: keep one of the two.")
    data.only([kind, *OF_ROWS, *meant_for_files], _SYNONYMS)
    if kind == "function" and data.raw("function") is None:
        data.wrong("function", "expected 'module:function'.")
    return {
        kind: _sha256(data, kind) if kind == "arrays" else data.entry_point("function", "module:function"),
        "task": _task(data),
        **_validation(data, None),
        **_test(data, None),
        "seed": data.whole("seed", 0, 0, 2**32 - 1),
    }


def _sha256(data: Fields, kind: str) -> str | None:
    """What names the data that is in memory; a text where a definition says it again."""
    given = data.raw(kind)
    if isinstance(given, Held):
        return given.sha256
    if isinstance(given, str) and re.fullmatch("[0-9a-f]{64}", given):
        return given
    data.wrong(kind, "which Python alone can give, as what is in memory; expected `data.path`, a file.")
    return None


def _table(data: Fields, base: Path) -> dict[str, Any]:
    data.only(["path", *OF_COLUMNS], _SYNONYMS)
    path = _path(data, "path", base)
    if "path" not in data:
        data.problems.append("`data.path` is missing: expected the file to learn from, or `data.function`.")
    form = {"path": path, **_columns(data, path is not None and not path.endswith(".npz"), base)}
    _agree(data, form)
    if path is not None and (known := column_names(Path(path))) is not None:
        _require_columns(data, form, known, visible(Path(path).name))
    return form


def _frame(data: Fields) -> dict[str, Any]:
    """A table in memory; its validation and test part may be tables of their own, which came with it."""
    frame = data.raw("frame")
    files = frame.files if isinstance(frame, Held) else [data.raw(part) for part in PARTS]
    apart = [part for part in PARTS if part_file(part) in files]
    for part in apart if isinstance(frame, Held) else ():
        if data.raw(part) is not None:
            data.problems.append(f"{data.path(part)} is given, and `data.frame` has a {part} table: keep one of them.")
    data.only(["frame", *OF_COLUMNS], _SYNONYMS)
    form = {"frame": _sha256(data, "frame"), **_columns(data, True, None, apart)}
    _agree(data, form)
    if isinstance(frame, Held):
        _require_columns(data, form, list(frame.columns), "the frame")
    return form


def _columns(data: Fields, of_table: bool, base: Path | None, apart: Sequence[str] = ()) -> dict[str, Any]:
    """What is done with rows and columns. `apart`: parts that came with the table, as tables of their own."""
    target = data.text("target", None, "the name of the column to predict")
    if target is None and of_table and data.raw("target") is None:
        data.problems.append("`data.target` is missing: expected the name of the column to predict.")
    return {
        "target": target,
        "task": _task(data),
        **_validation(data, base, "validation" in apart),
        **_test(data, base, "test" in apart),
        "exclude": data.texts("exclude", "column names"),
        "features": data.texts("features", "column names") or None,
        "categories": data.texts("categories", "column names"),
        "weight": data.text("weight", None, "the name of a column"),
        "seed": data.whole("seed", 0, 0, 2**32 - 1),
    }


def _task(data: Fields) -> str | None:
    if data.raw("task") in (None, "auto"):
        return None
    return data.one_of("task", "", TASKS, {"classify": "classification", "regress": "regression"})


def _validation(data: Fields, base: Path | None, apart: bool = False) -> dict[str, Any]:
    """Which rows validate: a share of them or a file, or each in its turn where they are divided into folds.

    `apart`: a table of its own came with the frame.
    """
    folds = data.whole_or_none("folds", None, 2, MOST_FOLDS)
    given = [f"{data.path(key)} is given" for key in ("validation", "held_back") if data.raw(key) is not None]
    given += ["`data.frame` has a validation table"] * apart
    if folds is not None and given:
        data.problems.append(f"`data.folds` says which rows validate, and {given[0]}: keep one of the two.")
    if apart:
        return {"validation": part_file("validation"), "folds": folds}
    return {"validation": _part(data, "validation", base) if folds is None else None, "folds": folds}


def _part(data: Fields, key: str, base: Path | None) -> str | float | None:
    """A part of the rows: a share of them, another file (where `base` is given), or none for the test."""
    if key not in data:
        return SHARE
    value = data.raw(key)
    if value is None and key == "test":
        return None
    if key == "validation" and (value is None or (is_number(value) and value == 0)):
        data.wrong(key, "a study needs validation rows: expected a share of the rows such as 0.2, or a file.")
        return None
    if base is not None and (isinstance(value, Path) or (isinstance(value, str) and _is_file_name(value))):
        return _path(data, key, base)
    if is_number(value) and 0 < value <= MOST_SHARED:
        return float(value)
    others = " or a file" * (base is not None) + " or null for none" * (key == "test")
    data.wrong(key, f"expected a share of the rows above 0 and at most {MOST_SHARED}{others}.")
    return None


def _test(data: Fields, base: Path | None, apart: bool = False) -> dict[str, Any]:
    """The test part: rows of its own, or a share of the validation rows that is held back from ranking."""
    held_back = data.number_or_none("held_back", 0.0, MOST_HELD_BACK, above=True)
    if held_back is not None and (apart or data.raw("test") is not None):
        data.problems.append(
            f"{data.path('held_back')} makes a test part of validation rows, and `data.test` is given: keep one."
        )
    if apart:
        return {"test": part_file("test"), "held_back": held_back}
    test = _part(data, "test", base) if held_back is None or "test" in data else None
    return {"test": test, "held_back": held_back}


def _agree(data: Fields, form: dict[str, Any]) -> None:
    """Mistakes that only show between two fields."""
    if (form.get("path") or "").lower().endswith(".npz"):
        for key in ("target", "exclude", "features", "categories", "weight"):
            if form[key]:
                data.problems.append(f"`data.{key}` names columns, and an .npz file has none: remove it.")
    shares = [form[key] for key in ("validation", "test") if isinstance(form[key], float)]
    if sum(shares) > MOST_SHARED:
        data.problems.append(
            f"`data.validation` and `data.test` take {sum(shares):g} of the rows together; "
            f"expected at most {MOST_SHARED}, so that rows to learn from remain."
        )
    for key in ("exclude", "features", "categories"):
        for special in ("target", "weight"):
            if form[special] is not None and form[special] in (form[key] or []):
                column = brief(form[special])
                data.problems.append(f"`data.{key}` names {column}, which is also `data.{special}`: remove one.")
    for column in sorted(set(form["exclude"]) & set((form["features"] or []) + form["categories"])):
        data.problems.append(f"`data.exclude` names {brief(column)}, which is also used as a feature: remove one.")
    if form["weight"] is not None and form["weight"] == form["target"]:
        data.problems.append(f"`data.weight` and `data.target` are both {brief(form['weight'])}: expected two columns.")


def _require_columns(data: Fields, form: Mapping[str, Any], known: list[str], table: str) -> None:
    """Every column that is named is one of the table's."""
    for key in ("target", "weight", "features", "exclude", "categories"):
        given = form[key]
        for name in [given] if isinstance(given, str) else given or []:
            if name not in known:
                lacks = f"which {table} does not have.{_of(name, known)}"
                data.problems.append(f"{data.path(key)} names {brief(name)}, {lacks}")


def _of(name: str, columns: list[str]) -> str:
    if len(columns) == 1 and (wrong := [each for each in ";\t|" if each in columns[0]]):
        return f" Its first line is divided by {wrong[0]!r}; expected commas in a .csv file, tabs in a .tsv file."
    few = ", ".join(map(visible, columns[:MOST_NAMED])) + (", ..." if columns[MOST_NAMED:] else "")
    return near(name, columns) or f" Its columns: {few}."


def _path(data: Fields, key: str, base: Path) -> str | None:
    """The absolute path of an existing, readable, non-empty file of a known format."""
    given = data.raw(key)
    if not isinstance(given, (str, Path)) or not str(given) or "\0" in str(given):
        if key in data:
            data.wrong(key, f"expected the path of a {_formats()} file.")
        return None
    try:
        path = base.joinpath(Path(given).expanduser()).resolve()
    except (OSError, RuntimeError):  # an unknown user after `~`, or links that lead in a circle
        data.wrong(key, "which leads nowhere; expected the path of a file.")
        return None
    problem = _file_problem(path)
    if problem is not None:
        data.problems.append(f"{data.path(key)} is {told(str(given))}, {problem}")
        return None
    return str(path)


def _file_problem(path: Path) -> str | None:
    try:
        if path.is_dir():
            return f"which is a folder; expected a {_formats()} file." + _inside(path)
        if not path.exists():
            return f"but there is no file {str(path)!r}.{_beside(path)}"
        if not os.access(path, os.R_OK):
            return f"but {str(path)!r} may not be read by this user; change its permissions."
        if path.stat().st_size == 0:
            return "but that file is empty; expected rows to learn from."
    except OSError as error:
        return f"which cannot be looked at: {error.strerror}."
    return None if _is_file_name(path.name) else f"whose format is unknown; expected a {_formats()} file."


def _beside(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" Its folder {str(folder)!r} does not exist either."
    return near(path.name, [item.name for item in folder.iterdir()][:10_000])


def _inside(folder: Path) -> str:
    files = sorted(item.name for item in folder.iterdir() if _is_file_name(item.name))[:5]
    return f" It holds {', '.join(map(visible, files))}." if files else ""


def _is_file_name(given: str) -> bool:
    return given.lower().endswith(SUFFIXES)


def _formats() -> str:
    return ", ".join(SUFFIXES[:-1]) + " or " + SUFFIXES[-1]
