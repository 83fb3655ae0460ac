"""The names of arrays in an .npz file: `x`, `y_train`, and with several inputs `x["image"]` or `x_validation[0]`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

_PLACE = r'\d+|"(?:[^"\\]|\\.)*"'
_NAME = re.compile(rf"([^\[\]]+)((?:\[(?:{_PLACE})\])+)")


def flat(name: str, value: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Each array of a nested structure of dicts and tuples, with a name that says where it was."""
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from flat(f"{name}[{json.dumps(key)}]", value[key])
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from flat(f"{name}[{index}]", item)
    else:
        yield name, value


def nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The structures that `flat` took apart, by their names; arrays with other names stay as they are."""
    tree: dict[Any, Any] = {}
    for name, array in arrays.items():
        found = _NAME.fullmatch(name)
        places: list[Any] = [found[1], *map(json.loads, re.findall(_PLACE, found[2]))] if found else [name]
        branch = tree
        for place in places[:-1]:
            branch = branch.setdefault(place, {})
        branch[places[-1]] = array
    return {name: _structure(branch) for name, branch in tree.items()}


def digest_of(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of arrays: their names, types, shapes and values."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(f"{name}:{array.dtype.str}:{array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def _structure(branch: Any) -> Any:
    if not isinstance(branch, dict):
        return branch
    if all(isinstance(place, int) for place in branch):
        return tuple(_structure(branch[place]) for place in sorted(branch))
    return {place: _structure(item) for place, item in branch.items()}
