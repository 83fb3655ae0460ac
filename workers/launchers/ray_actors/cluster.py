"""The connection of this process to a Ray cluster, started here or found."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
import ray.util
from ray._private import worker as ray_worker
from ray.job_config import JobConfig

from workers.contract import LauncherError
from workers.launchers import machine, ray_session
from workers.launchers.ray_actors.head_watch import HeadWatch
from workers.launchers.ray_session import last_line

NAMESPACE = "ockham"
_OBJECT_STORE = 128 * 1024**2  # bytes; only small JSON texts cross


class Cluster:
    """The connection of this process to Ray. The arguments are those of `RayLauncher`."""

    def __init__(
        self,
        address: str | None,
        workers: int | None,
        job_name: str,
        dashboard: bool,
        log_to_driver: bool,
        system: dict[str, Any],
    ) -> None:
        self.folder: Path | None = None
        self.dashboard_url: str | None = None
        self._sweeper: subprocess.Popen[bytes] | None = None
        self._watch: HeadWatch | None = None
        self._ours = not ray.is_initialized()
        self.shared = False  # whether it outlives this process, and its workers may
        if not self._ours:
            self._require_same(address)
            return
        options = {
            "namespace": NAMESPACE,
            # A driver that is no client has Ray put the current folder, which may have a package `workers` of the
            # user's own, in front of what its workers import from.
            "job_config": JobConfig(metadata={"job_name": job_name}, _client_job=True),
            "log_to_driver": log_to_driver,
            "logging_level": logging.ERROR,
        }
        target = address or os.environ.get("RAY_ADDRESS") or "local"
        if target == "local":
            ray_session.private_token()
            self.folder = ray_session.private_folder()
            self._sweeper = ray_session.sweeper(self.folder)
            options.update(
                num_cpus=max(workers, machine.cpus()) if workers else None,
                include_dashboard=dashboard,
                object_store_memory=_OBJECT_STORE,
                _temp_dir=str(self.folder / "r"),
                **system,
            )
        elif target != "auto":
            ray_session.require_answer(target)
        self.shared = target != "local"
        self._connect(target, options)
        if self.shared and not target.startswith("ray://"):
            self._watch = HeadWatch(ray_worker.global_worker.gcs_client, target)

    def _connect(self, target: str, options: dict[str, Any]) -> None:
        try:
            # nice 15 is Ray's default for workers, which starves trials beside anything else on the machine
            with (
                ray_session.environment(RAY_worker_niceness="0", RAY_USAGE_STATS_ENABLED="0"),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                context = ray.init(target, **options)
        except Exception as error:
            self.close()
            raise LauncherError(_sentence(target, error)) from error
        if not options["log_to_driver"]:
            # Ray prints a paragraph to standard output for every lost worker; it would end up in a program's results.
            ray_worker._worker_logs_enabled = False
        url = getattr(context, "dashboard_url", None)
        self.dashboard_url = f"http://{url}" if url else None

    @property
    def dashboard_hint(self) -> str:
        if self.dashboard_url is None or os.environ.get("RAY_AUTH_MODE") != "token":
            return ""
        return "it asks for a token, which `ray get-auth-token` shows"

    @property
    def logs(self) -> Path | None:
        """Where the workers of a local cluster write what they print."""
        return self.folder / "r" / "session_latest" / "logs" if self.folder else None

    def nodes(self) -> dict[str, dict[str, float]]:
        """What each live node has in all."""
        return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}

    def free(self) -> dict[str, float]:
        """What nobody uses now, over all nodes."""
        return dict(ray.available_resources())

    def workers(self) -> dict[str, Any]:
        """Handles of every worker of Ockham on the cluster, by name."""
        named = [item["name"] for item in ray.util.list_named_actors(True) if item["namespace"] == NAMESPACE]
        found = {}
        for name in named:
            with suppress(ValueError):  # it has ended meanwhile
                found[name] = ray.get_actor(name, NAMESPACE)
        return found

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
        if self._ours and ray.is_initialized():
            ray.shutdown(wait_for_processes=True)
            ray_worker._worker_logs_enabled = True
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._sweeper is not None:
            self._sweeper.communicate()
            self._sweeper = None

    def _require_same(self, address: str | None) -> None:
        current = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", current):
            raise LauncherError(
                f"This process is connected to Ray at {current} and cannot also connect to {address}. "
                "Call ray.shutdown() first, or leave the address out."
            )


def _sentence(target: str, error: Exception) -> str:
    if target == "local":
        return f"A local Ray cluster could not be started: {last_line(error)}"
    text = str(error)
    if "ersion mismatch" in text:
        versions = ", ".join(line.strip() for line in text.splitlines() if line.strip().startswith(("Ray:", "Python:")))
        return f"The Ray cluster at {target} runs other versions than this process ({versions}). Install the same ones."
    if "Failed to connect" in text or "oken" in text or "UNAUTHENTICATED" in text:
        return (
            f"The Ray cluster at {target} did not accept this process: its token differs (set RAY_AUTH_TOKEN, or "
            "RAY_AUTH_TOKEN_PATH, as on the cluster), or this is not the port of its head (6379 by default)."
        )
    return f"The Ray cluster at {target} cannot be used: {last_line(error)}"
