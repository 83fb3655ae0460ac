"""What only Ray promises: names a person can read, metrics, tokens, and one sentence when it cannot be reached."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from workers.contract import Assignment, LauncherError, Resources, SliceResult

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parents[2]
MakeAssignment = Callable[..., Assignment]


def get(url: str, *, token: bool = True) -> Any:
    headers = {"Authorization": f"Bearer {os.environ['RAY_AUTH_TOKEN']}"} if token else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as response:
        return response.read().decode()


def finish(launcher: Any, assignment: Assignment) -> str:
    name = launcher.start(assignment)
    launcher.advance(assignment.id, assignment.training.epochs, 30.0)
    end = time.monotonic() + 60
    results: list[Any] = []
    while not results:
        assert time.monotonic() < end, f"{assignment.label} did not answer."
        results = launcher.poll(5.0)
    [result] = results
    assert isinstance(result, SliceResult), result
    assert result.ended
    return str(name)


def wait_for_room(launcher: Any, resources: Resources, workers: int) -> None:
    """A worker that was stopped answers first, and Ray takes a while to free what an ended one held."""
    end = time.monotonic() + 60
    while (room := launcher.room(resources)) != workers:
        assert time.monotonic() < end, f"There is room for {room} workers; expected {workers}."
        time.sleep(0.1)


def python(program: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_dashboard_names_what_a_person_looks_for(ray_launcher: Any, make_assignment: MakeAssignment) -> None:
    assignment = make_assignment("counting", epochs=2)
    name = finish(ray_launcher, assignment)
    assert ray_launcher.dashboard_url.startswith("http://127.0.0.1:")
    assert "ray get-auth-token" in ray_launcher.dashboard_hint
    jobs = json.loads(get(f"{ray_launcher.dashboard_url}/api/jobs/"))
    assert "contract" in [(job["metadata"] or {}).get("job_name") for job in jobs]
    assert name.startswith("ockham-worker-")
    actors = json.loads(get(f"{ray_launcher.dashboard_url}/logical/actors"))["data"]["actors"].values()
    assert name in [actor["name"] for actor in actors]
    end = time.monotonic() + 60
    names: list[str] = []
    while assignment.label not in names:
        assert time.monotonic() < end, names
        tasks = json.loads(get(f"{ray_launcher.dashboard_url}/api/v0/tasks?detail=1&limit=10000"))
        names = [task["name"] for task in tasks["data"]["result"]["result"]]
        time.sleep(0.5)


def test_the_dashboard_asks_for_the_token(ray_launcher: Any) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(f"{ray_launcher.dashboard_url}/api/jobs/", token=False)
    assert refused.value.code == 401
    refused.value.close()


def test_a_running_trial_shows_in_the_metrics(ray_launcher: Any, make_assignment: MakeAssignment) -> None:
    import ray

    assignment = make_assignment("counting", epochs=10_000, seconds=0.02)
    ray_launcher.start(assignment)
    node = ray.nodes()[0]
    tags = f'trial="{assignment.members[0].trial}"'
    end = time.monotonic() + 60
    lines: list[str] = []
    while not {"ray_tuner_trial_epoch", "ray_tuner_trial_objective"} <= {line.split("{")[0] for line in lines}:
        assert time.monotonic() < end, "The gauges did not appear."
        ray_launcher.advance(assignment.id, 10_000, 0.5)
        ray_launcher.poll(10.0)
        text = get(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics")
        lines = [line for line in text.splitlines() if tags in line and 'study="launching"' in line]
    ray_launcher.stop(assignment.id)


def test_the_session_is_private(ray_launcher: Any) -> None:
    folder = ray_launcher._cluster.folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_workers_of_other_shapes_share_the_cluster(ray_launcher: Any, make_assignment: MakeAssignment) -> None:
    half = Resources(cpus=0.5)
    finish(ray_launcher, make_assignment("counting", epochs=1))
    wait_for_room(ray_launcher, half, 2)  # the launcher's own limit holds: four would fit
    running = [make_assignment("counting", epochs=1, resources=half) for _ in range(2)]
    for assignment in running:
        ray_launcher.start(assignment)
    assert ray_launcher.room(Resources()) == 0
    for assignment in running:
        ray_launcher.stop(assignment.id)
    wait_for_room(ray_launcher, Resources(), 2)  # idle workers of another shape give way
    finish(ray_launcher, make_assignment("counting", epochs=1))


def test_a_second_launcher_of_the_process_shares_the_cluster(
    ray_launcher: Any, make_assignment: MakeAssignment
) -> None:
    from workers.launchers.ray_actors import RayLauncher

    small = Resources(cpus=0.1)
    running = [make_assignment("counting", epochs=1, resources=small) for _ in range(2)]
    wait_for_room(ray_launcher, small, 2)
    names = [ray_launcher.start(assignment) for assignment in running]  # the warm workers of 1 CPU give way
    for assignment in running:
        ray_launcher.stop(assignment.id)
    second = RayLauncher(workers=1)
    wait_for_room(second, small, 1)
    assert finish(second, make_assignment("counting", epochs=1, resources=small)) not in names
    second.close()
    finish(ray_launcher, make_assignment("counting", epochs=1))
    with pytest.raises(LauncherError, match=r"10\.0\.0\.1:6379"):
        RayLauncher("10.0.0.1:6379")


CONNECT = """
    from workers.contract import LauncherError
    from workers.launchers import launcher
    try:
        launcher("ray", address={address!r})
    except LauncherError as error:
        print(error)
"""


@pytest.mark.usefixtures("ray_launcher")
def test_a_wrong_token_is_one_sentence() -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    output, _ = python(CONNECT.format(address=address), RAY_AUTH_TOKEN="wrong", RAY_AUTH_MODE="token").communicate(
        timeout=100
    )
    assert address in output
    assert "token" in output
    assert len(output.strip().splitlines()) == 1


def test_a_killed_coordinator_leaves_nothing(tmp_path: Path) -> None:
    program = f"""
        import json, os, psutil, time
        from workers.contract import Assignment, Member, Training
        from workers.launchers import launcher
        training = Training(study="s", model="launcher_loops:endless", loop=True, space=None, data=None,
            objective="score", direction="maximize", epochs=9, patience=None, checkpoint_seconds=9.0,
            artifacts={str(tmp_path)!r}, import_paths=({str(Path(__file__).parent)!r},))
        workers = launcher("ray", workers=1, dashboard=False)
        workers.start(Assignment("a", training, (Member(0, 1, {{}}, 1),)))
        workers.advance("a", 1, 60.0)
        workers.poll(60.0)
        workers.advance("a", 9, 60.0)
        children = [child.pid for child in psutil.Process().children(recursive=True)]
        print(json.dumps([children, str(workers._cluster.folder)]), flush=True)
        time.sleep(100)
    """
    coordinator = python(program)
    assert coordinator.stdout is not None
    pids, folder = json.loads(coordinator.stdout.readline())
    processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    assert any("raylet" in process.name() for process in processes)
    coordinator.send_signal(signal.SIGKILL)
    coordinator.communicate(timeout=60)
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive
    assert not Path(folder).exists()
