"""`tuner run STUDY.yaml`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.numbers import WORKERS
from tuner.cli.output import output_option
from tuner.cli.summaries import counted, show_summary

if TYPE_CHECKING:
    from tuner.promoting.promotion import PromotedVersion
    from tuner.study import Study

FILE = click.argument("file", type=click.Path(path_type=Path))
LAUNCHER = click.option(
    "--launcher",
    type=click.Choice(["ray", "processes", "inline"]),
    help="Where trials run: a Ray cluster, child processes, or this process.  [default: TUNER_LAUNCHER, else ray]",
)
WORKERS_OPTION = click.option(
    "--workers",
    type=WORKERS,
    metavar="N",
    help="Most workers at once.  [default: TUNER_WORKERS, else as many as there is room for]",
)


@click.command()
@FILE
@click.option("--promote", "model", metavar="NAME", help="Promote the best trial as the next version of this model.")
@WORKERS_OPTION
@LAUNCHER
@click.option("--progress/--no-progress", default=True, help="Show what is going on.  [default: progress]")
@output_option
def run(file: Path, model: str | None, workers: int | None, launcher: str | None, progress: bool, output: str) -> None:
    """Run the study in FILE to its end, or resume it.

    Trials run on this machine, or on the Ray cluster of TUNER_RAY_ADDRESS. Ctrl-C ends the run; the same command
    resumes it where it was. A study that has ended shows its result; tuner study set gives it more trials.
    """
    from tuner.names import check_name
    from tuner.verbs import OVER

    if model is not None:
        check_name("model", model)
    study = study_from_file(file, workers=workers, launcher=launcher)
    over = study.state in OVER
    # What user code prints must not end up between the results on stdout.
    with _resumable(study, _command(file, model, workers, launcher)), redirect_stdout(sys.stderr):
        study.run(progress=progress)
    if over:
        state = study.state
        more = f"set {study.name} trials=N" if state == "finished" else f"resume {study.name}"
        told = f"Study {study.name!r} is {state} already: nothing was run. This is its result."
        click.echo(f"{told} To let it go on: tuner study {more}", err=True)
    promoted = None if model is None else _promote(study, model)
    show_summary(study.summary(), output, promoted, study.dashboard_url)


def study_from_file(file: Path, **overrides: Any) -> Study:
    """The study that a file describes, with the settings of the environment."""
    from tuner.configuration import Settings
    from tuner.definitions.study_file import read
    from tuner.study import Study

    definition, settings = read(file), Settings.load(**overrides)
    # User code lies beside the file that names it, or where the command was typed.
    paths = tuple(dict.fromkeys((str(file.absolute().parent), *settings.import_paths)))
    return Study(definition, replace(settings, import_paths=paths))


def _promote(study: Study, model: str) -> PromotedVersion:
    from tuner.promoting import promotion, registry

    standing = promotion.standing(study.database, study.name, model)
    if standing is not None:
        registry.announce(study.database)  # the run that moved the alias may have been killed before it told servers
        made = f"version {standing.number}, which is trial {standing.trial} of this study"
        click.echo(f"{standing.alias!r} of model {model!r} points at {made}: nothing was promoted.", err=True)
        return standing
    click.echo("Promoting the best trial: export, then verification in a process of its own ...", err=True)
    try:
        return study.promote(model)
    except KeyboardInterrupt as interrupt:
        later = shlex.join(["tuner", "model", "promote", study.name, "--name", model])
        click.echo(f"\nInterrupted. The study is {study.state}; promote its best trial with:\n  {later}", err=True)
        raise _ended(interrupt) from None


@contextmanager
def _resumable(study: Study, command: str) -> Iterator[None]:
    """Say what is kept and how to go on when the run is interrupted."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        counts = study.summary().counts if study.state != "new" else {}
        click.echo(f"\nInterrupted. {_kept(counts)} Resume with:\n  {command}", err=True)
        raise _ended(interrupt) from None


def _ended(interrupt: KeyboardInterrupt) -> click.exceptions.Exit:
    return click.exceptions.Exit(getattr(interrupt, "exit_code", 130))  # 143 after SIGTERM


def _kept(counts: dict[str, int]) -> str:
    over = sum(counts.get(state, 0) for state in ("complete", "pruned", "failed"))
    waiting = counts.get("queued", 0)
    if not over and not waiting:
        return "Nothing was stored yet."
    done = f"{counted(over, 'finished trial')} {'is' if over == 1 else 'are'} kept"
    return f"{done}; {counted(waiting, 'trial')} will go on from the last checkpoint." if waiting else f"{done}."


def _command(file: Path, model: str | None, workers: int | None, launcher: str | None) -> str:
    options = {"--promote": model, "--workers": workers, "--launcher": launcher}
    given = [text for name, value in options.items() if value is not None for text in (name, str(value))]
    return shlex.join(["tuner", "run", str(file), *given])
