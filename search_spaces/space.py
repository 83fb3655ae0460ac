"""A search space: named domains, and the conditions under which each is active."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from search_spaces.conditions import Conditions, condition_mistakes, decision_order, is_active, normalized
from search_spaces.corners import corners
from search_spaces.domains import Domain, Fixed, Value
from search_spaces.families import family_mistakes
from search_spaces.forms import domain_from_json, field_mistakes
from search_spaces.mistakes import InvalidSpace, Mistake, brief, check, listed, near, told

SCHEMA = 1
LONGEST_NAME = 128  # characters


@dataclass(frozen=True, eq=False)
class Space:
    """The hyperparameters of a study. A point of the space (`params`) has a value for each active parameter.

    Args:
        parameters: name -> domain; at least one. Names are printable text of at most 128 characters.
        conditions: child -> parent -> values: the child is active when each of its parents is active and has one of
            the values. Default: every parameter is always active.
        family: the ready-made model family that understands these parameters ("mlp"); None for a user's own model.

    Raises:
        InvalidSpace: with every mistake.
    """

    parameters: Mapping[str, Domain]
    conditions: Conditions = field(default_factory=dict)
    family: str | None = None

    def __init__(
        self,
        parameters: Mapping[str, Domain],
        conditions: Mapping[str, Mapping[str, Any]] | None = None,
        family: str | None = None,
    ) -> None:
        check(_space_mistakes(parameters, {} if conditions is None else conditions, family))
        object.__setattr__(self, "parameters", dict(parameters))
        object.__setattr__(self, "conditions", normalized(parameters, conditions or {}))
        object.__setattr__(self, "family", family)

    def __eq__(self, other: object) -> bool:
        return self.hash == other.hash if isinstance(other, Space) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.hash)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """All names, parents before children and otherwise alphabetically: however the space was written down."""
        return decision_order(self.parameters, self.conditions)

    @property
    def free(self) -> dict[str, Domain]:
        """The parameters that can vary: all but the fixed ones."""
        return {name: domain for name, domain in self.parameters.items() if not isinstance(domain, Fixed)}

    def active(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """Names of the parameters that are active at this point, in `order`.

        `params` needs the values of the parents; a parent that is missing deactivates its children.
        """
        known: dict[str, Any] = {}
        names = []
        for name in self.order:
            if is_active(name, self.conditions, known):
                names.append(name)
                known.update({name: params[name]} if name in params else {})
        return tuple(names)

    def complete(self, params: Mapping[str, Any]) -> dict[str, Value]:
        """The point in the form in which it is stored: fixed values added, inactive ones dropped, the others snapped.

        Raises:
            InvalidSpace: with every mistake of the values; also for names that are missing or unknown.
        """
        fixed = {name: domain.value for name, domain in self.parameters.items() if isinstance(domain, Fixed)}
        given = {**fixed, **params}
        names = self.active(given)
        dropped = {name for name in given if name in self.parameters and name not in names}
        point = {name: value for name, value in given.items() if name not in dropped}
        self.validate(point)
        return {name: self.parameters[name].snap(point[name]) for name in names}

    def validate(self, params: Mapping[str, Any]) -> None:
        """Raises `InvalidSpace` with every mistake of a point: its names and its values."""
        if not isinstance(params, Mapping):
            raise InvalidSpace([Mistake("params", f"is {told(params)}; expected a mapping of names to values.")])
        check(self._point_mistakes(params))

    def corners(self) -> list[dict[str, Value]]:
        """A few points that show early what cannot work: all lowest, all highest, each option of a choice once."""
        return corners(self)

    def to_unit(self, params: Mapping[str, Any]) -> dict[str, float]:
        """Each active parameter's place in [0, 1]. Raises `InvalidSpace` for a point that is not in this space."""
        self.validate(params)
        return {name: self.parameters[name].place(params[name]) for name in self.active(params)}

    def from_unit(self, units: Mapping[str, float]) -> dict[str, Value]:
        """The point at these places in [0, 1]. Names that turn out inactive, and fixed ones, may be left out.

        Raises:
            InvalidSpace: for an active name without a place, and for a place outside [0, 1].
        """
        params: dict[str, Value] = {}
        for name in self.order:
            if is_active(name, self.conditions, params):
                domain = self.parameters[name]
                if name not in units and not isinstance(domain, Fixed):
                    raise InvalidSpace([Mistake(name, "is missing: it is active here.")])
                params[name] = domain.from_unit(units.get(name, 0.5))
        return params

    def to_json(self) -> dict[str, Any]:
        """A plain form; `Space.from_json` turns it back into an equal space."""
        parameters = {name: domain.to_json() for name, domain in self.parameters.items()}
        for child, parents in self.conditions.items():
            parameters[child]["when"] = {parent: list(values) for parent, values in parents.items()}
        return {"schema": SCHEMA, "family": self.family, "parameters": parameters}

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Space:
        """The space that `to_json` described.

        Raises:
            InvalidSpace: with every mistake.
        """
        found = _form_mistakes(form)
        if not isinstance(form, Mapping) or not isinstance(form.get("parameters"), Mapping):
            raise InvalidSpace(found)
        return read_space(form["parameters"], form.get("family"), domain_from_json, found)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON form, in hexadecimal: equal spaces have equal hashes."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def _point_mistakes(self, params: Mapping[str, Any]) -> list[Mistake]:
        active = self.active(params)
        found = [Mistake(name, "is missing: it is active here.") for name in active if name not in params]
        for name, value in params.items():
            if name not in self.parameters:
                hint = near(name, self.parameters) or f" The parameters are: {listed(self.parameters)}."
                found.append(Mistake(str(name), f"is not a parameter of this space.{hint}"))
            elif name not in active:
                found.append(Mistake(name, f"is {told(value)}, but it is not active here: leave it out."))
            elif text := self.parameters[name].problem(value):
                found.append(Mistake(name, text))
        return found


