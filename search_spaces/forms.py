"""The JSON form of one domain, read back with every mistake named.

{"type": "int", "low": 16, "high": 256, "log": true, "step": 1}
{"type": "choice", "options": ["relu", "tanh"]}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from search_spaces.domains import Choice, Domain, Fixed
from search_spaces.mistakes import InvalidSpace, Mistake, listed, near, told
from search_spaces.ranges import Float, Int, Lambda

MAKERS: dict[str, tuple[Callable[..., Domain], tuple[str, ...], tuple[str, ...]]] = {
    "float": (Float, ("low", "high"), ("log", "step")),
    "int": (Int, ("low", "high"), ("log", "step")),
    "choice": (Choice, ("options",), ()),
    "lambda": (Lambda, (), ("low", "high", "zero")),
    "fixed": (Fixed, ("value",), ()),
}
"""type -> what makes the domain, its required fields, its optional fields."""

_OTHER_TYPES = {
    "integer": "int", "randint": "int", "number": "float", "real": "float", "double": "float", "uniform": "float",
    "loguniform": "float", "categorical": "choice", "category": "choice", "enum": "choice", "bool": "choice",
    "boolean": "choice", "constant": "fixed", "const": "fixed", "penalty": "lambda",
}  # fmt: skip
_OTHER_FIELDS = {
    "min": "low", "max": "high", "min_value": "low", "max_value": "high", "lower": "low", "upper": "high",
    "from": "low", "to": "high", "values": "options", "choices": "options", "categories": "options",
    "sampling": "log", "log_scale": "log", "q": "step", "if": "when", "condition": "when", "conditions": "when",
}  # fmt: skip


def domain_from_json(form: Any) -> Domain:
    """The domain that `form` describes. A `when` beside it belongs to the space and is passed over.

    Raises:
        InvalidSpace: with every mistake, paths relative to the form.
    """
    if not isinstance(form, Mapping):
        raise InvalidSpace(
            [Mistake("", f"is {told(form)}; expected a mapping such as {{type: int, low: 1, high: 9}}.")]
        )
    kind = form.get("type")
    if not isinstance(kind, str) or kind not in MAKERS:
        raise InvalidSpace([_type_mistake(form)])
    maker, required, optional = MAKERS[kind]
    found = field_mistakes(form, (*required, *optional, "type", "when"), _OTHER_FIELDS)
    renamed = {_OTHER_FIELDS.get(str(key)) for key in form}
    missing = [name for name in required if name not in form and name not in renamed]
    found += [Mistake(name, f"is missing: the type {kind} needs it.") for name in missing]
    values = {name: form[name] for name in (*required, *optional) if name in form}
    if all(name in form for name in required):
        try:
            domain = maker(**values)
        except InvalidSpace as error:
            found += error.mistakes
    if found:
        raise InvalidSpace(found)
    return domain


def field_mistakes(form: Mapping[Any, Any], known: tuple[str, ...], synonyms: Mapping[str, str]) -> list[Mistake]:
    """A mistake for each key of `form` that is not `known`."""
    usable = {word: name for word, name in synonyms.items() if name in known}
    return [
        Mistake(str(key), f"is not a field.{near(key, known, usable) or f' The fields here are: {listed(known)}.'}")
        for key in form
        if key not in known
    ]


def _type_mistake(form: Mapping[str, Any]) -> Mistake:
    if "type" not in form:
        return Mistake("type", f"is missing; expected one of {listed(MAKERS)}.")
    kind = form["type"]
    hint = near(kind, MAKERS, _OTHER_TYPES) if isinstance(kind, str) else ""
    return Mistake("type", f"is {told(kind)}; expected one of {listed(MAKERS)}.{hint}")
