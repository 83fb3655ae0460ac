"""Data that a program has in memory: taken from a call, and put where all workers reach it once a study needs it.

It lies among the artifacts, named by its SHA-256: the same data is stored once, and given again it is the same study.
The bytes come first and the study's row second, so a row never names what is not there. Nothing else may take the bytes
away in between: a refused submission removes only what it wrote and nobody else has asked for, `tuner study gc` leaves
what is new, and who submits looks again when the row is there.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from db import code_packages, studies
from db.engine import Session
from db.errors import DatabaseError
from tuner.configuration import Settings
from tuner.databases import find_database
from tuner.definitions.stored_data import FILES, PARTS, Held, key_of, part_file
from tuner.errors import InvalidInput, InvalidStudy
from tuner.names import brief
from tuner.payload import by_value, user_code
from tuner.payload.by_value import Module
from workers.artifacts import STAGING, ArtifactStore
from workers.contract import LauncherError

T = TypeVar("T")

ARRAYS = 'expected data=(x, y), data={"arrays": (x, y), "validation": 0.2} or data={"frame": frame, "target": COLUMN}'
NAMED = ("x", "x_train", "train")  # each mapping of arrays by their names has one of these
PLAIN = (type(None), str, Path, int, float)  # what an option beside them is


@dataclass(frozen=True)
class InMemory:
    """What of a study lies in no file, and is stored with it."""

    data: Held | None = None
    modules: tuple[Module, ...] = ()  # of functions and classes that only the program has


NOTHING = InMemory()


def take(given: Mapping[str, Any]) -> tuple[dict[str, Any], InMemory]:
    """The `model`, `loop` and `data` of a call with what is in memory replaced by what stands for it; and that.

    Raises:
        InvalidStudy: arrays or a table that no study can learn from, or code that cannot be stored; one sentence.
    """
    fields, modules = dict(given), list[Module]()
    fields["data"], held = _data(fields.get("data"))
    places: list[tuple[dict[str, Any], str]] = [(fields, field) for field in ("model", "loop", "data")]
    if isinstance(fields["data"], Mapping):
        fields["data"] = options = dict(fields["data"])
        places.append((options, "function"))
    for place, key in places:
        if not isinstance(place.get(key), (str, Mapping)) and by_value.needed(place.get(key)):
            place[key], module = by_value.taken(place[key], "data" if place is not fields else key)
            modules.append(module)
    return fields, InMemory(held, tuple(modules))


def _data(data: Any) -> tuple[Any, Held | None]:
    if isinstance(data, (tuple, list)):
        data = {"arrays": data}
    elif _is_frame(data):
        data = {"frame": data}
    elif _is_array(data) or hasattr(data, "element_spec") or isinstance(data, Iterator):
        raise InvalidStudy([f"`data` is a {type(data).__name__}; {ARRAYS}, or a function that returns datasets."])
    elif not isinstance(data, Mapping):
        return data, None
    elif _are_named(data):
        options = {key: value for key, value in data.items() if isinstance(value, PLAIN)}
        data = {"arrays": {key: value for key, value in data.items() if key not in options}, **options}
    for kind, hold in (("arrays", _arrays), ("frame", _frame)):
        if data.get(kind) is not None and not isinstance(data[kind], str):
            held = hold(data[kind])
            return {**data, kind: held}, held
    if any(_is_array(value) or _is_frame(value) for value in data.values()):
        raise InvalidStudy([f"`data` has arrays as {', '.join(map(brief, data))}; {ARRAYS}."])
    return data, None


def put(held: Held, artifacts: Path) -> None:
    """Store the data where it is not there yet. Raises LauncherError where the artifacts cannot be written."""
    store = ArtifactStore(artifacts)
    try:
        if not store.touch(held.key):
            store.write(held.key, held.files, {"kind": "data"})
    except OSError as error:
        raise LauncherError(f"The study's data cannot be put into {artifacts}: {error.strerror}.") from error


@contextlib.contextmanager
def stored(key: str, artifacts: Path, settings: Settings, write: Callable[[], T]) -> Iterator[T]:
    """Have among the artifacts what `write` puts there while a study is submitted, and after it. Where that fails, what
    this call wrote is removed again, unless a study has it or somebody else has asked for it meanwhile. Gives what
    `write` returned.
    """
    store = ArtifactStore(artifacts)
    made = [folder for folder in (store.root, *store.root.parents) if not folder.exists()]
    ours, stamp = store.modified(key) is None, None
    try:
        written = write()
        stamp = store.modified(key)
        yield written
    except BaseException:
        if ours and store.modified(key) == stamp and not _named(settings, key):
            store.remove(key)
        for folder in (store.root / STAGING, *made):
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()
        raise
    write()  # somebody may have removed it, just before the row was there


def keys(s: Session) -> set[str]:
    """The keys among the artifacts of what studies brought: data that was in memory, and packages of code."""
    data = {key for definition in studies.definitions(s) if (key := key_of(definition.get("data"))) is not None}
    return data | {user_code.key_of(sha256) for sha256 in code_packages.all_sha256(s)}


def _named(settings: Settings, key: str) -> bool:
    """Whether a study has this; also where nobody can say."""
    try:
        database = find_database(settings)
        if database is None:
            return False
        with database, database.read() as s:
            return key in keys(s)
    except DatabaseError:
        return True


# --- arrays -----------------------------------------------------------------------------------------------------------


def _is_array(value: object) -> bool:
    return hasattr(value, "__array__") and hasattr(value, "shape") and not _is_frame(value)


def _are_named(data: Mapping[str, Any]) -> bool:
    """Whether these are arrays by their names, as a function may return them."""
    return not _is_frame(data.get("train")) and any(not isinstance(data.get(key), PLAIN) for key in NAMED)


def _arrays(value: Any) -> Held:
    import numpy as np

    from workers.data.arrays import named_arrays
    from workers.data.errors import DataError
    from workers.data.npz import digest_of

    try:
        arrays = named_arrays(value, "`data.arrays`")
    except DataError as error:
        raise InvalidStudy([str(error)]) from None
    sha256 = digest_of(arrays)

    def write(file: Any) -> None:
        if digest_of(arrays) != sha256:
            raise InvalidInput(
                "The arrays were changed after create_study(): call it again with what is to be learned."
            )
        np.savez(file, allow_pickle=False, **arrays)

    return Held("arrays", sha256, {FILES["arrays"]: write})


# --- tables -----------------------------------------------------------------------------------------------------------


def _is_frame(value: object) -> bool:
    pandas = sys.modules.get("pandas")  # who has a frame has imported it
    return pandas is not None and isinstance(value, pandas.DataFrame)


def _frame(value: Any) -> Held:
    import hashlib

    frames = value if isinstance(value, Sequence) else [value]
    if not 1 <= len(frames) <= 1 + len(PARTS) or not all(map(_is_frame, frames)):
        raise InvalidStudy(
            [f"`data.frame` is {brief(value)}; expected a pandas DataFrame, or (train, validation) or three of them."]
        )
    names = [FILES["frame"], *map(part_file, PARTS)]
    files = {name: _parquet(frame) for name, frame in zip(names, frames, strict=False)}
    total = hashlib.sha256()
    for name, content in files.items():
        total.update(f"{name}:{hashlib.sha256(content).hexdigest()}\n".encode())
    return Held("frame", total.hexdigest(), files, tuple(map(str, frames[0].columns)))


def _parquet(frame: Any) -> bytes:
    """A table's rows and columns as Parquet, without its index; equal tables give equal bytes."""
    columns = list(map(str, frame.columns))
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice or not len(frame):
        said = f"the columns {', '.join(map(brief, twice))} more than once" if twice else "no rows"
        raise InvalidStudy([f"`data.frame` has {said}; expected a table with a name for each column, and rows."])
    plain = frame.set_axis(columns, axis=1)
    plain.attrs = {}
    buffer = io.BytesIO()
    try:
        plain.to_parquet(buffer, index=False)
    except (ValueError, TypeError, NotImplementedError, OverflowError) as error:  # pyarrow's errors are these
        told = " ".join(str(part) for part in error.args) or type(error).__name__
        raise InvalidStudy(
            [f"`data.frame` cannot be stored, a column holds objects or several kinds of values: {told[:300]}"]
        ) from None
    return buffer.getvalue()
