"""Data that a Python program had in memory: a study names it by its SHA-256, and its bytes lie among the artifacts.

In a study's definition it is `{"arrays": SHA-256, ...}` or `{"frame": SHA-256, ...}`, wherever the artifacts are.
Workers are told a file: to them it is data like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.artifacts import DATA, ArtifactStore, Content

FILES = {"arrays": "data.npz", "frame": "data.parquet"}  # what is learned from, by the field that names it
PARTS = ("validation", "test")  # of a frame, each a file of its own where it was given apart


@dataclass(frozen=True)
class Held:
    """Data in memory, which no artifact needs to hold yet."""

    kind: str  # a key of FILES
    sha256: str
    files: Mapping[str, Content]  # what its folder among the artifacts holds
    columns: tuple[str, ...] = ()  # of a frame

    @property
    def key(self) -> str:
        return _key(self.sha256)


def part_file(part: str) -> str:
    """The name of the file that holds a frame's validation or test part."""
    return f"{part}.parquet"


def key_of(data: Mapping[str, Any] | None) -> str | None:
    """The key among the artifacts of the data of a definition; None where it does not lie there."""
    kind = _kind(data)
    return None if kind is None or data is None else _key(data[kind])


def located(data: dict[str, Any] | None, artifacts: str | Path) -> dict[str, Any] | None:
    """The data of a definition as workers are told of it. `artifacts`: the root of theirs."""
    kind = _kind(data)
    if kind is None or data is None:
        return data
    folder = Path(artifacts, _key(data[kind]))
    parts = {part: str(folder / data[part]) for part in PARTS if isinstance(data[part], str)}
    return {"path": str(folder / FILES[kind]), **{key: data[key] for key in data if key != kind}, **parts}


def missing(data: Mapping[str, Any] | None, artifacts: Path) -> str | None:
    """The sentence that says what a study lacks here whose data is not among these artifacts."""
    key = key_of(data)
    if key is None or ArtifactStore(artifacts).modified(key) is not None:
        return None
    return (
        f"Its data, which was in memory when it was submitted, is not among the artifacts here: there is no {key} in "
        f"{artifacts} that may be read. Submit it again from where the data is, with this folder as TUNER_ARTIFACTS."
    )


def _kind(data: Mapping[str, Any] | None) -> str | None:
    return next((kind for kind in FILES if kind in (data or {})), None)


def _key(sha256: str) -> str:
    return f"{DATA}/{sha256}"
