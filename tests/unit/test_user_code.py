"""Packages of users' code: what goes in, what is refused, and what Python imports from one."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import io
import sys
import threading
import traceback
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tuner.configuration import Settings
from tuner.definitions.definition import parse
from tuner.errors import InvalidStudy
from tuner.payload import user_code as of_studies
from workers import user_code
from workers.contract import LauncherError
from workers.entry_points import EntryPointError, resolve
from workers.failures import StorageFailed

MODEL = """
from pathlib import Path

import their_helper
from their_space.inner import deep

HERE = Path(__file__)

def value():
    from their_package import late
    return their_helper.VALUE, late.VALUE, deep.VALUE

def fails():
    raise ValueError("as it was packed")
"""
STUDY = {"name": "s", "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}}, "objective": "loss"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of user code, forgotten afterwards."""
    folder = tmp_path / "code"
    (folder / "their_package").mkdir(parents=True)
    (folder / "their_space" / "inner").mkdir(parents=True)
    (folder / "their_model.py").write_text(MODEL)
    (folder / "their_package" / "__init__.py").touch()
    write(folder, 1)
    monkeypatch.setattr(user_code, "_front", user_code._Front())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    yield folder
    for name in [name for name in sys.modules if name.startswith("their_")]:
        del sys.modules[name]


def write(folder: Path, value: int) -> None:
    """Another version of the helpers: a module, a module of a package, and one of a folder without __init__.py."""
    for name in ("their_helper.py", "their_package/late.py", "their_space/inner/deep.py"):
        (folder / name).write_text(f"VALUE = {value}\n")


def stored(root: Path, *folders: Path) -> tuple[str, ...]:
    """The import paths of a new package of these folders."""
    content = user_code.pack([*map(str, folders)])
    package = root / hashlib.sha256(content).hexdigest() / user_code.ARCHIVE
    package.parent.mkdir(exist_ok=True)
    package.write_bytes(content)
    return user_code.import_paths(package)


def names(content: bytes) -> set[str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {f"/{name}" for name in archive.namelist() if name.endswith(".py")}


def test_equal_files_are_equal_packages_and_others_are_not(folder: Path) -> None:
    first = user_code.pack([str(folder)])
    (folder / "their_helper.py").touch()
    (folder / "notes.txt").write_text("nothing that Python imports")
    assert user_code.pack([str(folder)]) == first
    (folder / "their_helper.py").write_text("VALUE = 2\n")
    assert user_code.pack([str(folder)]) != first


def test_only_what_python_can_import_goes_in(folder: Path) -> None:
    for place in (".git", ".venv/x", "venv/lib/python3.11/site-packages/x", "__pycache__", "data-2024", "data"):
        (folder / place).mkdir(parents=True)
        (folder / place / "module.py").touch()
    (folder / "data" / "rows.csv").write_text("1")
    (folder / "not-a-name.py").touch()
    (folder / "their_loop").symlink_to(folder)
    (folder / "their_dangling.py").symlink_to(folder / "nowhere.py")
    found = names(user_code.pack([str(folder)]))
    modules = ("their_model", "their_helper", "their_package/__init__", "their_package/late", "their_space/inner/deep")
    assert found == {f"{folder}/{name}.py" for name in (*modules, "data/module")}


def test_ockham_itself_is_left_out() -> None:
    root = Path(__file__).parents[2]
    rooms = {path.removeprefix(f"{root}/").split("/")[0] for path in names(user_code.pack([str(root)]))}
    assert {"examples", "tests"} <= rooms
    assert not rooms & {"db", "search_spaces", "tuner", "workers"}


def test_a_folder_inside_another_is_packed_once(folder: Path, tmp_path: Path) -> None:
    package = tmp_path / user_code.ARCHIVE
    package.write_bytes(user_code.pack([str(folder / "their_package"), str(folder)]))
    assert len(package.read_bytes()) < len(user_code.pack([str(folder)])) + 200
    assert user_code.import_paths(package) == (f"{package}{folder}/their_package", f"{package}{folder}")


def test_too_much_is_refused_with_the_largest_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_code, "LIMIT", 1024**2)
    (folder / "their_large.py").write_text("#" * 1024**2)
    with pytest.raises(user_code.PackageRefused) as refused:
        user_code.pack([str(folder)])
    for part in (repr(str(folder)), "more than the 1 MiB", f"{folder}/their_large.py (1.0 MiB)", "TUNER_IMPORT_PATHS"):
        assert part in str(refused.value)


