"""What users may import, as a list: a name that comes, goes or loses its documentation is a decision."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

SURFACE = {
    "tuner": """
        InvalidInput InvalidStudy NothingToPromote PromotedVersion PromotionFailed Settings Study StudyBusy StudyExists
        StudyFailed StudySummary TrialResult TunerError UnknownName create_study load_study
    """,
    "search_spaces": """
        ACTIVATIONS OPTIMIZERS Choice Domain Fixed Float Int InvalidSpace Lambda Space Value domain_from_json
        from_keras_tuner from_optuna from_ray_tune mlp parse to_keras_tuner to_optuna
    """,
}


@pytest.mark.parametrize("package", SURFACE)
def test_the_names_are_the_ones_agreed_on(package: str) -> None:
    module = import_module(package)
    assert module.__all__ == sorted(module.__all__, key=_order)
    assert set(module.__all__) == set(SURFACE[package].split())
    assert set(module.__all__) <= set(dir(module))


def _order(name: str) -> tuple[int, str]:
    """Constants, classes, functions: the order that the linter keeps."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package in SURFACE for name in SURFACE[package].split()]
)
def test_every_name_is_there_and_documented(package: str, name: str) -> None:
    thing = getattr(import_module(package), name)
    if isinstance(thing, type) or inspect.isfunction(thing):
        own = thing.__doc__
        assert own, f"{package}.{name} has no docstring"
        assert not own.startswith(f"{name}("), f"{package}.{name} has the docstring that dataclass made"


def _public_callables() -> list[tuple[str, Callable[..., Any]]]:
    found: list[tuple[str, Callable[..., Any]]] = []
    for package, names in SURFACE.items():
        for name in names.split():
            thing = getattr(import_module(package), name)
            if inspect.isclass(thing) and not issubclass(thing, Exception):
                methods = inspect.getmembers(thing, inspect.isfunction)
                found += [(f"{package}.{name}.{key}", method) for key, method in methods if not key.startswith("_")]
            elif inspect.isfunction(thing):
                found.append((f"{package}.{name}", thing))
    return found


def test_every_public_function_and_method_is_documented() -> None:
    wrong = [name for name, thing in _public_callables() if not inspect.getdoc(thing)]
    assert not wrong, "\n".join(wrong)


def test_names_for_type_checkers_are_the_names_at_run_time() -> None:
    """`tuner` fetches its names when they are used; type checkers read the imports beside that."""
    tree = ast.parse((ROOT / "tuner" / "__init__.py").read_text())
    guarded = [node for node in tree.body if isinstance(node, ast.If)]
    names = {item.name for node in ast.walk(guarded[0]) if isinstance(node, ast.ImportFrom) for item in node.names}
    assert names == set(SURFACE["tuner"].split())


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Stduy'"):
        import_module("tuner").__getattr__("Stduy")
