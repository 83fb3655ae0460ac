"""YAML as far as a study needs it: mappings, lists, texts, numbers, true, false and null, each with its line.

The values are made from the nodes here and not by PyYAML's constructors, so that each can be judged by how it was
written, and all that is wrong is found in one pass.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

# What everybody else reads as a number, and YAML 1.1 only with a dot and a sign in the exponent.
_FLOAT = re.compile(r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+")
_TRUE = ("true", "yes", "on", "y")
_DEEPEST = 40  # levels
_LONGEST = 60  # characters of a value in a sentence
_INFINITE = {".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}


class Unreadable(Exception):
    """The text has no structure that could be read any further."""

    def __init__(self, line: int | None, sentence: str) -> None:
        super().__init__(sentence)
        self.line = line
        self.sentence = sentence


@dataclass
class Located:
    """What a file holds, the line of each field by its path, and the mistakes of its form."""

    value: Any
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[int | None, str]] = field(default_factory=list)  # line and sentence
    misread: set[str] = field(default_factory=set)  # paths of values that YAML reads otherwise than they look


class _Loader(yaml.SafeLoader):
    """The safe loader, without tags, anchors and aliases, and without endless depth."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        line = event.start_mark.line + 1
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor is not None:
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            raise Unreadable(
                line, f"the alias or anchor `{sign}{anchor}` is not allowed in a study; write the value out."
            )
        if tag is not None:
            raise Unreadable(line, f"the tag `{tag}` is not allowed in a study; write a plain value.")
        if self.depth >= _DEEPEST:
            raise Unreadable(line, f"it is nested more than {_DEEPEST} levels deep; expected a mapping of fields.")
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_yaml(text: str) -> Located:
    """The value that a YAML text holds (None for an empty one).

    Raises:
        Unreadable: where the text is not YAML, or holds what a study has no use for.
    """
    tab = re.search(r"^ *\t[ \t]*\S", text, re.MULTILINE)
    if tab:
        line = text.count("\n", 0, tab.start()) + 1
        raise Unreadable(line, "a tab indents it, and YAML allows only spaces there; replace the tab.")
    located = Located(None)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _unreadable(error) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Unreadable(line, f"the character {chr(error.character)!a} is not allowed; remove it.") from None
    if node is not None:
        located.value = _value(node, "", located)
    return located


def _unreadable(error: yaml.MarkedYAMLError) -> Unreadable:
    mark = error.problem_mark or error.context_mark
    line = None if mark is None else mark.line + 1
    if error.problem == "but found another document":
        return Unreadable(line, "a second document begins with `---`; expected one study in a file.")
    if error.problem and "'\\t'" in error.problem:
        return Unreadable(line, "a tab is where YAML allows only spaces; replace the tab.")
    if error.problem and "mapping values are not allowed" in error.problem:
        return Unreadable(line, "a `:` is where none is expected; put the text in quotes, or begin a new line.")
    return Unreadable(line, f"it is not YAML: {error.problem or error.context}.")


def _value(node: yaml.Node, path: str, located: Located) -> Any:
    if path:
        located.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, located)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, f"{path}[{place}]", located) for place, item in enumerate(node.value)]
    return _scalar(node, path, located)


def _mapping(node: yaml.MappingNode, path: str, located: Located) -> dict[str, Any]:
    result: dict[str, Any] = {}
    first: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            located.problems.append((line, "a list or a mapping is where the name of a field is expected."))
            continue
        name = key.value
        inner = f"{path}.{name}" if path else name
        if name in first:
            located.problems.append((line, f"`{inner}` is given twice, first in line {first[name]}; keep one."))
        first.setdefault(name, line)
        located.lines.setdefault(inner, line)
        result[name] = _value(value, inner, located)
    return result


def _scalar(node: yaml.ScalarNode, path: str, located: Located) -> Any:
    """The value of a scalar; a sentence where YAML reads it otherwise than it looks."""
    text, kind = node.value, node.tag.rpartition(":")[2]
    problem, value = _judge(text, kind, plain=node.style is None)
    if problem:
        located.misread.add(path)
        text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
        where = f"`{path}` is {text}, " if path else f"{text} is there, "
        located.problems.append((node.start_mark.line + 1, f"{where}which {problem}"))
    return value


def _judge(text: str, kind: str, *, plain: bool) -> tuple[str | None, Any]:
    """What is wrong with the text as YAML reads it, if anything, and the value that was most likely meant."""
    if kind == "null":
        return None, None
    if kind == "bool":
        value = text.lower() in _TRUE
        word = str(value).lower()
        return None if text.lower() == word else f'YAML reads as {word}; write "{text}" in quotes, or {word}.', value
    if kind in ("int", "float"):
        return _number(text, kind)
    if plain and _FLOAT.fullmatch(text):
        number = float(text.replace("_", ""))
        return f"YAML reads as text; write {_yaml_float(number)}.", number
    if kind in ("timestamp", "merge"):
        return f'YAML does not read as text; write "{text}" in quotes.', text
    return None, text


def _number(text: str, kind: str) -> tuple[str | None, Any]:
    digits = text.replace("_", "")
    if ":" in digits:
        return f'YAML reads as a number to base 60; write "{text}" in quotes, or the number of seconds.', text
    if digits.lower() in _INFINITE:
        return None, _INFINITE[digits.lower()]
    if len(digits) > 400:
        return "has hundreds of digits; expected a number of ordinary size.", 0
    if kind == "float":
        return None, float(digits)
    sign, magnitude = (-1, digits[1:]) if digits[0] == "-" else (1, digits.removeprefix("+"))
    if re.fullmatch(r"0[0-7]+", magnitude):
        value = sign * int(magnitude, 10)
        return f"YAML reads as the octal number {sign * int(magnitude, 8)}; write {value}.", value
    return None, sign * int(magnitude, 0)


def _yaml_float(number: float) -> str:
    """A float as YAML 1.1 reads it: 1.0e-05, not 1e-05."""
    text = repr(number)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return text
