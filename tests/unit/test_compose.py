"""docker-compose.yml, Dockerfile and .env.example, read as text: what can be known without an engine."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}|\$(?!\{)(?P<bare>\w+)")


def interpolated(value: Any) -> str:
    """A value as compose sees it where no variable is set."""
    return VARIABLE.sub(lambda match: match["default"] or "", str(value))


def settings(service: str) -> dict[str, str]:
    environment: dict[str, str] = SERVICES[service].get("environment", {})
    return environment


def test_the_file_is_valid() -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        "docker-compose.yml",
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_variable_has_a_default_that_the_example_shows() -> None:
    found = {match["name"] or match["bare"]: match["default"] for match in VARIABLE.finditer(TEXT)}
    lines = [line for line in (ROOT / ".env.example").read_text().splitlines() if line and not line.startswith("#")]
    assert found == dict(line.split("=", maxsplit=1) for line in lines)


def test_who_waits_for_health_waits_for_a_service_that_tells_it() -> None:
    waited_for = [
        (target, how["condition"])
        for service in SERVICES.values()
        for target, how in service.get("depends_on", {}).items()
    ]
    assert {target for target, _ in waited_for} <= SERVICES.keys()
    unknown = [
        target
        for target, condition in waited_for
        if condition == "service_healthy"
        if "healthcheck" not in SERVICES[target]
    ]
    assert not unknown
    assert {target for target, condition in waited_for if condition == "service_completed_successfully"} == {"prepare"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_restarts_and_says_whether_it_is_well(name: str) -> None:
    if name == "prepare":
        assert SERVICES[name]["restart"] == "no"
    else:
        assert SERVICES[name]["restart"] == "unless-stopped"
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", interpolated(port)), port
    assert SERVICES[name].get("network_mode") != "host"


@pytest.mark.parametrize("name", SERVICES)
def test_images_have_exact_versions(name: str) -> None:
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-gpu)?", interpolated(SERVICES[name]["image"]))


def test_the_base_image_has_an_exact_version() -> None:
    images = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert images
    for image in images:
        assert re.fullmatch(r"python:3\.1[123]\.\d+-slim-\w+", image)


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_but_the_preparation_runs_as_root(name: str) -> None:
    """The images of Ockham and PostgreSQL change the user themselves."""
    user = SERVICES[name].get("user")
    assert user == {"prepare": "0:0", "serving": "10001:10001"}.get(name)
    assert "privileged" not in SERVICES[name]
    assert "\nUSER 10001:10001\n" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", [name for name in OURS if name != "prepare"])
def test_every_ray_node_asks_for_the_token(name: str) -> None:
    assert settings(name)["RAY_AUTH_MODE"] == "token"
    assert settings(name)["RAY_AUTH_TOKEN_PATH"] == "/run/ockham/ray/token"
    assert "ray-token:/run/ockham/ray:ro" in SERVICES[name]["volumes"]


def test_a_silent_node_is_lost_in_time() -> None:
    head = settings("ray-head")
    period, timeout = (int(head[f"RAY_health_check_{name}_ms"]) for name in ("period", "timeout"))
    assert int(head["RAY_health_check_failure_threshold"]) * (period + timeout) <= 13_000


def test_only_the_coordinator_can_reach_the_database() -> None:
    for name in OURS:
        mounts = [volume for volume in SERVICES[name]["volumes"] if volume.startswith("database-password:")]
        assert bool(mounts) == (name in ("prepare", "coordinator"))
        assert ("TUNER_DATABASE" in settings(name)) == (name == "coordinator")


def test_no_secret_is_written_in_the_file() -> None:
    for name in SERVICES:
        wrong = [key for key in settings(name) if re.search(r"PASSWORD$|TOKEN$|SECRET|KEY$", key)]
        assert not wrong
    assert ":" not in settings("coordinator")["TUNER_DATABASE"].removeprefix("postgresql://").split("@", maxsplit=1)[0]


def test_models_are_at_the_same_path_for_whoever_writes_and_whoever_serves_them() -> None:
    """models.config names folders by their path in the coordinator."""
    assert settings("coordinator")["TUNER_MODELS"] == settings("prepare")["TUNER_MODELS"] == "/models"
    assert "models:/models" in SERVICES["coordinator"]["volumes"]
    assert "models:/models:ro" in SERVICES["serving"]["volumes"]
    assert "--model_config_file=/models/models.config" in SERVICES["serving"]["command"]


def test_workers_and_coordinator_see_the_same_files() -> None:
    shared = [volume for volume in SERVICES["coordinator"]["volumes"] if volume.startswith(("data:", "${STUDIES"))]
    assert len(shared) == 2
    for name in ("ray-worker", "ray-gpu-worker"):
        assert set(shared) <= set(SERVICES[name]["volumes"])
        assert settings(name)["TUNER_ARTIFACTS"] == settings("coordinator")["TUNER_ARTIFACTS"]


def test_postgresql_keeps_its_data_where_this_version_looks_for_it() -> None:
    assert "postgres:/var/lib/postgresql" in SERVICES["postgres"]["volumes"]


def test_gpus_are_asked_for_in_a_profile_of_their_own() -> None:
    with_gpu = [name for name, service in SERVICES.items() if "resources" in service.get("deploy", {})]
    assert with_gpu == ["ray-gpu-worker"]
    assert SERVICES["ray-gpu-worker"]["profiles"] == ["gpu"]
    assert SERVICES["ray-gpu-worker"]["build"]["args"]["LOCK"] == "gpu"
    assert [name for name, service in SERVICES.items() if "gpu" in service.get("profiles", [])] == with_gpu


def test_every_volume_is_declared_and_used() -> None:
    used = {volume.split(":", maxsplit=1)[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert {name for name in used if not name.startswith(("$", "./"))} == COMPOSE["volumes"].keys()
    files = {name for name in used if name.startswith("./")}
    assert all((ROOT / name).is_file() for name in files)


def test_the_image_has_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert interpolated("${OCKHAM_VERSION:-" + version + "}") in interpolated(SERVICES["coordinator"]["image"])


def test_the_image_gets_every_file_that_the_dockerfile_copies() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        word.split("/")[0]
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE)
        for word in line.split()
    ]
    assert set(copied) == set(sent)
    assert all((ROOT / name).exists() for name in sent)
