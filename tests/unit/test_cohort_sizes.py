"""How many trials a worker is given together: what the study wants, and what memory has room for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tuner.definitions.definition import parse
from workers import devices
from workers.contract import Resources
from workers.launchers import machine

GOOD = {"name": "digits", "data": "examples.digits:load", "space": {"family": "mlp"}}
UNITS = {"units": {"type": "int", "low": 16, "high": 256}}
MIB = 1024**2


@pytest.mark.parametrize(
    ("changes", "checked", "together"),
    [
        ({"trials": 400}, {}, 16),
        ({"trials": 40}, {"together": 400}, 5),
        ({"trials": 400}, {"together": 3}, 3),
        ({"trials": 400, "cohort": 64}, {"together": 20}, 20),
        ({"trials": 400, "repeats": 5}, {"together": 1}, 1),
        ({"trials": 400, "model": "m:build"}, {"together": 8, "liftable": ["units"]}, 8),
        ({"trials": 400, "model": "m:build"}, {"together": 8}, 1),
    ],
)
def test_a_cohort_is_no_larger_than_memory_allows(
    changes: dict[str, Any], checked: dict[str, Any], together: int
) -> None:
    space = {"space": UNITS} if "model" in changes else {}
    assert parse({**GOOD, **space, **changes}).together(checked) == together


@pytest.mark.parametrize(
    ("changes", "checked", "why"),
    [
        ({"trials": 400}, {}, None),
        ({"trials": 15}, {}, "it takes 16 of them"),
        ({"trials": 15, "repeats": 3}, {}, None),  # the repeats are company
        ({"trials": 15, "cohort": 4}, {}, None),
        ({"trials": 400, "cohort": 1}, {}, "`cohort` is 1"),
        ({"trials": 15, "model": "m:build"}, {"alone": "it has a Lambda layer"}, "it has a Lambda layer"),
        ({"trials": 400, "model": "m:build"}, {"alone": "it has a Lambda layer"}, "it has a Lambda layer"),
        ({"trials": 400, "model": "m:build"}, {"liftable": ["units"]}, None),
        ({"trials": 400, "loop": "m:train"}, {}, None),
    ],
)
def test_a_study_says_why_its_trials_train_one_by_one(
    changes: dict[str, Any], checked: dict[str, Any], why: str | None
) -> None:
    form = {**GOOD, **({"space": UNITS} if {"model", "loop"} & set(changes) else {}), **changes}
    if "loop" in changes:
        del form["data"]
    told = parse(form).alone(checked)
    assert told is None if why is None else why in str(told)


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/\n", {"memory.max": "max"}, None),
        ("0::/\n", {"memory.max": str(64 * MIB)}, 64 * MIB),
        ("0::/a/b\n", {"a/memory.max": str(32 * MIB), "a/b/memory.max": str(64 * MIB)}, 32 * MIB),
        ("5:cpu,memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": str(16 * MIB)}, 16 * MIB),
        ("5:memory:/outside\n", {"memory/memory.limit_in_bytes": str(8 * MIB)}, 8 * MIB),
        ("5:memory:/a\n", {"memory/a/memory.limit_in_bytes": str(2**63 - 4096)}, None),
        (None, {}, None),
    ],
)
def test_a_containers_memory_is_what_its_control_groups_say(
    groups: str | None, limits: dict[str, str], expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None: that of the machine. Inside a container a path may be one that only the outside sees."""
    monkeypatch.setattr(machine, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "_LIMITS", tmp_path / "limits")
    if groups is not None:
        (tmp_path / "cgroup").write_text(groups)
    for name, content in limits.items():
        path = tmp_path / "limits" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine.memory() == (whole if expected is None else expected)


@pytest.mark.parametrize(
    ("resources", "each", "room"),
    [
        (Resources(cpus=1), 100 * MIB, 10),  # four workers have 2,000 MiB each, and members get half of it
        (Resources(cpus=2), 100 * MIB, 20),
        (Resources(cpus=0.5), 100 * MIB, 5),
        (Resources(cpus=4), 3000 * MIB, 1),
        (Resources(cpus=1), 5000 * MIB, 1),
        (Resources(cpus=1), 0, 1000 * MIB),
    ],
)
def test_a_worker_holds_what_half_of_its_share_of_memory_has_room_for(
    resources: Resources, each: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "memory", lambda: 8000 * MIB)
    monkeypatch.setattr(machine, "cpus", lambda: 4)
    assert devices.room(resources, each) == room
