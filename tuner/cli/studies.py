"""`tuner run` and `tuner study …`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.output import duration, emit_fields, emit_json, emit_table, output_option, short

if TYPE_CHECKING:
    from tuner.api import Study
    from tuner.promotion import PromotedVersion
    from tuner.results import StudySummary

FILE = click.argument("file", type=click.Path(path_type=Path))


@click.command()
@FILE
@click.option("--promote", "model", metavar="NAME", help="Promote the best trial as the next version of this model.")
@click.option("--workers", type=click.IntRange(min=1), help="Most trials at once on this machine.")
@click.option("--launcher", type=click.Choice(["ray", "processes", "inline"]), help="Where trials run; default: ray.")
@click.option("--progress/--no-progress", default=True, help="Show what is going on.")
@output_option
def run(file: Path, model: str | None, workers: int | None, launcher: str | None, progress: bool, output: str) -> None:
    """Run the study in FILE to its end on this machine or the Ray cluster of TUNER_RAY_ADDRESS.

    Run it again to resume where it was; a study that is finished shows its result.
    """
    from tuner.names import check_name
    from tuner.running import OVER, Interrupted

    if model is not None:
        check_name("model", model)
    study = _from_file(file, workers=workers, launcher=launcher)
    over = study.state in OVER
    try:
        study.run(progress=progress)
    except Interrupted:
        _say_how_to_resume(study, file)
        raise
    if over:
        click.echo(f"Study {study.name!r} is {study.state} already: nothing was run. This is its result.", err=True)
    promoted = None
    if model is not None:
        click.echo("Promoting the best trial: export, then verification in a process of its own ...", err=True)
        promoted = study.promote(model)
    _show(study.summary(), output, promoted)


@click.group()
def study() -> None:
    """Submit, list, show, wait for and stop studies."""


@study.command()
@FILE
@output_option
def submit(file: Path, output: str) -> None:
    """Check the study in FILE and store it for the coordinator that serves this database."""
    study = _from_file(file)
    click.echo("Checking the study: data, model, the corners of its space ...", err=True)
    study.submit()
    if output == "json":
        emit_json(study.summary())
    else:
        click.echo(f"Study {study.name!r} is {study.state}. Watch it: tuner study wait {study.name}")


@study.command("list")
@output_option
def list_studies(output: str) -> None:
    """Every study of the database, the newest last."""
    from db import studies

    with _database().read() as s:
        rows = studies.listing(s)
    if output == "json":
        emit_json(rows)
        return
    columns = ("study", "state", "complete", "pruned", "failed", "running", "queued", "best", "created")
    states = columns[2:7]
    table = [(r.name, r.state, *(r.counts.get(state, 0) for state in states), r.best_value, r.created_at) for r in rows]
    emit_table(columns, table, "There is no study yet. Start one: tuner run STUDY.yaml")


@study.command()
@click.argument("name")
@output_option
def show(name: str, output: str) -> None:
    """One study at a glance: state, trials, best parameters, what was saved by stopping early."""
    from tuner import results

    _show(results.summary(_database(), name), output, None)


@study.command()
@click.argument("name")
@click.option("--timeout", type=click.FloatRange(min=0), help="Most seconds to wait; default: as long as it takes.")
@output_option
def wait(name: str, timeout: float | None, output: str) -> None:
    """Wait until the study is over, then show it. Exit code 1 when it failed or the time is up."""
    from tuner.api import load_study
    from tuner.errors import TunerError

    study = load_study(name)
    try:
        study.wait(timeout, lambda now: click.echo(_one_line(now), err=True) if _changed(now) else None)
    except TimeoutError as late:
        raise TunerError(str(late)) from late
    _show(study.summary(), output, None)


@study.command()
@click.argument("name")
def stop(name: str) -> None:
    """Start no more trials of the study; those that run are finished, and everything found is kept."""
    from tuner.api import load_study

    study = load_study(name)
    study.stop()
    click.echo(f"Study {name!r} is {study.state}.")


def _from_file(file: Path, **overrides: Any) -> Study:
    from tuner.api import Study
    from tuner.configuration import Settings
    from tuner.study_file import read

    definition, settings = read(file), Settings.load(**overrides)
    # User code lies beside the file that names it, or where the command was typed.
    paths = tuple(dict.fromkeys((str(file.absolute().parent), *settings.import_paths)))
    return Study(definition, replace(settings, import_paths=paths))


def _database() -> Any:
    from tuner.configuration import Settings
    from tuner.running import open_database

    return open_database(Settings.load())


def _say_how_to_resume(study: Study, file: Path) -> None:
    counts = study.summary().counts if study.state != "new" else {}
    over = sum(counts.get(state, 0) for state in ("complete", "pruned", "failed"))
    kept = f"{over} finished trials are kept, {counts.get('queued', 0)} will go on from their last checkpoint. "
    click.echo(f"\nInterrupted. {kept if counts else 'Nothing was stored yet. '}Resume with: tuner run {file}", err=True)


_last_line = ""


def _changed(now: StudySummary) -> bool:
    global _last_line
    before, _last_line = _last_line, _one_line(now)
    return before != _last_line


def _one_line(now: StudySummary) -> str:
    trials = ", ".join(f"{count} {state}" for state, count in sorted(now.counts.items())) or "no trial yet"
    best = f"; best {now.objective} {short(now.best.value)} (trial {now.best.number})" if now.best else ""
    return f"{now.name}: {now.state}, {trials}{best}"


def _show(now: StudySummary, output: str, promoted: PromotedVersion | None) -> None:
    if output == "json":
        emit_json({**asdict(now), "promoted": asdict(promoted) if promoted else None})
        return
    saved = now.epochs_without_stopping - now.epochs
    share = saved / now.epochs_without_stopping if now.epochs_without_stopping else 0.0
    best = now.best
    emit_fields(
        {
            "study": f"{now.name} ({now.state})" + (f": {now.reason}" if now.reason else ""),
            "trials": ", ".join(f"{count} {state}" for state, count in sorted(now.counts.items())) or "none yet",
            "failures": now.failures,
            "time": duration(now.seconds),
            "stopping": f"saved {saved} of {now.epochs_without_stopping} epochs ({share:.0%})" if saved > 0 else None,
            f"best {now.objective}": f"{short(best.value)} (trial {best.number}, epoch {best.best_epoch})" if best else None,
            "best parameters": best.params if best else None,
            "validation": now.best_metrics,
        }
    )
    if promoted is not None:
        _show_promoted(promoted)


def _show_promoted(promoted: PromotedVersion) -> None:
    """The version's fields; the last line is the path of its folder."""
    reads = promoted.scores.get("test_reads", 0)
    emit_fields(
        {
            "test": promoted.scores.get("test"),
            "test part": f"read {reads} time{'s' if reads != 1 else ''} for this study" if reads else None,
            "promoted": f"{promoted.name} version {promoted.number}, alias {promoted.alias}",
        }
    )
    click.echo(promoted.path)
