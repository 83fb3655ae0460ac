"""From arrays or tf.data datasets (a user's function, an .npz file) to the parts of a study.

Accepted forms, x being an array, or a dict or tuple of arrays for several inputs, w optional weights:

    (x, y)  (x, y, w)                                           split by data.validation and data.test
    ((x, y), (x_validation, y_validation))                      the third pair is the test part
    {"x": x, "y": y}   {"x_train": ..., "y_train": ..., "x_validation": ..., ...}
    {"train": (x, y), "validation": (x, y), "test": (x, y)}
    (dataset, dataset)  (dataset, dataset, dataset)  {"train": dataset, "validation": dataset}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from workers.data.errors import DataError
from workers.data.npz import digest_of, flat
from workers.data.options import Options
from workers.data.parts import Part, Parts
from workers.data.pieces import Piece, joined, leaves, map_leaves
from workers.data.split import Fold, hold_back, split
from workers.data.tables import checked_weight, require_rows
from workers.data.targets import Targets, array_targets

PARTS_IN_ORDER = ("train", "validation", "test")
PARTS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
BATCHED = {"PyDataset", "DataLoader"}  # Keras' and PyTorch's classes that give batches by number
FIELDS = {"x": "x", "y": "y", "w": "weight", "weight": "weight", "sample_weight": "weight"}
EXPECTED = "expected (x, y), ((x, y), (x_validation, y_validation)), a dict of these names, or (dataset, dataset)"


def parts_from(value: Any, options: Options, origin: str, fingerprint: str | None = None) -> list[Parts]:
    """The parts of a study, of each fold, from what `origin` (for messages) gave. Raises DataError."""
    given = _named_parts(value, origin)
    if all(is_dataset(item) for item in given.values()):
        from workers.data.datasets import parts_from_datasets

        if isinstance(options.validation, Fold):
            raise DataError(f"data.folds divides rows, and {origin} gave datasets: expected arrays, or no folds.")
        return [parts_from_datasets(given, options, origin)]
    pieces = _pieces(given, origin)
    targets = _targets(pieces, options)
    return [_parts(pieces, targets, each, origin, fingerprint) for each in options.each_fold]


def _parts(
    pieces: Mapping[str, Piece], targets: Targets, options: Options, origin: str, fingerprint: str | None
) -> Parts:
    pieces = _held_back(_split(pieces, targets, options), targets, options, origin)
    rows = {name: piece.rows for name, piece in pieces.items()}
    require_rows(rows, sum(rows.values()), options, origin)
    parts = {name: _part(piece) for name, piece in pieces.items()}
    return Parts(
        train=parts["train"],
        validation=parts["validation"],
        test=parts.get("test"),
        task=targets.task,
        classes=targets.classes,
        labels=targets.labels,
        input_shape=map_leaves(lambda array: tuple(array.shape[1:]), parts["train"].x),
        preprocessing=None,
        fingerprint=fingerprint or _fingerprint(pieces),
        notes={"source": origin},
    )


def named_arrays(value: Any, origin: str) -> dict[str, np.ndarray]:
    """The arrays of what `origin` gave, checked, under the names that they have in an .npz file. Raises DataError."""
    given = _named_parts(value, origin)
    if any(is_dataset(item) for item in given.values()):
        raise DataError(
            f"{origin} holds a tf.data.Dataset, which is read anew in each process: give a function for it."
        )
    found: dict[str, np.ndarray] = {}
    for part, piece in _pieces(given, origin).items():
        fields = {"x": piece.x, "y": piece.y, **({} if piece.weight is None else {"weight": piece.weight})}
        for field, structure in fields.items():
            found.update(flat(field if part == "all" else f"{field}_{part}", structure))
    return found


def is_dataset(value: Any) -> bool:
    """Whether this is a tf.data.Dataset, without importing TensorFlow."""
    return hasattr(value, "element_spec") and hasattr(value, "cardinality")


def _pieces(given: Mapping[str, Any], origin: str) -> dict[str, Piece]:
    pieces = {name: _piece(item, name, origin) for name, item in given.items()}
    _same_shapes(pieces, origin)
    return pieces


def _named_parts(value: Any, origin: str) -> dict[str, Any]:
    """{"train": (x, y) or a dataset, "validation": ..., "test": ...}; "all" for rows that are still to be split."""
    if isinstance(value, Mapping):
        named = _named(value, origin)
    elif isinstance(value, list | tuple) and len(value) in {2, 3}:
        split_already = all(is_dataset(item) or _is_pair(item) for item in value)
        mixed = any(is_dataset(item) for item in value)
        named = dict(zip(PARTS_IN_ORDER, value, strict=False)) if split_already or mixed else {"all": value}
    else:
        given = "a single dataset" if is_dataset(value) else _told(value)
        raise DataError(f"{origin} gave {given}, {EXPECTED}.")
    if "all" not in named and not {"train", "validation"} <= set(named):
        raise DataError(f"{origin} gave no {'train' if 'train' not in named else 'validation'} part, {EXPECTED}.")
    if len({is_dataset(item) for item in named.values()}) > 1:
        raise DataError(f"{origin} mixed datasets and arrays: expected one kind for all parts.")
    return named


def _named(value: Mapping[Any, Any], origin: str) -> dict[str, Any]:
    named: dict[str, Any] = {}
    loose: dict[str, dict[str, Any]] = {}
    for key, item in value.items():
        field, _, part = str(key).partition("_")
        if key in PARTS:
            named[PARTS[key]] = item
        elif key in FIELDS:
            loose.setdefault("all", {})[FIELDS[key]] = item
        elif field in FIELDS and part in PARTS:
            loose.setdefault(PARTS[part], {})[FIELDS[field]] = item
        else:
            raise DataError(
                f"{origin} gave {key!r}, expected names such as x, y, x_train, y_train, x_validation, train."
            )
    for part, fields in loose.items():
        if not {"x", "y"} <= set(fields):
            suffix = "" if part == "all" else f"_{part}"
            raise DataError(f"{origin} gave {min(fields)}{suffix} alone: expected x{suffix} and y{suffix}.")
        named[part] = (fields["x"], fields["y"], fields.get("weight"))
    if "all" in named and len(named) > 1:
        named["train"] = named.pop("all")  # x, y beside x_validation, y_validation
    return named


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple | list) and len(item) in {2, 3} and not np.isscalar(item[0])


def _piece(item: Any, part: str, origin: str) -> Piece:
    place = f"{origin}" if part == "all" else f"The {part} part of {origin}"
    if isinstance(item, Mapping):
        item = (item.get("x"), item.get("y"), item.get("weight"))
    if not isinstance(item, list | tuple) or len(item) not in {2, 3} or item[0] is None or item[1] is None:
        raise DataError(f"{place} gave {_told(item)}, {EXPECTED}.")
    x = _arrays(item[0], f"{place}: x")
    y = _arrays(item[1], f"{place}: y")
    counts = {len(array) for array in [*leaves(x), *leaves(y)]}
    if len(counts) > 1:
        raise DataError(
            f"{place} has x of {len(leaves(x)[0])} rows and y of {len(leaves(y)[0])}: all need the same length."
        )
    rows = counts.pop()
    if rows == 0:
        raise DataError(f"{place} is empty: expected at least one row.")
    given = item[2] if len(item) == 3 else None
    weight = None if given is None else checked_weight(_array(given, f"{place}: weight"), rows, f"{place}: weight")
    return Piece(x, y, weight)


def _arrays(value: Any, what: str) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _arrays(item, f"{what}[{key!r}]") for key, item in value.items()}
    several = isinstance(value, list | tuple) and len(value) > 0 and all(getattr(v, "ndim", 0) for v in value)
    if several:
        return tuple(_arrays(item, f"{what}[{index}]") for index, item in enumerate(value))
    return _array(value, what)


def _array(value: Any, what: str) -> np.ndarray:
    if batched := BATCHED & {base.__name__ for base in type(value).__mro__}:
        raise DataError(
            f"{what} is a {batched.pop()}, expected arrays, or a tf.data.Dataset of batches, which "
            "tf.data.Dataset.from_generator makes of anything that can be gone through."
        )
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # PyTorch's of a tensor that has a gradient
        raise DataError(f"{what} is no array: {str(error).splitlines()[0]}") from None
    if array.ndim == 0:
        raise DataError(f"{what} is {_told(value)}, expected an array with a row per example.")
    if array.dtype == object:
        if not all(isinstance(item, str) for item in array.flat):
            raise DataError(f"{what} holds objects (rows of unequal length, or mixed types), expected numbers or text.")
        array = array.astype(str)
    if array.dtype.kind not in "biufUS":
        raise DataError(f"{what} holds {array.dtype}, expected numbers or text.")
    array = array.astype(np.float32) if array.dtype == np.float64 else array.view()
    array.flags.writeable = False  # all trials of a process share it: a change in place would reach the others
    return array


def _same_shapes(pieces: Mapping[str, Piece], origin: str) -> None:
    first = next(iter(pieces))
    for name, piece in pieces.items():
        for field in ("x", "y"):
            one, other = (
                map_leaves(lambda array: array.shape[1:], getattr(each, field)) for each in (pieces[first], piece)
            )
            if one != other:
                raise DataError(f"{origin} has {field} of shape {one} per row in {first} and {other} in {name}.")


def _targets(pieces: Mapping[str, Piece], options: Options) -> Targets:
    """What the targets of all parts are: `values` holds them one after the other, or nothing for several outputs."""
    structures = [piece.y for piece in pieces.values()]
    if any(not isinstance(y, np.ndarray) for y in structures):
        return Targets(np.empty(0), options.task, None)
    return array_targets(np.concatenate(structures), options.task)


def _split(pieces: Mapping[str, Piece], targets: Targets, options: Options) -> dict[str, Piece]:
    pieces = _with_targets(pieces, targets)
    validation, test = options.shares
    if "all" not in pieces:
        if not isinstance(validation, Fold):
            return dict(pieces)
        test = 0.0  # the rows for it were chosen by whoever made the parts
    everything = pieces["all"] if "all" in pieces else joined(pieces["train"], pieces["validation"])
    strata = None if targets.labels is None else Targets(everything.y, targets.task, targets.labels).strata
    rows = split(everything.rows, validation, test, options.seed, strata)
    found = {name: everything.take(chosen) for name, chosen in zip(PARTS_IN_ORDER, rows, strict=True)}
    if "all" in pieces and options.test is not None:
        return found
    del found["test"]
    return found | {name: piece for name, piece in pieces.items() if name == "test"}


def _held_back(pieces: Mapping[str, Piece], targets: Targets, options: Options, origin: str) -> dict[str, Piece]:
    """The parts with a test part made of validation rows, where that is asked for."""
    if options.held_back is None:
        return dict(pieces)
    if "test" in pieces:
        raise DataError(
            f"data.held_back makes a test part of validation rows, and {origin} gave one: remove held_back."
        )
    piece = pieces["validation"]
    strata = None if targets.labels is None else Targets(piece.y, targets.task, targets.labels).strata
    ranking, held = hold_back(piece.rows, options.held_back, options.seed, strata)
    return {**pieces, "validation": piece.take(ranking), "test": piece.take(held)}


def _with_targets(pieces: Mapping[str, Piece], targets: Targets) -> dict[str, Piece]:
    if not len(targets.values):
        return dict(pieces)
    found, start = {}, 0
    for name, piece in pieces.items():
        found[name] = Piece(piece.x, targets.values[start : start + piece.rows], piece.weight)
        start += piece.rows
    return found


def _part(piece: Piece) -> Part:
    return Part(piece.x, piece.y, piece.weight, rows=piece.rows)


def _fingerprint(pieces: Mapping[str, Piece]) -> str:
    named = {f"{part}.{field}": value for part, piece in pieces.items() for field, value in vars(piece).items()}
    return digest_of(
        {place: array for name, value in named.items() if value is not None for place, array in flat(name, value)}
    )


def _told(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
