"""Bytes that outlive a process: folders of files under one root, each with a manifest of SHA-256 sums.

A folder is named by a key, a relative path such as `digits/trial-000017/attempt-3/epoch-0012`. It appears whole or
not at all: it is written aside, synced to disk and renamed. Bytes first; a row about them is written after.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

MANIFEST = "manifest.json"
STAGING = ".staging"
DATA = ".data"  # the folder of what studies learn from and had in memory; no study has such a name
CHUNK = 1 << 20  # bytes read at a time
ATTEMPTS = 20  # at a rename that races with the removal of a neighbour
Content = bytes | Path | Callable[[BinaryIO], object]  # of a file: what is in it, a file to copy, or what writes it
FILE_MODE, FOLDER_MODE = 0o600, 0o700  # trained weights are nobody else's business


class ArtifactDamaged(Exception):
    """A folder is not what was written: a file is missing, or its bytes do not match their SHA-256."""


class InvalidKey(ValueError):
    """A key or a file name would leave its folder, or cannot be a file name."""


class ArtifactStore:
    """Folders of files below `root`, a directory that every worker reaches (local disk, NFS, a mounted bucket)."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()

    def write(self, key: str, files: Mapping[str, Content], manifest: Mapping[str, Any]) -> tuple[str, int]:
        """Store `files` (by name) as one folder; replaces what had the same key.

        Returns the SHA-256 of its manifest.json (`manifest` plus "files": {name: sha256}) and the bytes of all
        files together, the manifest included.
        """
        target = self._folder(key)
        staging = self._stage()
        try:
            sums, size = {}, 0
            for name in sorted(files):
                sums[name], length = _store(staging / _file_name(name), files[name])
                size += length
            text = json.dumps({**manifest, "files": sums}, indent=1, sort_keys=True).encode()
            digest, length = _store(staging / MANIFEST, text)
            _sync_folder(staging)
            self._appear(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return digest, size + length

    def verify(self, key: str, sha256: str | None = None) -> Path:
        """The folder of `key`, after every byte was compared with the manifest, and the manifest with `sha256`.

        Raises ArtifactDamaged, which names the file that is missing or different.
        """
        folder = self._folder(key)
        manifest = self._read(key, sha256)
        for name, expected in manifest["files"].items():
            found = _digest(folder / _file_name(name))
            if found is None:
                raise ArtifactDamaged(f"Artifact {key!r} lacks {name}: {folder / name} was removed or never copied.")
            if found != expected:
                raise ArtifactDamaged(
                    f"Artifact {key!r} is damaged: {name} has SHA-256 {found[:12]}, its manifest says {expected[:12]}."
                )
        return folder

    def manifest(self, key: str) -> dict[str, Any]:
        """The manifest of `key` without looking at the other files; raises ArtifactDamaged where there is none."""
        return self._read(key, None)

    def remove(self, key: str) -> None:
        """Remove the folder of `key` at once, and folders above it that are empty then. Unknown keys are ignored."""
        target = self._folder(key)
        staging = self._stage()
        with contextlib.suppress(FileNotFoundError):
            target.rename(staging / "removed")
        shutil.rmtree(staging, ignore_errors=True)
        for parent in target.parents:
            if parent == self.root:
                break
            with contextlib.suppress(OSError):
                parent.rmdir()

    def keys(self, prefix: str = "") -> list[str]:
        """All keys at or below the folder `prefix`, sorted: "digits" finds "digits/trial-0", not "digits2/trial-0"."""
        start = self._folder(prefix) if prefix else self.root
        found = (path.parent for path in start.rglob(MANIFEST)) if start.is_dir() else ()
        keys = (folder.relative_to(self.root) for folder in found if folder != self.root)
        return sorted(key.as_posix() for key in keys if key.parts[0] != STAGING)

    def modified(self, key: str) -> float | None:
        """When the folder of `key` was written or last touched, in seconds since 1970; None where there is none."""
        with contextlib.suppress(OSError):
            return (self._folder(key) / MANIFEST).stat().st_mtime
        return None

    def touch(self, key: str) -> bool:
        """Have the folder of `key` count as new. False: there is none."""
        manifest = self._folder(key) / MANIFEST
        with contextlib.suppress(OSError):  # not every mount can
            os.utime(manifest)
        return manifest.exists()

    def clean(self, seconds: float = 3600.0) -> int:
        """Remove what writers that died left aside at least `seconds` ago; returns how many folders that were."""
        limit = time.time() - seconds
        stale = [path for path in (self.root / STAGING).glob("*") if path.stat().st_mtime <= limit]
        for path in stale:
            shutil.rmtree(path, ignore_errors=True)
        return len(stale)

    def _folder(self, key: str) -> Path:
        parts = key.split("/")
        bad = any(part in {"", ".", ".."} or "\\" in part or not part.isprintable() for part in parts)
        if bad or parts[0] == STAGING:
            raise InvalidKey(f"{key!r} is no artifact key: expected names separated by '/', such as 'digits/trial-0'.")
        folder = self.root.joinpath(*parts)
        if not folder.parent.resolve().is_relative_to(self.root.resolve()):
            raise InvalidKey(f"Artifact key {key!r} leads out of {self.root} through a symbolic link.")
        return folder

    def _stage(self) -> Path:
        staging = self.root / STAGING / uuid.uuid4().hex
        for folder in (self.root, staging.parent, staging):
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        return staging

    def _appear(self, staging: Path, target: Path) -> None:
        parents = [self.root / folder for folder in target.relative_to(self.root).parents]
        old = staging.with_name(uuid.uuid4().hex)
        for attempt in range(ATTEMPTS):
            for folder in reversed(parents):
                # Python says that it exists where it did, and was removed before Python looked what it was.
                with contextlib.suppress(FileNotFoundError, FileExistsError):
                    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                target.rename(old)  # rename(2) replaces no folder that has files
            try:
                staging.rename(target)
                break
            except FileNotFoundError:  # somebody's `remove` took the empty parent in between
                if attempt == ATTEMPTS - 1:
                    raise
        with contextlib.suppress(FileNotFoundError):  # somebody removed what has just appeared, and its folder
            _sync_folder(target.parent)
        shutil.rmtree(old, ignore_errors=True)

    def _read(self, key: str, sha256: str | None) -> dict[str, Any]:
        path = self._folder(key) / MANIFEST
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ArtifactDamaged(f"There is no complete artifact {key!r}: {path} cannot be read.") from error
        found = hashlib.sha256(content).hexdigest()
        if sha256 is not None and found != sha256:
            raise ArtifactDamaged(
                f"Artifact {key!r} is damaged: {MANIFEST} has SHA-256 {found[:12]}, expected {sha256[:12]}."
            )
        try:
            manifest: dict[str, Any] = json.loads(content)
            _ = manifest["files"].items()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArtifactDamaged(f"Artifact {key!r} is damaged: {MANIFEST} is not the JSON of a manifest.") from error
        return manifest


def _file_name(name: str) -> str:
    if name in {"", ".", "..", MANIFEST} or "/" in name or "\\" in name or not name.isprintable():
        raise InvalidKey(f"{name!r} cannot be a file of an artifact: expected a plain file name, not {MANIFEST}.")
    return name


def _store(path: Path, content: Content) -> tuple[str, int]:
    """Write `content` to the new file `path` and to the disk; returns its SHA-256 and its bytes."""
    digest, size = hashlib.sha256(), 0
    with contextlib.ExitStack() as stack:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE)
        file = stack.enter_context(os.fdopen(descriptor, "w+b"))
        if callable(content):
            content(file)
            file.seek(0)
            digest, size = hashlib.file_digest(file, "sha256"), path.stat().st_size
        for chunk in _chunks(content, stack):
            digest.update(chunk)
            size += file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), size


def _chunks(content: Content, stack: contextlib.ExitStack) -> Iterable[bytes]:
    if isinstance(content, Path):
        source: BinaryIO = stack.enter_context(content.open("rb"))
        return iter(lambda: source.read(CHUNK), b"")
    return [content] if isinstance(content, bytes) else []


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
