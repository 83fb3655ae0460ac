"""`tuner model …`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.groups import Group
from tuner.cli.numbers import TRIAL, VERSION
from tuner.cli.opened import opened, opened_if_there
from tuner.cli.output import Command, emit_fields, emit_json, emit_table, output_option, short
from tuner.cli.summaries import counted, noted

if TYPE_CHECKING:
    from db.engine import Database
    from tuner.configuration import Settings
    from tuner.promoting.promotion import PromotedVersion
    from tuner.promoting.registry import VersionEntry


def _alias(text: str) -> Callable[[Command], Command]:
    return click.option("--alias", default="champion", show_default=True, metavar="ALIAS", help=text)


@click.group(cls=Group)
def model() -> None:
    """Promote, list, alias and roll back models."""


@model.command()
@click.argument("study")
@click.option("--trial", type=TRIAL, help="Promote this trial.  [default: the best one]")
@click.option("--simplest", is_flag=True, help="Promote the smallest model that is as good as the best one.")
@click.option("--refit", is_flag=True, help="Train it again first, on training and validation rows together.")
@click.option("--name", metavar="NAME", help="The model's name.  [default: the study's]")
@_alias("The name that points at the version from now on.")
@click.option(
    "--to",
    "directory",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of models.  [default: TUNER_MODELS]",
)
@output_option
def promote(
    study: str,
    trial: int | None,
    simplest: bool,
    refit: bool,
    name: str | None,
    alias: str,
    directory: Path | None,
    output: str,
) -> None:
    """Publish the best trial of STUDY as a SavedModel.

    It is exported, verified in a process of its own, and becomes the next version of the model. The last line is
    the path of the version's folder.
    """
    from tuner.configuration import Settings
    from tuner.names import check_name
    from tuner.promoting import promotion

    settings = Settings.load()
    check_name("model", name or study)
    check_name("alias", alias)
    if simplest and trial is not None:
        raise click.UsageError("--trial and --simplest both say which trial; give one of them.")
    database = opened(settings)
    if simplest:
        trial = _simplest(database, settings, study)
    promotion.choose(database, study, trial, refit=refit)  # what cannot be promoted is said first
    before = _before(database, study, name or study, alias)
    again = "Training on all rows but the test part, then export" if refit else "Export"
    click.echo(f"{again}, then verification in a process of its own ...", err=True)
    options: dict[str, Any] = {"trial": trial, "name": name, "alias": alias, "directory": directory, "refit": refit}
    version = promotion.promote(database, settings, study, **options)
    if output == "json":
        emit_json(version)
        return
    emit_fields(_fields(version, before))
    click.echo(version.path)


def _fields(version: PromotedVersion, before: str | None) -> dict[str, object]:
    return {
        "promoted": f"{version.name} version {version.number}, alias {version.alias}",
        "from": f"trial {version.trial} of study {version.study}",
        "parameters": version.params,
        "trained again": _refit(version),
        "validation": version.scores.get("validation"),
        "test": version.scores.get("test"),
        "before": before,
        "note": noted(version),
        "unseen rows": version.final.sentence if version.final else None,
        "test part": f"read {counted(version.scores.get('test_reads', 0), 'time')} for this study",
    }


def _before(database: Database, study: str, name: str, alias: str) -> str | None:
    """The version that the alias leaves, with its scores where they are of the same test part."""
    from tuner.promoting import registry

    for entry in registry.versions(database):
        if entry.name == name and entry.study == study and alias in entry.aliases and entry.scores.get("test"):
            return f"version {entry.number}, on the same test part: {short(entry.scores['test'])}"
    return None


def _refit(version: PromotedVersion) -> str | None:
    refit = version.scores.get("refit")
    if refit is None:
        return None
    rows = "all rows" if refit["rows"] is None else f"{refit['rows']} rows"
    return f"for {refit['epochs']} epochs, on {rows}: training and validation part together"


def _simplest(database: Database, settings: Settings, study: str) -> int:
    from tuner.promoting.simplest import simplest

    click.echo("Comparing smaller models with the best one on the validation rows ...", err=True)
    found = simplest(database, settings, study)
    click.echo(found.sentence, err=True)
    return found.trial


@model.command("list")
@click.argument("name", required=False)
@output_option
def list_models(name: str | None, output: str) -> None:
    """Every version of every model, or of NAME."""
    from tuner.promoting import registry

    database = opened_if_there() if name is None else opened()
    entries = [] if database is None else registry.versions(database, name)
    if output == "json":
        emit_json(entries)
        return
    columns = ("model", "version", "state", "aliases", "study", "trial", "created", "path")
    rows = [(e.name, e.number, e.state, e.aliases, e.study, _trial(e), e.created, e.path) for e in entries]
    emit_table(columns, rows, "No model was promoted yet. Promote one: tuner model promote STUDY")


def _trial(entry: VersionEntry) -> str:
    return f"{entry.trial}, refit" if "refit" in entry.scores else str(entry.trial)


@model.command()
@click.argument("name")
@_alias("The alias that goes back.")
def rollback(name: str, alias: str) -> None:
    """Point the alias back at the version it had before.

    Once more: at the one before that.
    """
    from tuner.promoting import registry

    left, number = registry.rollback(opened(), name, alias)
    click.echo(f"{alias!r} of model {name!r} points at version {number} again (it was {left}).")


@model.command("alias")
@click.argument("name")
@click.argument("version", type=VERSION)
@_alias("The alias that moves; it may be new.")
def move_alias(name: str, version: int, alias: str) -> None:
    """Point an alias of the model NAME at a VERSION."""
    from tuner.promoting import registry

    left = registry.point(opened(), name, version, alias)
    was = "" if left in (None, version) else f" (it was {left})"
    click.echo(f"{alias!r} of model {name!r} points at version {version}{was}.")
