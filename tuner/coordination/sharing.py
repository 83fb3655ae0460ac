"""Who gets the workers: the highest priority first, and within one priority each study its share by weight.

A share is fair when the numbers of workers are as the weights: a free worker goes to the study with the fewest workers
per weight. A study that finds no room while ones of lower priority hold workers takes theirs: those trials are saved
and queued again, and none of a lower priority starts before it has what it can use. Studies of the same priority take
nothing from each other; they wait for trials to end. Of those without a worker the one that has waited longest is the
first, and where it needs more than is free, nothing starts on that until it has one: else studies of small trials would
take each core as it comes free.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tuner.coordination.active_study import ActiveStudy
from tuner.coordination.collecting import Running
from workers.contract import Launcher, Resources

ROUND_SECONDS = 15.0  # workers are taken from lower priorities this often: by then the last ones were given back


@dataclass
class Plan:
    """Who starts, and why others do not. Studies are named by their ids."""

    starts: dict[int, list[tuple[int, ...]]] = field(default_factory=dict)  # groups of trials; each gets a worker
    waits: dict[int, str] = field(default_factory=dict)  # why a study without a worker gets none


class Sharing:
    """Divides the workers of a launcher among studies."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._next_round = 0.0
        self._without: dict[int, float] = {}  # by study: since when it is short of a worker and has none

    def plan(self, studies: Collection[ActiveStudy], running: Sequence[Running]) -> Plan:
        """Give the free workers to trials, and have others leave where a higher priority needs their workers.

        Args:
            studies: every study there is.
            running: the assignments at work, the oldest first.
        """
        look = _Look(studies, running, self._launcher, self._without)
        look.give()
        self._without = look.without()
        if look.short and time.monotonic() >= self._next_round and look.take():
            self._next_round = time.monotonic() + ROUND_SECONDS
        return look.plan


