"""The whole description of a study: what a user gives, what the study's row keeps, what a worker is told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from search_spaces import Space
from tuner.definitions.defaults import Direction, following
from tuner.definitions.stored_data import FILES, located
from tuner.definitions.study_form import read_study
from tuner.errors import InvalidStudy
from tuner.names import brief
from workers.contract import Resources, Training
from workers.user_code import is_made

COHORT = 16  # members of a cohort beyond which no more speed was measured
LIFTABLE = ("learning_rate", "l1", "l2", "dropout")  # of the mlp family: numbers of a program, not its shape


@dataclass(frozen=True, kw_only=True)
class StudyDefinition:
    """A study as its user described it, complete and checked. `parse` makes one from what a person wrote.

    Exactly one of a ready-made family (`space.family`), `model` and `loop` says what is trained.
    """

    name: str  # 1 to 128 of a-z A-Z 0-9 . _ -
    data: dict[str, Any] | None = None  # every default spelled out, paths absolute; None: the loop brings its own
    space: Space | None = None  # None: read from the user's build(hp) by the dry run
    model: str | None = None  # "mlp", or "module:attribute" of a build(hp) function or a HyperModel
    loop: str | None = None  # "module:function" that owns its training loop
    objective: str = "val_data_loss"  # a metric of each epoch; trials are ranked by its best epoch
    direction: Direction = "minimize"  # which objective is better; `parse` chooses by the objective's name
    enqueue: tuple[dict[str, Any], ...] = ()  # parameters of the first trials; the sampler proposes the others
    trials: int = 50  # how many trainings the study has in all; a multiple of `repeats`
    repeats: int = 1  # trainings of each configuration, each with another seed; ranked by their mean
    epochs: int = 30  # most epochs of one trial
    patience: int | None = 5  # epochs without a better objective before a trial ends by itself; None: never
    sampler: str = "gp"  # one of study_form.SAMPLERS
    pruner: str = "asha"  # one of study_form.PRUNERS
    grace: int = 2  # epochs before a trial may be pruned; fewer than `epochs`
    eta: int = 4  # of so many trials at a rung, one goes on
    audit: float = 0.0  # of the trials that would be pruned, the share that goes on, to see whether that would be right
    seed: int = 0  # of every draw in the study, 0 to 2**32 - 1
    weight: float = 1.0  # its share of the workers beside other studies: twice the weight, twice the workers
    priority: int = 0  # studies of a higher one come first, and take the workers of lower ones
    workers: int | None = None  # most workers at once; None: as many as the machine has room for
    cohort: int | None = None  # most trials that a worker trains together; None: an eighth of `trials`, at most 16
    cpus_per_trial: float = 1.0  # cores a running trial occupies
    gpus_per_trial: float = 0.0  # cards a running trial occupies; below 1 is a share of one card
    total_epochs: int | None = None  # most epochs of all trials together; None: no limit
    max_seconds: float | None = None  # most wall time of the study, in seconds; None: no limit
    target: float | None = None  # an objective this good ends the study; None: none is good enough
    no_improvement: int | None = None  # trials in a row without a better best before the study ends; None: never
    max_failures: int = 12  # more failed trials fail the study; `parse` takes a quarter of `trials`, at least 5
    keep: int = 5  # best trials whose artifacts are kept
    checkpoint_seconds: float = 10.0  # a running trial is saved at least this often, at the end of an epoch

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary with every field; `from_json` is its exact inverse."""
        shallow = {item.name: getattr(self, item.name) for item in fields(self)}
        data = None if self.data is None else json.loads(json.dumps(self.data))
        enqueue = [dict(params) for params in self.enqueue]
        return {
            **shallow,
            "data": data,
            "space": None if self.space is None else self.space.to_json(),
            "enqueue": enqueue,
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> StudyDefinition:
        """The definition that `to_json` wrote. Nothing is checked again: the data may lie on another machine.

        Raises:
            InvalidStudy: another version wrote it, and this one cannot read it.
        """
        unknown = sorted(set(form) - set(FIELDS))
        if unknown:
            raise InvalidStudy(
                [
                    f"The stored study has the field {brief(unknown[0])}, which this version of Ockham does not know. "
                    "A newer version wrote it: upgrade this one."
                ]
            )
        try:
            space = form.get("space")
            enqueue = tuple(form.get("enqueue", ()))
            return cls(**{**form, "space": None if space is None else Space.from_json(space), "enqueue": enqueue})
        except (ValueError, KeyError, TypeError) as error:
            why = " ".join(str(error).splitlines())
            raise InvalidStudy(
                [f"The stored study cannot be read, another version of Ockham may have written it: {why}"]
            ) from error

    @classmethod
    def from_json_to_show(cls, form: Mapping[str, Any]) -> tuple[StudyDefinition, str | None]:
        """The definition that `to_json` wrote, and why it is not all of it, where another version wrote it.

        What cannot be read then has its default, and there is no space: good for showing, not for running.
        """
        try:
            return cls.from_json(form), None
        except InvalidStudy as error:
            known = {name: value for name, value in form.items() if name in FIELDS}
            return cls(**{"name": "", **known, "space": None, "enqueue": ()}), str(error)

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON: the same however the fields were ordered and defaults spelled out."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def differences(self, given: StudyDefinition) -> list[str]:
        """One sentence per field in which `given` is another study than this one; empty where they are equal.

        A default that differs because another field does is not named beside it.
        """
        followed = self.followed(given)
        compared = _compare("", self.to_json(), given.to_json())
        return [_difference(path, old, new, self.name) for path, old, new in compared if path not in followed]

    def followed(self, given: StudyDefinition) -> set[str]:
        """The fields that have in both studies what follows from other fields where nobody gives it."""
        ours, theirs = self.to_json(), given.to_json()
        before, after = following(ours), following(theirs)
        return {name for name in before if (ours[name], theirs[name]) == (before[name], after[name])}

    def training(
        self, artifacts: str | Path, import_paths: Sequence[str] = (), data_in: str | Path | None = None
    ) -> Training:
        """What a worker is told.

        Args:
            artifacts: root folder of the store.
            import_paths: where user code lies.
            data_in: root folder of the store that has the data which was in memory; None: the same one.
        """
        return Training(
            study=self.name,
            model=str(self.loop or self.model),
            loop=self.loop is not None,
            space=None if self.space is None else self.space.to_json(),
            data=located(self.data, data_in or artifacts),
            objective=self.objective,
            direction=self.direction,
            epochs=self.epochs,
            patience=self.patience,
            checkpoint_seconds=self.checkpoint_seconds,
            artifacts=str(artifacts),
            seed=self.seed,
            import_paths=tuple(import_paths),
        )

    @property
    def entry_points(self) -> list[str]:
        """The names of the user's own code in it, each `"module:attribute"`."""
        named = (self.model, self.loop, (self.data or {}).get("function"))
        return [name for name in named if name is not None and name != "mlp"]

    def liftable(self, found: Collection[str]) -> tuple[str, ...]:
        """The parameters in which the models of a cohort may differ. `found`: by the dry run, for a user's models."""
        names = () if self.space is None else self.space.parameters
        return tuple(name for name in names if name in (LIFTABLE if self.model == "mlp" else found))

    def together(self, checked: Mapping[str, Any]) -> int:
        """How many trials a worker is given at a time: 1 where training them together gains nothing.

        A cohort is proposed at once, without knowing how its members do: a short study has small ones, but the repeats
        of a configuration fit in one. None is larger than what the worker of the dry run has memory for.

        Args:
            checked: the report of the study's dry run, as it is stored.
        """
        if self.loop is not None or (self.model != "mlp" and not self.liftable(checked.get("liftable", ()))):
            return 1
        wanted = self.cohort or max(self.repeats, min(COHORT, self.trials // 8))
        return min(wanted, checked.get("together") or wanted)

    def alone(self, checked: Mapping[str, Any]) -> str | None:
        """Why a worker is given one trial at a time, for people to read; None where it is given several, or a loop."""
        if self.loop is not None or self.together(checked) > 1:
            return None
        if found := checked.get("alone"):
            return str(found)
        if self.cohort == 1:
            return "`cohort` is 1"
        if self.cohort is None and self.trials // 8 < 2:
            return "a cohort is an eighth of a study's trials, so it takes 16 of them; or `cohort: 4` in the study"
        return "the dry run found no parameter in which stacked models may differ"

    @property
    def folds(self) -> int:
        """Into how many parts the rows are divided that validate in turn; 1: some rows validate all trials."""
        return int((self.data or {}).get("folds") or 1)

    def resources(self) -> Resources:
        """What one trial occupies while it runs."""
        return Resources(cpus=self.cpus_per_trial, gpus=self.gpus_per_trial)


FIELDS = tuple(item.name for item in fields(StudyDefinition))

IN_MEMORY = tuple(f"data.{kind}" for kind in FILES)  # what a SHA-256 stands for


def parse(form: Mapping[str, Any], base: Path | None = None) -> StudyDefinition:
    """The study that a YAML or JSON mapping, or the arguments of a call, describe.

    Args:
        form: field names to values. `space` may also be a `Space`; `data`, `model` and `loop` may also be
            functions that a module defines.
        base: folder against which relative data paths are resolved. Default: the current folder.

    Raises:
        InvalidStudy: with every mistake, one sentence each.
    """
    return StudyDefinition(**read_study(form, (base or Path.cwd()).absolute(), FIELDS))


def _compare(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _compare(f"{path}.{key}" if path else str(key), old.get(key), new.get(key))
    elif old != new:
        yield path, old, new


def _difference(path: str, old: Any, new: Any, study: str) -> str:
    if path in IN_MEMORY and old and new:
        return f"`{path}` is other data than that of the study {study!r}: SHA-256 {new[:12]}, not {old[:12]}."
    if is_made(old) and is_made(new):
        edited = f"it, or what it refers to, was edited ({new}, not {old})"
        return f"`{path}` is other code than that of the study {study!r}: {edited}."
    return f"`{path}` is {_shown(old)} in the study {study!r}, and {_shown(new)} was given."


def _shown(value: Any) -> str:
    text = "not set" if value is None else json.dumps(value)
    return text if len(text) <= 100 else text[:97] + "..."
