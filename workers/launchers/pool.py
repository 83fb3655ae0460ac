"""A launcher over any transport: who is free, who is late, who is due for replacement.

A worker is idle, holds an assignment, or is ending one (`stop` was sent and not answered yet). It is replaced
between assignments after `Limits.trials` trials or when its memory has grown, and killed when it does not
answer in time. A worker killed with an assignment is reported once, as `Lost`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from workers.contract import Assignment, CheckReport, LauncherError, Lost, Resources, SliceResult, Training
from workers.launchers.incomplete_checks import why_incomplete
from workers.launchers.pulse import Pulse
from workers.launchers.slot import Limits, Slot
from workers.launchers.transport import Answer, Gone, Link, Planned, Transport
from workers.worker import STOP_SECONDS


class Pool:
    """A launcher whose workers live behind `transport`. See `workers.contract.Launcher` for its methods."""

    def __init__(self, transport: Transport, limits: Limits) -> None:
        self._transport = transport
        self._limits = limits
        self._slots: list[Slot] = []
        self._ready: list[SliceResult | Lost] = []
        self._orphans: dict[str, Link] = {}  # by what they hold, as last asked

    # --- assignments ----------------------------------------------------------------------------------------------

    def fits(self, resources: Resources) -> str | None:
        return self._transport.fits(resources)

    def nodes(self) -> Mapping[str, Mapping[str, float]]:
        return self._transport.nodes()

    def room(self, resources: Resources, beside: Sequence[Resources] = ()) -> int:
        self._pump(0.0)
        if beside:  # idle workers are these assignments', or give way to them
            busy = [slot.link for slot in self._slots if not slot.free(self._ready)]
            return max(0, self._transport.space(resources, [*busy, *map(Planned, beside)]))
        idle = sum(slot.free(self._ready) and slot.link.resources == resources for slot in self._slots)
        held = [slot.link for slot in self._slots if not slot.free(self._ready) or slot.link.resources == resources]
        return idle + max(0, self._transport.space(resources, held))

    def start(self, assignment: Assignment) -> str:
        slot = self._worker_for(assignment.resources)
        if slot is None:
            raise LauncherError(
                f"{assignment.label} needs a worker with {_shape(assignment.resources)}, and none is free. "
                "Start an assignment only where room(...) is above 0."
            )
        slot.assignment, slot.begun, slot.pulse = assignment, False, Pulse()
        slot.remaining = {member.trial for member in assignment.members}
        return slot.link.name

    def advance(
        self,
        assignment: str,
        until: int,
        seconds: float,
        drop: Collection[int] = (),
        save: bool = False,
        acknowledged: int = 0,
    ) -> None:
        slot = self._holder(assignment)
        if slot is None:
            if any(isinstance(item, Lost) and item.assignment == assignment for item in self._ready):
                return  # the caller will read so in its next poll
            raise LauncherError(f"No worker holds the assignment {assignment!r}. Start it before advancing it.")
        if slot.awaits is not None:
            raise LauncherError(f"A slice of {assignment!r} is outstanding. Poll its answer before asking for more.")
        slot.remaining -= set(drop)
        arguments: list[Any] = [until, seconds, sorted(drop), save, acknowledged]
        allowance = seconds + slot.patience(self._limits)
        if slot.begun or slot.assignment is None:
            self._ask(slot, "slice", "advance", arguments, allowance)
        else:
            slot.begun = True
            self._ask(slot, "slice", "begin", [slot.assignment.to_json(), *arguments], allowance)

    def stop(self, assignment: str) -> None:
        self._ready = [item for item in self._ready if item.assignment != assignment]
        slot = self._holder(assignment)
        if slot is None:
            return
        if not slot.begun:
            slot.assignment = None
            return
        # The answer to an outstanding slice is no longer awaited, but comes first: its time is granted as well.
        late = self._limits.hang_seconds if slot.heard else 0.0
        left = max(0.0, slot.deadline - late - time.monotonic()) if slot.awaits is not None else 0.0
        self._ask(slot, "stop", "stop", [], left + 2 * STOP_SECONDS)
        self._release(slot)

    def poll(self, seconds: float) -> list[SliceResult | Lost]:
        end = time.monotonic() + seconds
        self._pump(0.0)
        while not self._ready and any(slot.awaits for slot in self._slots):
            left = end - time.monotonic()
            if self._pump(max(0.0, left)) or left <= 0:
                break
        ready, self._ready = self._ready, []
        return ready

    def held(self) -> list[Assignment]:
        found = self._transport.orphans()
        self._orphans = {assignment.id: link for link, assignment in found}
        return [assignment for _, assignment in found]

    def adopt(self, assignment: Assignment) -> None:
        slot = Slot(self._orphans.pop(assignment.id), assignment, begun=True)
        slot.remaining = {member.trial for member in assignment.members}
        slot.link.call("repeat", [], assignment.label)  # nobody waits for its answer
        self._slots.append(slot)

    # --- the rest of the contract ---------------------------------------------------------------------------------

    def check(self, training: Training, resources: Resources | None = None) -> CheckReport:
        self._pump(0.0)
        # Where nothing is free the dry run gets a worker beyond the limit, which occupies nothing and ends with it.
        regular = self._worker_for(resources or Resources())
        slot = regular or self._create(Resources(cpus=0.0, gpus=0.0))
        arguments = [training.to_json(), slot.link.resources.to_json()]
        self._ask(slot, "check", "check", arguments, self._limits.check_seconds, f"{training.study}/check")
        try:
            while slot.outcome is None:
                self._pump(max(0.0, slot.deadline - time.monotonic()))
        except BaseException:
            self._end(slot)
            raise
        outcome, slot.outcome = slot.outcome, None
        if regular is None:
            self._end(slot)
        if isinstance(outcome, Gone):
            return CheckReport(problems=(why_incomplete(outcome, training),))
        return CheckReport.from_json(outcome)

    def describe(self) -> list[dict[str, Any]]:
        return [slot.describe() for slot in self._slots]

    def close(self) -> None:
        for slot in list(self._slots):
            self._end(slot)
        self._ready.clear()
        self._transport.close()

    # --- workers --------------------------------------------------------------------------------------------------

    def _holder(self, assignment: str) -> Slot | None:
        return next((slot for slot in self._slots if slot.assignment and slot.assignment.id == assignment), None)

    def _worker_for(self, resources: Resources) -> Slot | None:
        """A free worker of this shape: an idle one, else a new one, for which idle ones of other shapes give way."""
        for slot in self._slots:
            if slot.free(self._ready) and slot.link.resources == resources:
                return slot
        others = [slot for slot in self._slots if slot.free(self._ready)]
        while self._transport.space(resources, [slot.link for slot in self._slots]) < 1:
            if not others:
                return None
            self._end(others.pop())
        return self._create(resources)

    def _create(self, resources: Resources) -> Slot:
        slot = Slot(self._transport.create(resources))
        self._slots.append(slot)
        return slot

    def _end(self, slot: Slot) -> str:
        if slot not in self._slots:
            return ""
        self._slots.remove(slot)
        return slot.link.end()

    def _release(self, slot: Slot) -> None:
        """The slot's assignment is over."""
        if slot.assignment is not None:
            slot.trials += len(slot.assignment.members)
        slot.assignment, slot.begun = None, False
        self._replace_if_due(slot)

    def _replace_if_due(self, slot: Slot) -> None:
        if slot.idle and slot.worn(self._limits):
            self._end(slot)

    # --- calls and answers ----------------------------------------------------------------------------------------

    def _ask(
        self, slot: Slot, asks: str, method: str, arguments: list[Any], allowance: float, label: str | None = None
    ) -> None:
        name = label or (slot.assignment.label if slot.assignment else slot.link.name)
        slot.awaits = slot.link.call(method, arguments, name)
        slot.asks, slot.asked = asks, time.monotonic()
        slot.deadline = slot.asked + allowance

    def _pump(self, seconds: float) -> bool:
        """Take in what workers said, waiting at most `seconds`; whether anything changed."""
        now = time.monotonic()
        awaited = [slot.deadline - now for slot in self._slots if slot.awaits is not None]
        timeout = max(0.0, min([seconds, *awaited]))
        slots = {id(slot.link): slot for slot in self._slots}
        heard = self._transport.wait([slot.link for slot in self._slots], timeout)
        changed = [self._hear(slots[id(link)], said) for link, said in heard]
        late = [slot for slot in self._slots if slot.awaits is not None and slot.deadline <= time.monotonic()]
        for slot in late:
            self._lose(slot, Gone("hang", slot.overdue(self._limits)))
        homeless = [slot for slot in self._slots if slot.begins and not self._has_place(slot)]
        for slot in homeless:
            self._find_place(slot)
        return any(changed) or bool(late)

    def _hear(self, slot: Slot, said: Answer | Gone) -> bool:
        if isinstance(said, Gone):
            self._lose(slot, said)
            return True
        if said.call != slot.awaits or slot not in self._slots:
            return False  # the answer to a slice that was stopped meanwhile
        form = said.form
        slot.awaits, slot.heard, slot.pid, slot.rss = None, True, form["pid"], form["rss"]
        if "failed" in form:
            self._lose(slot, Gone(form["cause"], form["failed"], form["log"]))
        elif slot.asks == "slice":
            self._take(slot, SliceResult.from_json(form["value"]), form.get("effort"))
        elif slot.asks == "check":
            slot.outcome = form["value"]
        else:
            self._replace_if_due(slot)
        return True

    def _take(self, slot: Slot, result: SliceResult, effort: float | None) -> None:
        slot.pulse.feel(time.monotonic() - slot.asked, result, effort)
        hang = slot.hang(self._limits)
        if hang is not None:  # then the answer says nothing: being lost takes its place
            self._lose(slot, Gone("hang", hang))
            return
        self._ready.append(result)
        slot.remaining -= {ended.trial for ended in result.ended}
        if not slot.remaining:
            self._release(slot)

    def _has_place(self, slot: Slot) -> bool:
        """Whether there is room for a worker that begins, beside those that have begun and those made before it."""
        earlier = self._slots[: self._slots.index(slot)]
        placed = [
            other.link for other in self._slots if other.asks != "check" and (not other.begins or other in earlier)
        ]
        return self._transport.space(slot.link.resources, placed) > 0

    def _find_place(self, slot: Slot) -> None:
        """The node that a worker was made for is gone: an idle worker gives way, or the assignment is given back."""
        idle = next((other for other in self._slots if other.free(self._ready)), None)
        if idle is not None:
            self._end(idle)
        elif time.monotonic() - slot.asked > self._limits.hang_seconds:
            message = f"Worker {slot.link.name} could not begin: no node has room for it since one was lost."
            self._lose(slot, Gone("node_lost", message))

    def _lose(self, slot: Slot, gone: Gone) -> None:
        if slot not in self._slots:
            return
        log = self._end(slot)
        if slot.assignment is not None:
            lost = Lost(slot.assignment.id, slot.link.name, gone.cause, gone.message, gone.log or log, gone.process_end)
            self._ready.append(lost)
        slot.outcome = replace(gone, log=gone.log or log)


def _shape(resources: Resources) -> str:
    return f"{resources.cpus:g} CPUs" + (f" and {resources.gpus:g} GPUs" if resources.gpus else "")
