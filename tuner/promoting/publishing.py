"""The file system's side of a promotion: a lock per model, staging folders, and a rename that never replaces."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuner.errors import PromotionFailed

STAGING = ".staging-"  # not an integer, so no server looks into it
MANIFEST = "assets.extra/ockham.json"
_RENAME_NOREPLACE = 1  # linux/fs.h
_AT_FDCWD = -100


@contextmanager
def locked(base: Path) -> Iterator[None]:
    """Hold a folder's lock; a second promotion of the same model waits. The system frees it when the process ends."""
    with (base / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def new_staging(base: Path, number: int) -> Path:
    """A name for a staging folder on the model's own file system; the folder does not exist yet."""
    return base / f"{STAGING}{number}-{uuid.uuid4().hex[:8]}"


def rename_without_replacing(source: Path, target: Path) -> None:
    """Give a complete folder its final name, and make the name durable.

    `os.rename` would silently replace an empty folder, so Linux is asked for RENAME_NOREPLACE.

    Raises:
        PromotionFailed: `target` exists.
    """
    if not _renameat2(source, target):
        if target.exists():
            raise _taken(target)
        source.rename(target)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _renameat2(source: Path, target: Path) -> bool:
    """True when the system renamed; False when it, or the file system, does not know the call."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL):
        return False
    if code in (errno.EEXIST, errno.ENOTEMPTY):
        raise _taken(target)
    raise OSError(code, os.strerror(code), str(target))


def _taken(target: Path) -> PromotionFailed:
    return PromotionFailed(
        f"{target} exists already and is never replaced. Promote again: the next number will be taken."
    )


def manifest_sha256(path: str | Path) -> str:
    """SHA-256 of a version's manifest, which holds the SHA-256 of its every other file."""
    return hashlib.sha256((Path(path) / MANIFEST).read_bytes()).hexdigest()


def scores(path: str | Path) -> dict[str, Any]:
    """The scores that the export wrote into a version's manifest."""
    found = json.loads((Path(path) / MANIFEST).read_text()).get("scores", {})
    return dict(found)
