"""Assignments for the contract of launchers, and the one Ray cluster of a test session."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.bench import make_bench as make_bench
from workers.contract import Assignment, Launcher, Member, Resources, Training

MakeAssignment = Callable[..., Assignment]


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="session")
def make_training(artifacts: Path) -> Callable[..., Training]:
    def make(loop: str, epochs: int = 10, **changes: Any) -> Training:
        values: dict[str, Any] = {
            "study": "launching",
            "model": f"launcher_loops:{loop}",
            "loop": True,
            "space": {"schema": 1, "family": None, "parameters": {}},
            "data": None,
            "objective": "score",
            "direction": "maximize",
            "epochs": epochs,
            "patience": None,
            "checkpoint_seconds": 0.0,
            "artifacts": str(artifacts),
            "import_paths": (str(Path(__file__).parent),),
        }
        return Training(**{**values, **changes})

    return make


@pytest.fixture(scope="session")
def make_assignment(make_training: Callable[..., Training]) -> MakeAssignment:
    numbers = itertools.count()

    def make(
        loop: str,
        epochs: int = 10,
        *,
        members: int = 1,
        checkpoint: str | None = None,
        resources: Resources | None = None,
        **params: Any,
    ) -> Assignment:
        trials = [next(numbers) for _ in range(members)]
        attempts = [Member(trial, token=trial + 1000, params=params, seed=1, checkpoint=checkpoint) for trial in trials]
        return Assignment(
            id=f"launching-{trials[0]}",
            training=make_training(loop, epochs),
            members=tuple(attempts),
            resources=resources or Resources(),
        )

    return make


@pytest.fixture(scope="session")
def ray_launcher() -> Iterator[Launcher]:
    """One local cluster with two workers for all tests that need Ray: starting it takes seconds.

    Its end is a test of its own: nothing of it may be left behind.
    """
    pytest.importorskip("ray")
    from workers.launchers.ray_actors import RayLauncher

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # not the user's own
        pretended = {"num_gpus": 1}  # Ray counts what it is told
        launcher = RayLauncher(workers=2, job_name="contract", hang_seconds=5.0, system=pretended)
        yield launcher
        processes = psutil.Process().children(recursive=True)
        assert any("raylet" in process.name() for process in processes)
        launcher.close()
        _, alive = psutil.wait_procs([process for process in processes if _is_ray(process)], timeout=60)
    assert not alive


def _is_ray(process: psutil.Process) -> bool:
    """Whether it is still there and one of Ray's: other tests may have children of their own.

    One of those is the fork server of `tests.coordinators`, whose command line has `sys.path` with Ray's folder.
    """
    with suppress(psutil.NoSuchProcess):
        command = " ".join(process.cmdline())
        forked = "multiprocessing" in command
        return "ray" in command and not forked and process.status() != psutil.STATUS_ZOMBIE
    return False
