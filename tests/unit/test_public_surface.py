"""What `import tuner` and `import search_spaces` offer: each name is there, is documented, and is all there is."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import search_spaces
import tuner

ROOT = Path(__file__).parents[2]


def test_what_type_checkers_see_is_what_there_is() -> None:
    tree = ast.parse((ROOT / "tuner" / "__init__.py").read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imported = [name.name for node in guarded.body if isinstance(node, ast.ImportFrom) for name in node.names]
    assert sorted(imported) == sorted(tuner.__all__)


@pytest.mark.parametrize("name", tuner.__all__)
def test_a_name_of_tuner(name: str) -> None:
    found = getattr(tuner, name)
    assert found.__name__ == name
    assert inspect.getdoc(found), name
    assert found.__doc__ != getattr(found.__mro__[1], "__doc__", None) if inspect.isclass(found) else True
    assert name in dir(tuner)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="'Studdy'"):
        _ = tuner.Studdy


@pytest.mark.parametrize("name", search_spaces.__all__)
def test_a_name_of_search_spaces(name: str) -> None:
    assert inspect.getdoc(getattr(search_spaces, name)), name


@pytest.mark.parametrize("package", ["db", "search_spaces", "tuner", "workers"])
def test_type_checkers_read_the_types_of_a_package(package: str) -> None:
    """Without the marker an installed package counts as untyped, and so does what `tuner` takes from it."""
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("owner", [tuner.Study, tuner.Settings, search_spaces.Space, search_spaces.Float])
def test_public_methods_are_documented(owner: type) -> None:
    missing = [
        name
        for name, member in vars(owner).items()
        if not name.startswith("_") and callable(member) and not inspect.getdoc(getattr(owner, name))
    ]
    assert not missing


def test_the_exit_codes_follow_the_tree_of_errors() -> None:
    refused = (tuner.InvalidStudy, tuner.UnknownName, tuner.StudyExists, tuner.NothingToPromote)
    failed = (tuner.StudyBusy, tuner.StudyFailed, tuner.PromotionFailed)
    assert all(issubclass(error, tuner.InvalidInput) for error in refused)
    assert all(issubclass(error, tuner.TunerError) and not issubclass(error, tuner.InvalidInput) for error in failed)
