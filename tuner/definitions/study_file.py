"""Reading a study from a YAML or JSON file, with the file and the line in every sentence about it.

YAML can say more than a study needs, and some of it is dangerous (tags, aliases) or read otherwise than it looks
(`no` as false, `1e-3` as a text, `12:30` as a number): all that is refused, with what to write instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from tuner.definitions import definition
from tuner.definitions.definition import StudyDefinition
from tuner.definitions.yaml_form import Located, Unreadable, read_yaml
from tuner.errors import InvalidStudy
from tuner.names import near, visible

SUFFIXES = (".yaml", ".yml", ".json")
LARGEST = 1 << 20  # bytes; a study is a page of text


def read(path: str | Path) -> StudyDefinition:
    """The study that a .yaml, .yml or .json file describes; its data paths are relative to the file's folder.

    Raises:
        InvalidStudy: with every mistake, each with the file and, where it is known, the line.
    """
    path = Path(path)
    text = _text(path)
    try:
        form = _json(text) if path.suffix.lower() == ".json" else read_yaml(text)
    except Unreadable as error:
        raise InvalidStudy([_at(path, error.line, error.sentence)]) from None
    except RecursionError:
        raise InvalidStudy([f"{visible(path)}: it is nested too deeply; expected a mapping of fields."]) from None
    if not isinstance(form.value, Mapping):
        raise InvalidStudy([*(_at(path, *problem) for problem in form.problems), _not_a_mapping(path, form.value)])
    problems = list(form.problems)
    try:
        study = definition.parse(form.value, path.absolute().parent)
    except InvalidStudy as error:
        said = [sentence for sentence in error.problems if _field(sentence) not in form.misread]
        problems += [(_line_of(sentence, form.lines), sentence) for sentence in said]
    if problems:
        problems.sort(key=lambda problem: problem[0] or 0)
        raise InvalidStudy(_at(path, *problem) for problem in problems)
    return study


def _beside(path: Path) -> str:
    """` Did you mean ...?` with the study files in the same folder whose names are close."""
    try:
        beside = [item.name for item in islice(path.parent.iterdir(), 10_000) if item.suffix.lower() in SUFFIXES]
    except (OSError, ValueError):
        return ""
    return near(path.name, beside)


def _text(path: Path) -> str:
    shown = repr(str(path))
    if "\0" in str(path) or path.suffix.lower() not in SUFFIXES:
        expected = "expected a .yaml, .yml or .json file"
        raise InvalidStudy([f"The study file {shown} has an unknown format; {expected}.{_beside(path)}"])
    try:
        if path.stat().st_size > LARGEST:
            raise InvalidStudy([f"{visible(path)}: it is larger than {LARGEST:,} bytes; expected a page of fields."])
        content = path.read_bytes()
    except FileNotFoundError:
        raise InvalidStudy([f"There is no study file {shown}.{_beside(path)}"]) from None
    except OSError as error:
        raise InvalidStudy([f"The study file {shown} cannot be read: {error.strerror}."]) from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidStudy([f"{visible(path)}: it is saved as UTF-16; save it as UTF-8."])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        sentence = f"the byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8."
        raise InvalidStudy([_at(path, line, sentence)]) from None


def _json(text: str) -> Located:
    if not text.strip():
        return Located(None, {}, [])
    problems: list[tuple[int | None, str]] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in items]
        twice = sorted({name for name in names if names.count(name) > 1})
        problems.extend((None, f"the field {name!a} is given twice; keep one.") for name in twice)
        return dict(items)

    try:
        return Located(json.loads(text, object_pairs_hook=pairs), {}, problems)
    except json.JSONDecodeError as error:
        raise Unreadable(error.lineno, f"it is not JSON: {error.msg}, at column {error.colno}.") from None
    except ValueError:
        raise Unreadable(None, "it holds a number with thousands of digits.") from None


def _not_a_mapping(path: Path, value: object) -> str:
    name = visible(path)
    wanted = "expected fields such as `name: digits` and `trials: 50`."
    if value is None:
        return f"{name}: the file is empty; {wanted}"
    if isinstance(value, list):
        return f"{name}: there is a list at the top; {wanted} Remove the leading `-`."
    return f"{name}: there is a single value in it; {wanted}"


def _field(sentence: str) -> str:
    """The path of the field that opens the sentence, or an empty text."""
    found = re.match(r"`([^`]+)`", sentence)
    return found[1] if found else ""


def _line_of(sentence: str, lines: Mapping[str, int]) -> int | None:
    """The line of the field whose path opens the sentence, or of the nearest field around it."""
    field = _field(sentence)
    while field and field not in lines:
        field = field.rpartition(".")[0]
    return lines.get(field)


def _at(path: Path, line: int | None, sentence: str) -> str:
    return f"{visible(path)}: {sentence}" if line is None else f"{visible(path)}, line {line}: {sentence}"
