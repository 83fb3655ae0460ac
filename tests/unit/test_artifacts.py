"""Artifact folders appear whole, are guarded by their sums, and never lie outside the store."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from workers.artifacts import ArtifactDamaged, ArtifactStore, InvalidKey

KEY = "digits/trial-000017/attempt-3/epoch-0012"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def test_written_folder_holds_files_and_manifest(store: ArtifactStore, tmp_path: Path) -> None:
    source = tmp_path / "weights"
    source.write_bytes(b"w" * 3_000_000)
    sha256, size = store.write(KEY, {"model.keras": source, "note.json": b"{}"}, {"trial": 17})
    folder = store.verify(KEY, sha256)
    assert (folder / "model.keras").read_bytes() == source.read_bytes()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["trial"] == 17
    assert manifest["files"]["note.json"] == hashlib.sha256(b"{}").hexdigest()
    assert sha256 == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert size == sum(path.stat().st_size for path in folder.iterdir())
    assert store.manifest(KEY) == manifest


def test_same_content_has_the_same_sum(store: ArtifactStore) -> None:
    first = store.write("a/1", {"x": b"1", "y": b"2"}, {"trial": 1, "study": "a"})
    assert store.write("a/2", {"y": b"2", "x": b"1"}, {"study": "a", "trial": 1}) == first


def test_only_the_owner_may_read(store: ArtifactStore) -> None:
    store.write(KEY, {"x": b"1"}, {})
    for path in [store.root, *store.root.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_writing_again_replaces(store: ArtifactStore) -> None:
    store.write(KEY, {"x": b"old", "gone": b"1"}, {})
    sha256, _ = store.write(KEY, {"x": b"new"}, {})
    assert (store.verify(KEY, sha256) / "x").read_bytes() == b"new"
    assert not (store.root / KEY / "gone").exists()


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_damage_is_found_and_the_file_named(store: ArtifactStore, damage: str) -> None:
    sha256, _ = store.write(KEY, {"model.keras": bytes(1000), "other": b"1"}, {})
    file = store.root / KEY / "model.keras"
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[500] ^= 1
    file.write_bytes({"flip": content, "truncate": content[:-1]}.get(damage, b""))
    if damage == "remove":
        file.unlink()
    with pytest.raises(ArtifactDamaged, match=r"model\.keras"):
        store.verify(KEY, sha256)


def test_another_manifest_is_refused_when_the_sum_is_known(store: ArtifactStore) -> None:
    sha256, _ = store.write(KEY, {"x": b"1"}, {"trial": 1})
    store.write(KEY, {"x": b"1"}, {"trial": 2})
    assert store.verify(KEY)
    with pytest.raises(ArtifactDamaged, match=r"manifest\.json"):
        store.verify(KEY, sha256)


@pytest.mark.parametrize("manifest", [b"", b"{", b"[]", b'{"files": 3}', b"\xff"])
def test_unreadable_manifest_is_damage(store: ArtifactStore, manifest: bytes) -> None:
    store.write(KEY, {"x": b"1"}, {})
    (store.root / KEY / "manifest.json").write_bytes(manifest)
    with pytest.raises(ArtifactDamaged):
        store.verify(KEY)


def test_unknown_key_is_damage_for_verify_and_nothing_for_remove(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactDamaged, match="no complete artifact"):
        store.verify(KEY)
    store.remove(KEY)
    assert store.keys() == []


KEYS = ["", "/etc", "..", "a/../b", "a//b", "a/.", "../x", "a\\b", "a/\0", "a\nb", ".staging/x", "a/"]


@pytest.mark.parametrize("key", KEYS)
def test_keys_cannot_leave_the_store(store: ArtifactStore, key: str) -> None:
    with pytest.raises(InvalidKey):
        store.write(key, {"x": b"1"}, {})
    with pytest.raises(InvalidKey):
        store.remove(key)


def test_a_symbolic_link_does_not_lead_out(store: ArtifactStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    store.root.mkdir()
    (store.root / "digits").symlink_to(outside)
    with pytest.raises(InvalidKey, match="symbolic link"):
        store.write("digits/trial-0", {"x": b"1"}, {})
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", "a/b", "manifest.json", "a\0", "\\x"])
def test_file_names_are_plain(store: ArtifactStore, name: str) -> None:
    with pytest.raises(InvalidKey):
        store.write(KEY, {name: b"1"}, {})
    assert store.keys() == []


def test_a_manifest_that_names_a_file_outside_is_refused(store: ArtifactStore) -> None:
    store.write(KEY, {"x": b"1"}, {})
    (store.root / KEY / "manifest.json").write_text(json.dumps({"files": {"../../x": "0"}}))
    with pytest.raises(InvalidKey):
        store.verify(KEY)


def test_keys_are_found_by_folder(store: ArtifactStore) -> None:
    for key in ("a/trial-1/e-1", "a/trial-1/e-2", "a/trial-2/e-1", "ab/trial-1/e-1"):
        store.write(key, {"x": b"1"}, {})
    assert store.keys("a") == ["a/trial-1/e-1", "a/trial-1/e-2", "a/trial-2/e-1"]
    assert store.keys("a/trial-1") == ["a/trial-1/e-1", "a/trial-1/e-2"]
    assert store.keys("a/trial-2/e-1") == ["a/trial-2/e-1"]
    assert len(store.keys()) == 4
    assert store.keys("none") == []


def test_removing_leaves_no_empty_folders(store: ArtifactStore) -> None:
    store.write("a/1/x", {"x": b"1"}, {})
    store.write("a/2/x", {"x": b"1"}, {})
    store.remove("a/1/x")
    assert not (store.root / "a/1").exists()
    assert store.keys() == ["a/2/x"]
    store.remove("a/2/x")
    assert not (store.root / "a").exists()


def test_a_failed_write_leaves_nothing(store: ArtifactStore, tmp_path: Path) -> None:
    store.write(KEY, {"x": b"old"}, {})
    with pytest.raises(FileNotFoundError):
        store.write(KEY, {"a": b"1", "x": tmp_path / "missing"}, {})
    assert (store.verify(KEY) / "x").read_bytes() == b"old"
    assert list((store.root / ".staging").iterdir()) == []


def test_what_a_dead_writer_left_is_cleaned_after_a_while(store: ArtifactStore) -> None:
    store.write(KEY, {"x": b"1"}, {})
    left = store.root / ".staging" / "left"
    left.mkdir()
    (left / "manifest.json").write_text("{}")
    assert store.keys() == [KEY]
    assert store.clean(seconds=3600) == 0
    os.utime(left, (0, 0))
    assert store.clean(seconds=3600) == 1
    assert not left.exists()


def test_a_folder_that_is_removed_while_it_is_made_is_made_again(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's mkdir fails where the folder exists at first, and is gone when it looks whether it is one."""
    make, failed = Path.mkdir, list[Path]()

    def racing(folder: Path, *arguments: Any, **options: Any) -> None:
        if folder.name == "trial-0" and not failed:
            failed.append(folder)
            raise FileExistsError(folder)
        make(folder, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", racing)
    store.write("s/trial-0/epoch-0001", {"x": b"1"}, {})
    assert failed
    assert store.verify("s/trial-0/epoch-0001")


def test_writing_survives_the_removal_of_neighbours(store: ArtifactStore) -> None:
    """A worker writes the next checkpoint of a trial while the coordinator collects the last one."""
    stop = threading.Event()

    def collect() -> None:
        while not stop.is_set():
            for key in store.keys("s")[:-1]:
                store.remove(key)

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        for epoch in range(60):
            store.write(f"s/trial-{epoch % 2}/epoch-{epoch:04d}", {"x": b"1"}, {})
    finally:
        stop.set()
        collector.join()
    assert store.verify("s/trial-1/epoch-0059")
