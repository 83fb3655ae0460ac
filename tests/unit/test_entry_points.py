"""From "module:attribute" to an object, and what is said when there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.entry_points import EntryPointError, resolve


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[str]:
    """A folder of user code, forgotten afterwards."""
    (tmp_path / "their_models.py").write_text("import math\n\ndef build(hp): return hp\n\nclass Net:\n    depth = 3\n")
    (tmp_path / "their_broken.py").write_text("x = 1\nraise RuntimeError('no card')\n")
    (tmp_path / "their_syntax.py").write_text("def build(:\n    pass\n")
    (tmp_path / "their_leaver.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "their_importer.py").write_text("import package_that_nobody_has\n")
    (tmp_path / "their_celery.py").write_text("from workers.tasks import train\n")
    (tmp_path / "their_names.py").write_text("from workers import celery\n")
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "__init__.py").write_text("celery = 1\n")
    (tmp_path / "workers" / "tasks.py").write_text("def train(run): pass\n")
    (tmp_path / "their_package").mkdir()
    (tmp_path / "their_package" / "__init__.py").write_text("")
    (tmp_path / "their_package" / "digits.py").write_text("def load(): return 1\n")
    before = list(sys.path)
    yield str(tmp_path)
    sys.path[:] = before
    for name in [name for name in sys.modules if name.startswith("their_")]:
        del sys.modules[name]


def test_an_attribute_is_found_also_when_dotted(folder: str) -> None:
    assert resolve("their_models:build", (folder,))(5) == 5
    assert resolve("their_models:Net.depth", (folder,)) == 3
    assert resolve("their_package.digits:load", (folder,))() == 1


def test_a_folder_is_put_in_front_once(folder: str) -> None:
    resolve("their_models:build", (folder,))
    resolve("their_models:build", (folder,))
    assert sys.path[0] == folder
    assert sys.path.count(folder) == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("their_models", "not of the form 'module:attribute'"),
        ("their models:build", "not of the form"),
        ("", "not of the form"),
        ("their_models:", "not of the form"),
        ("their_modles:build", "Did you mean 'their_models'"),
        ("their_package.digit:load", "Did you mean 'their_package.digits'"),
        ("their_models:biuld", "Did you mean 'build'"),
        ("their_models:zzz", "it defines Net, build"),
        ("their_broken:build", "their_broken.py, line 2: RuntimeError: no card"),
        ("their_syntax:build", "their_syntax.py, line 1: SyntaxError"),
        ("their_leaver:build", "SystemExit: 3"),
        ("their_importer:build", "package_that_nobody_has"),
        ("their_celery:train", "named 'workers.tasks'. Ockham has a package 'workers': give yours another name."),
        ("their_names:build", "Ockham has a package 'workers': give yours another name."),
        ("workers.tasks:train", "Ockham has a package 'workers': give yours another name."),
        ("workers:train", "Ockham has a package 'workers': give yours another name."),
    ],
)
def test_what_cannot_be_resolved_gets_a_sentence(folder: str, given: str, expected: str) -> None:
    with pytest.raises(EntryPointError) as caught:
        resolve(given, (folder,))
    assert expected in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_the_places_where_a_module_was_looked_for_are_named_once(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [folder, folder, "lib/site-packages/more", *sys.path])
    with pytest.raises(EntryPointError, match=r"looked in '[^']+' and the installed packages") as caught:
        resolve("nobody_has_this:build")
    assert str(caught.value).count(folder) == 1