def read_space(
    forms: Mapping[Any, Any], family: Any, read: Callable[[Any], Domain], found: Iterable[Mistake] = ()
) -> Space:
    """The space of these named forms, each turned into a domain by `read`. `when` in a form is its condition.

    Raises:
        InvalidSpace: with every mistake, after those `found` before.
    """
    mistakes = list(found)
    parameters: dict[str, Domain | None] = {}
    for name, form in forms.items():
        parameters[name] = None
        try:
            parameters[name] = read(form)
        except InvalidSpace as error:
            mistakes += error.under(name if isinstance(name, str) else brief(name))
    conditions = {
        name: form["when"] for name, form in forms.items() if isinstance(form, Mapping) and form.get("when") is not None
    }
    check([*mistakes, *_space_mistakes(parameters, conditions, family)])
    return Space({name: domain for name, domain in parameters.items() if domain is not None}, conditions, family)


def _form_mistakes(form: Any) -> list[Mistake]:
    if not isinstance(form, Mapping):
        return [Mistake("", f"is {told(form)}; expected a mapping.")]
    found = field_mistakes(form, ("schema", "family", "parameters"), {})
    version = form.get("schema", SCHEMA)
    if version != SCHEMA or isinstance(version, bool):
        found.append(Mistake("schema", f"is {told(version)}; this version of Ockham reads {SCHEMA}."))
    if not isinstance(form.get("parameters"), Mapping):
        found.append(
            Mistake("parameters", f"is {told(form.get('parameters'))}; expected a mapping of names to domains.")
        )
    return found


def _space_mistakes(parameters: Any, conditions: Any, family: Any) -> list[Mistake]:
    """Every mistake of a whole space. A parameter whose own form is broken, and was reported, is None."""
    if not isinstance(parameters, Mapping):
        return [Mistake("parameters", f"is {told(parameters)}; expected a mapping of names to domains.")]
    found = [] if parameters else [Mistake("", "is empty; expected at least one parameter.")]
    for name, domain in parameters.items():
        found += name_mistakes(name)
        if domain is not None and not isinstance(domain, Domain):
            found.append(Mistake(str(name), f"is {told(domain)}; expected Float, Int, Choice, Lambda or Fixed."))
    sound = {name: domain if isinstance(domain, Domain) else None for name, domain in parameters.items()}
    return [*found, *condition_mistakes(sound, conditions), *family_mistakes(family, sound, conditions)]


def name_mistakes(name: Any) -> list[Mistake]:
    """Why a parameter cannot have this name."""
    if not isinstance(name, str):
        return [Mistake(brief(name), f"is {told(name)} as a name; names are texts: put it in quotes.")]
    if not name or name != name.strip() or not name.isprintable():
        return [Mistake(brief(name), "is not a name; expected printable text without spaces at its ends.")]
    if len(name) > LONGEST_NAME:
        return [Mistake(brief(name), f"has {len(name)} characters; a name has at most {LONGEST_NAME}.")]
    return []