class _Look:
    """One moment: how many workers each study has, and who finds none."""

    def __init__(
        self,
        studies: Collection[ActiveStudy],
        running: Sequence[Running],
        launcher: Launcher,
        without: Mapping[int, float],
    ) -> None:
        self._studies, self._running, self._launcher, self._without = studies, running, launcher, without
        self._now = time.monotonic()
        # workers by study; those whose trials have all ended are as good as free
        self._busy = Counter(item.study.id for item in running if item.attempts)
        self._planned: Counter[int] = Counter()  # trials by study
        self._starts: list[Resources] = []  # what was planned, in order
        self._room: dict[Resources, int] = {}  # beside what was planned
        self.plan = Plan()
        self.short: list[ActiveStudy] = []  # have trials to run and find no room; the highest priority first

    def give(self) -> None:
        """Plan a start for every free worker."""
        open_studies = list(self._studies)
        while open_studies:
            study = min(open_studies, key=self._order)
            if not self._start(study):
                open_studies.remove(study)
                self._explain(study)

    def take(self) -> bool:
        """Have assignments of lower priorities leave, as many as the studies without room can use. Whether any was."""
        left = [item for item in self._running if item.leaves or not item.attempts]
        resources = [item.study.definition.resources() for item in left]
        cpus, gpus = sum(item.cpus for item in resources), sum(item.gpus for item in resources)
        taken = False
        for study in self.short:
            need, count = study.definition.resources(), self._could_use(study)
            cpus, gpus = cpus - count * need.cpus, gpus - count * need.gpus
            for victim in self._victims(study):
                if cpus >= 0 and gpus >= 0:
                    break
                gives = victim.study.definition.resources()
                cpus, gpus, taken = cpus + gives.cpus, gpus + gives.gpus, True
                victim.leave(f"Study {study.name} has the higher priority {study.definition.priority}.")
        return taken

    def without(self) -> dict[int, float]:
        """Since when studies that are short of a worker have none, by study."""
        return {item.id: self._without.get(item.id, self._now) for item in self.short if not self._busy[item.id]}

    def _order(self, study: ActiveStudy) -> tuple[int, float, float, int]:
        share = self._busy[study.id] / study.definition.weight
        return (-study.definition.priority, share, self._without.get(study.id, self._now), study.id)

    def _could_use(self, study: ActiveStudy) -> int:
        """How many workers more the study has trials for, within its own limit."""
        if study.halted:
            return 0
        limits = study.definition
        new = 0 if study.ending() else limits.trials - len(study.points) - len(study.proposed)
        left = len(study.ready(self._now)) + len(study.proposed) + max(0, new) - self._planned[study.id]
        groups = max(0, -(-left // study.together))
        return groups if limits.workers is None else max(0, min(groups, limits.workers - self._busy[study.id]))

    def _start(self, study: ActiveStudy) -> bool:
        """Plan one more worker for a study, where there is room and it has trials."""
        resources = study.definition.resources()
        if resources not in self._room:
            self._room[resources] = self._launcher.room(resources, self._starts)
        limit = study.definition.workers
        limited = limit is not None and self._busy[study.id] >= limit
        if limited or self._room[resources] <= 0 or self._ahead(study):
            return False
        group = study.waiting(self._planned[study.id], self._now)
        if group:
            self._starts.append(resources)
            self._room = {resources: self._room[resources] - 1}  # what it leaves for other shapes the launcher knows
            self._busy[study.id] += 1
            self._planned[study.id] += len(group)
            self.plan.starts.setdefault(study.id, []).append(group)
        return bool(group)

    def _ahead(self, study: ActiveStudy) -> ActiveStudy | None:
        """A study that gets what this one could start on: of higher priority, or of the same one without a worker."""
        for item in self.short:
            if not _could_take(item, study):
                continue
            if item.definition.priority > study.definition.priority or (
                not self._busy[item.id] and self._can_become_enough(item, study)
            ):
                return item
        return None

    def _can_become_enough(self, item: ActiveStudy, study: ActiveStudy) -> bool:
        """Whether one worker of `item` needs no more than what `study` could start on now and what runs, together.

        Else others than the studies of this coordinator have the rest, and waiting for it would leave this idle.
        """
        need, own = item.definition.resources(), study.definition.resources()
        used = [running.study.definition.resources() for running in self._running] + self._starts
        room = self._room.get(own, 0)
        cpus = room * own.cpus + sum(shape.cpus for shape in used)
        gpus = room * own.gpus + sum(shape.gpus for shape in used)
        return need.cpus <= cpus and need.gpus <= gpus

    def _victims(self, study: ActiveStudy) -> list[Running]:
        """Assignments whose workers a study may take: of the lowest priority, of the largest share, the youngest."""
        low = [
            item
            for item in reversed(self._running)
            if item.study.definition.priority < study.definition.priority
            and _could_take(study, item.study)
            and item.attempts
            and not item.leaves
        ]
        return sorted(low, key=lambda item: tuple(-part for part in self._order(item.study)[:2]))

    # --- why a study waits ----------------------------------------------------------------------------------------

    def _explain(self, study: ActiveStudy) -> None:
        """A study gets no worker: note whether it is short of one, and say why where it has none at all."""
        why = None
        if self._could_use(study) > 0:
            why = self._launcher.fits(study.definition.resources())
            if why is None:
                ahead = self._ahead(study)
                self.short.append(study)
                why = self._used() if ahead is None else _comes_first(ahead, study)
        elif study.queue and not study.halted:
            number = study.queue[0]
            failures = study.points[number].failures
            why = f"trial {number} is tried again after a pause{f': {failures[-1].cause}' if failures else ''}"
        if why is not None and not self._busy[study.id]:
            self.plan.waits[study.id] = why

    def _used(self) -> str:
        """Who has the workers."""
        parts = [
            f"{count} by {study.name} (weight {study.definition.weight:g})"
            for study in sorted(self._studies, key=lambda study: (-self._busy[study.id], study.id))
            if (count := self._busy[study.id])
        ]
        total = sum(self._busy.values())
        if not parts:
            return "no worker is free, and none is used by a study of this coordinator"
        used = f"{total} of {total} workers are used"
        return f"{used}{parts[0].removeprefix(str(total))}" if len(parts) == 1 else f"{used}: {', '.join(parts)}"


def _comes_first(ahead: ActiveStudy, study: ActiveStudy) -> str:
    if ahead.definition.priority > study.definition.priority:
        return f"{ahead.name} comes first (priority {ahead.definition.priority})"
    return f"{ahead.name} comes first: it has waited longer, for {ahead.definition.resources().cpus:g} CPUs"


def _could_take(study: ActiveStudy, other: ActiveStudy) -> bool:
    """Whether what `other` uses could help `study`: one that needs a card gains nothing from a worker without."""
    return study.definition.gpus_per_trial == 0 or other.definition.gpus_per_trial > 0