@pytest.mark.usefixtures("folder")
def test_a_study_is_packed_where_its_modules_lie_in_its_folders(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.load({}, home=tmp_path / "home", import_paths=[tmp_path, folder])

    def pack(**changes: Any) -> bytes | None:
        return of_studies.pack(parse({**STUDY, **changes}), settings)

    assert pack(loop="their_model:train") == pack(model="mpl:build", data="their_package.late:load")
    assert pack(loop="their_package.late:train") is not None
    assert pack(loop="installed_elsewhere:train") is None
    assert (
        pack(data={"path": str(_table(tmp_path)), "target": "y"}, space={"family": "mlp"}, objective="val_loss") is None
    )
    monkeypatch.setattr(user_code, "LIMIT", 10)
    with pytest.raises(InvalidStudy, match="more than the"):
        pack(loop="their_model:train")


def _table(folder: Path) -> Path:
    (folder / "rows.csv").write_text("x,y\n1,2\n3,4\n")
    return folder / "rows.csv"


def test_versions_take_turns_in_one_process(folder: Path, tmp_path: Path) -> None:
    """Also what a function imports when it is called, and what lies in the folder itself, not in a package."""
    first = stored(tmp_path, folder)
    write(folder, 2)
    second = stored(tmp_path, folder)
    write(folder, 3)
    before = list(sys.path)
    for paths, value in ((first, 1), (second, 2), ((str(folder),), 3), (first, 1), (first, 1), ((str(folder),), 3)):
        assert resolve("their_model:value", paths)() == (value, value, value)
        assert sys.path == [*paths, *before]


def test_trials_that_begin_at_once_find_their_code(folder: Path, tmp_path: Path) -> None:
    """Two threads of a process that has another study's code: about every tenth pair met while one of them imported."""
    often, failed = sys.getswitchinterval(), list[str]()

    def begin(start: threading.Barrier) -> None:
        start.wait()
        try:
            resolve("their_model:value", [str(folder)])
        except Exception as error:  # as a worker does, for which the trial has failed then
            failed.append(repr(error))

    sys.setswitchinterval(1e-6)
    try:
        for _ in range(100):
            user_code.use([str(tmp_path)])
            start = threading.Barrier(2)
            threads = [threading.Thread(target=begin, args=(start,)) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(often)
    assert not failed


def test_a_packed_module_says_where_it_was_and_shows_what_it_was(folder: Path, tmp_path: Path) -> None:
    """What it reads beside itself is found where that folder is; the source that AutoGraph reads is the packed one."""
    paths = stored(tmp_path, folder)
    (folder / "their_model.py").write_text("an edit of later = ]")
    assert folder / "their_model.py" == resolve("their_model:HERE", paths)
    fails = resolve("their_model:fails", paths)
    assert 'raise ValueError("as it was packed")' in inspect.getsource(fails)
    with pytest.raises(ValueError, match="as it was packed") as raised:
        fails()
    assert 'raise ValueError("as it was packed")' in "".join(traceback.format_exception(raised.value))


def test_what_a_package_lacks_is_said(folder: Path, tmp_path: Path) -> None:
    (folder / "their_broken.py").write_text("import their_missing_helper\n")
    paths = stored(tmp_path, folder)
    (folder / "their_missing_helper.py").touch()
    with pytest.raises(EntryPointError, match=r"their_broken\.py, line 1: No module named 'their_missing_helper'"):
        resolve("their_broken:train", paths)
    with pytest.raises(EntryPointError) as refused:
        resolve("their_modle:train", paths)
    assert f"looked in '{folder}' as it was submitted" in str(refused.value)
    assert "Did you mean 'their_model'" in str(refused.value)
    with pytest.raises(EntryPointError, match=r"Did you mean 'their_package\.late'"):
        resolve("their_package.lat:train", paths)


def test_what_the_process_had_imported_itself_stays(folder: Path, tmp_path: Path) -> None:
    sys.path.insert(0, str(folder))
    own = importlib.import_module("their_helper")
    (folder / "their_other.py").write_text("VALUE = 4\n")
    other = stored(tmp_path, folder)
    resolve("their_package.late:VALUE", (str(folder),))
    assert resolve("their_other:VALUE", other) == 4
    assert sys.modules["their_helper"] is own
    assert str(folder) in sys.path


def test_a_package_is_put_back_where_it_is_damaged_or_gone(folder: Path, tmp_path: Path) -> None:
    settings = Settings.load({}, home=tmp_path / "home")
    content = user_code.pack([str(folder)])
    [path] = of_studies.place(content, settings)
    package = Path(path.removesuffix(str(folder)))
    package.write_bytes(content + b"something else")
    with pytest.raises(StorageFailed, match="is damaged: it has SHA-256"):
        resolve("their_model:value", (path,))
    assert of_studies.place(content, settings) == (path,)
    assert package.read_bytes() == content
    package.unlink()
    with pytest.raises(StorageFailed, match=r"cannot be read .*: does this node reach the folder of artifacts\?"):
        resolve("their_model:value", (path,))
    assert of_studies.place(content, settings) == (path,)
    assert resolve("their_model:value", (path,))() == (1, 1, 1)


def test_a_file_that_hides_a_module_of_pythons_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("rents.py", "random.py", "notes.txt", "nt.py"):
        (tmp_path / name).write_text("")
    of_studies.warn_of_hidden_modules(Settings.load({}, home=tmp_path, import_paths=str(tmp_path)))
    [record] = caplog.records
    assert f"Files in {tmp_path} hide" in record.getMessage() and ": nt.py, random.py. Rename" in record.getMessage()


def test_artifacts_that_cannot_be_written_are_a_sentence(folder: Path, tmp_path: Path) -> None:
    settings = Settings.load({}, home=tmp_path / "home")
    settings.artifacts.parent.mkdir()
    settings.artifacts.write_text("a file")
    with pytest.raises(LauncherError, match=r"The study's code cannot be put into .*home/artifacts"):
        of_studies.place(user_code.pack([str(folder)]), settings)
