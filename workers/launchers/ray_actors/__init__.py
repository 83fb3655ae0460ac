"""Trials in long-lived Ray actors, on a local cluster or an existing one. The home of Ray in this project."""

from __future__ import annotations

from workers.launchers.ray_actors.launcher import RayLauncher

__all__ = ["RayLauncher"]
