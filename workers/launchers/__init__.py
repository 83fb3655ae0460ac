"""Where trials run: in this process, in child processes, or in Ray actors. One contract, one test class for all."""

from __future__ import annotations

from typing import Any

from workers.contract import Launcher, LauncherError

KINDS = ("ray", "processes", "inline")


def launcher(kind: str, **options: Any) -> Launcher:
    """Open a launcher by name.

    Args:
        kind: "ray" (a local or an existing cluster), "processes" (child processes of this one) or "inline" (this
            process, one trial at a time: for debugging and notebooks).
        options: the keyword arguments of `RayLauncher`, `ProcessLauncher` or `InlineLauncher`.

    Raises:
        LauncherError: there is no such kind, or its workers cannot be had.
    """
    if kind == "ray":
        from workers.launchers.ray_actors import RayLauncher

        return RayLauncher(**options)
    if kind == "processes":
        from workers.launchers.processes import ProcessLauncher

        return ProcessLauncher(**options)
    if kind == "inline":
        from workers.launchers.inline import InlineLauncher

        return InlineLauncher(**options)
    raise LauncherError(f"There is no launcher named {kind!r}. Choose one of {', '.join(KINDS)}.")
