"""Reads the files that studies train on. pandas is imported only here, and only when a table is read."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workers.artifacts import DATA, ArtifactDamaged, ArtifactStore
from workers.data.errors import DataError, nearest
from workers.failures import StorageFailed

TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
ARRAYS = ".npz"


def is_table(path: Path) -> bool:
    """Whether the file is a table (True) or a set of arrays (False); DataError for any other suffix."""
    name = path.name.lower()
    if name.endswith(ARRAYS):
        return False
    if not name.endswith(TABLES):
        raise DataError(
            f"Cannot tell how to read {path.name!r}: expected a name that ends in {', '.join(TABLES)} or .npz."
        )
    return True


def stamp(path: Path) -> tuple[str, int, int]:
    """What changes when a file changes: its absolute path, modification time (ns) and size (bytes)."""
    try:
        facts = path.stat()
    except OSError as error:
        raise DataError(_unreadable(path, error)) from None
    if not path.is_file():
        raise DataError(f"{path} is a folder, expected a file that ends in {', '.join(TABLES)} or .npz.")
    return str(path.absolute()), facts.st_mtime_ns, facts.st_size


def digest(path: Path) -> bytes:
    """SHA-256 of the file's bytes. Raises StorageFailed where one among the artifacts is not what was stored."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256")
    if is_stored(path):
        try:
            expected = ArtifactStore(path.parents[2]).manifest(f"{DATA}/{path.parent.name}")["files"].get(path.name)
        except ArtifactDamaged as error:
            raise StorageFailed(str(error)) from error
        if found.hexdigest() != expected:
            raise StorageFailed(
                f"The study's data in {path} is damaged: its SHA-256 is not that of what was stored. Remove its "
                "folder, and submit the study again from where the data is in memory."
            )
    return found.digest()


def is_stored(path: Path) -> bool:
    """Whether the file lies among the artifacts: a study's data that was in memory."""
    return path.parent.parent.name == DATA


def called(path: Path) -> str:
    """What a file is called in a sentence: where it is, or the field whose data it holds."""
    if not is_stored(path):
        return str(path)
    if not is_table(path):
        return "`data.arrays`"
    return "`data.frame`" if path.stem == "data" else f"`data.frame` ({path.stem})"


def read_table(path: Path) -> Any:
    """The file as a pandas DataFrame with at least one row."""
    import pandas as pd

    name = path.name.lower()
    twice: list[str] = []
    try:
        if name.endswith(".parquet"):
            frame = pd.read_parquet(path)
        else:
            separator = "\t" if ".tsv" in name else ","
            frame = pd.read_csv(path, sep=separator, low_memory=False)
            names = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str).iloc[0].dropna()
            twice = list(
                names[names.duplicated()].unique()
            )  # which pandas renames: the target's twin would be a feature
    except pd.errors.EmptyDataError:
        raise DataError(f"{path} is empty: expected a header line and rows.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8.") from None
    except OSError as error:  # gzip's and zlib's complaints too
        raise DataError(_unreadable(path, error)) from None
    except (ValueError, EOFError) as error:  # pandas' ParserError and pyarrow's errors are ValueErrors
        raise DataError(f"{path} cannot be read: {_first_line(error)}") from None
    if not len(frame):
        raise DataError(f"{path} has a header but no rows.")
    if twice:
        raise DataError(
            f"{path} has the columns {', '.join(map(repr, twice))} more than once: expected distinct names."
        )
    frame.columns = [str(column) for column in frame.columns]
    return frame


def read_arrays(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays of an .npz file. Files that would need pickle are refused."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {_first_line(error)}") from None
    except OSError as error:
        raise DataError(_unreadable(path, error)) from None


def _unreadable(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        folder = path.absolute().parent
        if not folder.is_dir():
            return f"There is no file {path}: the folder {folder} does not exist."
        beside = [item.name for item in folder.iterdir() if item.is_file() and not item.name.startswith(".")]
        return f"There is no file {path}.{nearest(path.name, beside)}"
    return f"{path} cannot be read: {error.strerror or _first_line(error)}."


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
