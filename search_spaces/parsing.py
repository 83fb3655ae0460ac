"""Reading a search space that a person wrote, in a YAML or JSON file or as a dictionary.

    {family: mlp, depth: [1, 4], l2: 0}                          arguments of a ready-made space
    {units: {type: int, low: 16, high: 256}, activation: relu}   named domains; a single value is fixed
    {schema: 1, family: null, parameters: {...}}                 what `Space.to_json` gives

All mistakes are collected, and what YAML does to `1e-3` and `no` is caught here, before it becomes a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces.domains import Choice, Domain, Fixed
from search_spaces.families import family_mistakes
from search_spaces.forms import domain_from_json
from search_spaces.mistakes import (
    InvalidSpace,
    Mistake,
    check,
    is_number,
    is_whole,
    listed,
    looks_like_exponent,
    number_hint,
    told,
)
from search_spaces.mlp import mlp_from
from search_spaces.space import Space, read_space

_EXAMPLE = "{family: mlp} or {units: {type: int, low: 16, high: 256}}"


def parse(form: Any, path: str = "space") -> Space:
    """The space that `form` describes; see above for its three shapes. A `Space` is returned as it is.

    Args:
        form: a mapping as YAML or JSON gives it.
        path: what the sentences call the form.

    Raises:
        InvalidSpace: `problems` has a sentence for each mistake.
    """
    if isinstance(form, Space):
        return form
    try:
        return _parse(form)
    except InvalidSpace as error:
        raise InvalidSpace(error.under(path)) from None


def _parse(form: Any) -> Space:
    if not isinstance(form, Mapping) or not form:
        given = "an empty mapping" if isinstance(form, Mapping) else told(form)
        raise InvalidSpace([Mistake("", f"is {given}; expected a mapping such as {_EXAMPLE}.")])
    if _is_json_of_space(form):
        return Space.from_json(form)
    family = form.get("family")
    if isinstance(family, Mapping):
        return read_space(form, None, _read)
    named = {name: given for name, given in form.items() if name != "family"}
    if family is None:
        return read_space(named, None, _read)
    if family != "mlp":
        raise InvalidSpace(family_mistakes(family, {}, {}))
    return mlp_from(named)


def _is_json_of_space(form: Mapping[Any, Any]) -> bool:
    """Whether this is what `Space.to_json` gives. A parameter may be called `parameters` too."""
    inner = form.get("parameters")
    return isinstance(form.get("schema"), int) or (isinstance(inner, Mapping) and "type" not in inner)


def _read(given: Any) -> Domain:
    """The domain of one named form, or of its short form: one value is fixed, a list of texts is a choice."""
    if isinstance(given, Domain):
        return given
    if isinstance(given, Mapping):
        check(_yaml_mistakes(given))
        return domain_from_json(given)
    if isinstance(given, (list, tuple)):
        return _read_list(list(given))
    if given is None or isinstance(given, bool):
        # A bare `no` may be a text that YAML changed, and a bare nothing a line that was never finished.
        value = "null" if given is None else str(given).lower()
        quotes = "" if given is None else "put a text in quotes, or "
        hint = f"{quotes}write {{type: fixed, value: {value}}} to fix the parameter to {value}"
        raise InvalidSpace([Mistake("", f"is {told(given)}; {hint}.")])
    check(_exponent_mistakes("", given))
    return Fixed(given)


def _read_list(given: list[Any]) -> Domain:
    if given and all(isinstance(value, str) for value in given):
        check(mistake for place, value in enumerate(given) for mistake in _exponent_mistakes(f"[{place}]", value))
        return Choice(given)
    choice = f"{{type: choice, options: [{listed(given)}]}}"
    hint = f"write {choice}"
    if len(given) == 2 and all(is_number(value) for value in given):
        kind = "int" if all(is_whole(value) for value in given) else "float"
        hint = f"for a range write {{type: {kind}, low: {given[0]}, high: {given[1]}}}, for two values {choice}"
    raise InvalidSpace([Mistake("", f"is {told(given)}; {hint}.")])


def _yaml_mistakes(form: Mapping[Any, Any]) -> list[Mistake]:
    """Values that are sound in themselves and yet most likely not what was written in the file."""
    found = _exponent_mistakes("value", form.get("value")) if form.get("type") == "fixed" else []
    options = form.get("options")
    if form.get("type") != "choice" or not isinstance(options, (list, tuple)):
        return found
    texts = any(isinstance(option, str) for option in options)
    for place, option in enumerate(options):
        found += _exponent_mistakes(f"options[{place}]", option)
        if texts and isinstance(option, bool):
            found.append(Mistake(f"options[{place}]", f"is {told(option)} among texts; put it in quotes."))
    return found


def _exponent_mistakes(path: str, value: Any) -> list[Mistake]:
    if not looks_like_exponent(value):
        return []
    return [Mistake(path, f"is {told(value)}; expected a number.{number_hint(value)}")]
