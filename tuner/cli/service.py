"""`tuner serve`, `tuner db …`, `tuner doctor`, `tuner completion`."""

from __future__ import annotations

import logging
import sys

import click

from tuner.cli.output import emit_json, emit_table, output_option


@click.command()
@click.option("--workers", type=click.IntRange(min=1), help="Most trials at once; default: what the machine has.")
@click.option("--launcher", type=click.Choice(["ray", "processes", "inline"]), help="Where trials run; default: ray.")
def serve(workers: int | None, launcher: str | None) -> None:
    """Run a coordinator for every study of the database, until SIGINT or SIGTERM.

    It can be killed at any moment: the next one goes on from the rows.
    """
    from tuner import service
    from tuner.configuration import Settings

    settings = Settings.load(workers=workers, launcher=launcher)
    logging.basicConfig(
        stream=sys.stderr, level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    service.serve(settings)


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
def upgrade() -> None:
    """Bring the database's schema to this version of Ockham. Studies and trials are kept."""
    from db import schema
    from db.engine import connect
    from tuner.configuration import Settings

    settings = Settings.load()
    if settings.database.startswith("sqlite:///"):
        settings.home.mkdir(parents=True, exist_ok=True)
    database = connect(settings.database)
    schema.upgrade(database)
    click.echo(f"The schema of {database.url} is at version {schema.version(database)}.")


@click.command()
@output_option
def doctor(output: str) -> int:
    """Check this machine and these settings: what works, what does not, and what to do. Exit code 1 if anything is wrong."""
    from tuner import diagnosis
    from tuner.configuration import Settings

    findings = diagnosis.examine(Settings.load())
    if output == "json":
        emit_json(findings)
    else:
        emit_table(("", "what", "found"), [("ok" if f.ok else "wrong", f.what, f.found) for f in findings], "")
    return 0 if all(finding.ok for finding in findings) else 1


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL; for bash: eval "$(tuner completion bash)"."""
    from click.shell_completion import get_completion_class

    from tuner.cli import tuner as root

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    click.echo(kind(root, {}, "tuner", "_TUNER_COMPLETE").source())
