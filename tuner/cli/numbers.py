"""Numbers on the command line, refused in sentences."""

from __future__ import annotations

from typing import Any

import click

LARGEST = 2**63 - 1  # what a column of a database holds


class Number(click.ParamType[float]):
    """A number from `least`, called `what` where it is refused; `example` is one that would do."""

    name = "number"

    def __init__(self, what: str, least: int, example: int, *, whole: bool = True) -> None:
        self._what, self._least, self._example, self._kind = what, least, example, int if whole else float

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = self._kind(value)
        except ValueError:
            number = None
        if number is None or not self._least <= number <= LARGEST:
            from tuner.names import brief

            kind = "whole number" if self._kind is int else "number"
            expected = f"expected a {kind} from {self._least}, for example {self._example}"
            self.fail(f"{brief(value)} is no {self._what}; {expected}.", param, ctx)
        return number


BEST = Number("number of trials", 1, 10)
TRIAL = Number("trial number", 0, 17)
VERSION = Number("version number", 1, 3)
WORKERS = Number("number of workers", 1, 4)
SECONDS = Number("number of seconds", 0, 60, whole=False)
