"""The `data` part of a study definition, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from workers.data.errors import DataError, nearest
from workers.data.parts import Task
from workers.data.split import Fold

FRACTION = 0.2  # of all rows, for validation and for the test part each
TASKS = ("classification", "regression")


@dataclass(frozen=True)
class Options:
    """Where a study's data comes from. Exactly one of `path` and `function` is given."""

    path: Path | None = None  # .csv .tsv (.gz too) .parquet .npz
    function: str | None = None  # "module:function", called without arguments
    target: str | None = None  # the column to predict; not for .npz
    task: Task | None = None  # None: read from the targets
    validation: Path | float | Fold = FRACTION  # a file of its own, a share of all rows, or one of several folds
    test: Path | float | None = FRACTION  # the same; None: no test part
    held_back: float | None = None  # share of the validation rows that becomes the test part where there is no other
    exclude: tuple[str, ...] = ()  # columns that are not features
    features: tuple[str, ...] | None = None  # None: every column but target, weight and exclude
    categories: tuple[str, ...] = ()  # columns of whole numbers or text that name categories
    weight: str | None = None  # column with one non-negative weight per row
    seed: int = 0  # of the splits

    @classmethod
    def parse(cls, form: Mapping[str, Any]) -> Options:
        """Raises DataError for unknown keys and for values that cannot be meant."""
        known = [*(entry.name for entry in fields(cls)), "folds"]
        for key in form:
            if key not in known:
                raise DataError(f"data: unknown key {key!r}.{nearest(str(key), known)}")
        if (form.get("path") is None) == (form.get("function") is None):
            raise DataError("data: expected either 'path' (a file) or 'function' ('module:function'), and not both.")
        if form.get("function") is not None:
            for key in ("validation", "test"):
                if isinstance(form.get(key), str | Path):
                    raise DataError(f"data.{key}: a file, but a function gives the rows: expected a share such as 0.2.")
        task = form.get("task")
        if task not in {None, "auto", *TASKS}:
            raise DataError(f"data.task: {task!r} given, expected classification, regression or nothing.")
        features = form.get("features")
        return cls(
            path=_file("path", form.get("path")),
            function=_text("function", form.get("function")),
            target=_text("target", form.get("target")),
            task=None if task == "auto" else task,
            features=None if features is None else _names("features", features),
            exclude=_names("exclude", form.get("exclude") or ()),
            categories=_names("categories", form.get("categories") or ()),
            weight=_text("weight", form.get("weight")),
            seed=_seed(form.get("seed", 0)),
            **_shares(form),
        )

    @property
    def files(self) -> dict[str, Path]:
        """The files to read: "train", and "validation" and "test" where these are files of their own."""
        found = {"train": self.path, "validation": self.validation, "test": self.test}
        return {name: path for name, path in found.items() if isinstance(path, Path)}

    @property
    def shares(self) -> tuple[float | Fold, float]:
        """The shares of the rows that become the validation and the test part; 0 where these are files, or none."""
        validation = 0.0 if isinstance(self.validation, Path) else self.validation
        return validation, self.test if isinstance(self.test, float) else 0.0

    @property
    def each_fold(self) -> tuple[Options, ...]:
        """These options for every fold in turn; these alone where there are none."""
        if not isinstance(self.validation, Fold):
            return (self,)
        folds = self.validation.of
        return tuple(replace(self, validation=Fold(number, folds)) for number in range(folds))


def _shares(form: Mapping[str, Any]) -> dict[str, Any]:
    held_back = _held_back(form)
    validation = _first_fold(form) or _share("validation", form.get("validation", FRACTION))
    test = _share("test", form.get("test", FRACTION if held_back is None else None))
    if validation is None:
        raise DataError("data.validation: no validation rows; expected a file or a share of the rows such as 0.2.")
    total = sum(share for share in (validation, test) if isinstance(share, float))
    if total >= 1.0:
        raise DataError(f"data: validation and test take {total:g} of the rows, expected less than 1 together.")
    return {"validation": validation, "test": test, "held_back": held_back}


def _first_fold(form: Mapping[str, Any]) -> Fold | None:
    folds = form.get("folds")
    if folds is None:
        return None
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise DataError(f"data.folds: {folds!r} given, expected a whole number from 2 up.")
    for key in ("validation", "held_back"):
        if form.get(key) is not None:
            raise DataError(f"data.folds says which rows validate, and data.{key} is given: keep one of them.")
    return Fold(0, folds)


def _held_back(form: Mapping[str, Any]) -> float | None:
    if form.get("held_back") is None:
        return None
    if form.get("test") is not None:
        raise DataError(
            "data.held_back makes a test part of validation rows, and data.test is given: keep one of them."
        )
    share = _share("held_back", form["held_back"])
    if not isinstance(share, float):
        raise DataError(f"data.held_back: {share} given, expected a share of the validation rows such as 0.33.")
    return share


def _share(key: str, value: Any) -> Path | float | None:
    if value is None or isinstance(value, str | Path):
        return _file(key, value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < 1.0:
        raise DataError(f"data.{key}: {value!r} given, expected a file or a share of the rows between 0 and 1.")
    return float(value)


def _file(key: str, value: Any) -> Path | None:
    if isinstance(value, str) and "\0" in value:
        raise DataError(f"data.{key}: {value!r} is not a file name.")
    return Path(value).expanduser() if isinstance(value, Path) or _text(key, value) is not None else None


def _text(key: str, value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise DataError(f"data.{key}: {value!r} given, expected text.")
    return value


def _names(key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, list | tuple) or not all(isinstance(x, str) for x in value):
        raise DataError(f"data.{key}: {value!r} given, expected a list of column names.")
    return tuple(value)


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DataError(f"data.seed: {value!r} given, expected a whole number from 0 up.")
    return value
