"""Random mixtures of faults, `scripts/soup --seed N --runs N`: each run is drawn from its own seed and can be replayed.

A run is a small study of a loop without TensorFlow, several acts in which its coordinators meet a fault, and a quiet
end. Between the acts nothing may have been lost or changed (`Snapshot`), at the end every invariant holds and the
results are those of the same study without a fault. A seed fixes the study, the faults and what triggers them; how
the processes interleave is the machine's. With `--ray` all runs share a cluster, whose workers outlive coordinators.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import psycopg
from sqlalchemy import func, select, text

from db import artifacts, studies, trials
from db.engine import Database
from db.errors import DatabaseUnavailable
from db.tables import Report, Trial
from tests import canary, clusters, coordinators, postgres, rows
from tests.clusters import Cluster
from tests.coordinators import Place
from tests.invariants import (
    Snapshot,
    check_invariants,
    check_no_secret,
    check_nothing_is_left,
    check_versions,
    results,
)
from tuner import verbs
from tuner.databases import open_database
from tuner.errors import InvalidInput, UnknownName

CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
POINTS = (
    "study_committed",
    "claimed",
    "asked",
    "before_commit",
    "committed",
    "trials_committed",
    "dispatched",
    "reports_received",
    "end_received",
    "reports_committed",
    "decided",
    "study_ending",
    "study_finished",
)
ACTIONS = ("kill", "kill", "raise", "commit_then_error", "commit_then_error", "sleep:0.1")
STEPS = ("version_reserved", "exported", "verified", "renamed", "alias_moved", "committed", "committed:3")
CPUS = 8  # of the cluster, by its own account: enough for two coordinators of three workers
QUICK = {"BEAT_SECONDS": 0.2}  # so that a coordinator notices a study, a lease and a wish at once


class Soup:
    """One run."""

    def __init__(self, seed: int, place: Place, database: Database, draw: random.Random) -> None:
        self.seed, self.place, self.database, self.draw = seed, place, database, draw
        self.acts: list[str] = []
        self.stopped = self.trial_cancelled = self.worker_killed = False
        self.trials: int = place.form["trials"]  # as a person wants it by now; its file keeps the first number
        self._seen = Snapshot.of(database)

    def stir(self) -> None:
        """Play the acts, then let the study end in quiet, and check everything. Raises what does not hold."""
        for _ in range(self.draw.randint(1, 4)):
            act = self.draw.choice(self._acts())
            self.acts.append(act)
            getattr(self, f"_{act}")()
            self._look()
        code = coordinators.run(self.place)
        assert code == 0, f"the quiet run ended with {code}"
        self._look()
        self._promote()
        check_invariants(self.database, self.place.name, self.place.settings.artifacts, self._undisturbed())
        check_nothing_is_left(self.place.home)
        if self.place.cluster is not None:
            self._cluster_is_idle(self.place.cluster)
        check_no_secret(self.database, [self.place.log], canary.PASSWORD)

    def _acts(self) -> list[str]:
        acts = ["failpoint"] * 3
        acts += ["kill", "freeze", "signal", "two", "cut", "damage", "pause", "edit", "continue"]
        if self.place.launcher != "inline" and not self.worker_killed:
            acts.append("kill_worker")
        return acts if self.stopped else [*acts, "stop", "cancel_trial"]

    def _look(self) -> None:
        seen = Snapshot.of(self.database)
        self._seen.leads_to(seen)
        self._seen = seen

    # --- acts: each begins and ends without a coordinator ---------------------------------------------------------

    def _failpoint(self) -> None:
        point, action = self.draw.choice(POINTS), self.draw.choice(ACTIONS)
        fault = f"{point}:{self.draw.randint(1, 6)}={action}"
        self.acts[-1] = fault
        how = self.draw.choice([coordinators.run, coordinators.serve])
        how(self.place, fault, **QUICK)

    def _kill(self) -> None:
        serves = self.place.cluster is not None and self.draw.random() < 0.5
        with self._coordinator(coordinators.serving if serves else coordinators.running_one) as process:
            self._wait_for_reports(process)
            process.kill()

    def _signal(self) -> None:
        number = self.draw.choice([signal.SIGINT, signal.SIGTERM])
        with self._coordinator() as process:
            self._wait_for_reports(process, fewest=1)  # it listens before it trains
            if not self.place.over(self.database):  # else it may not have begun to listen
                _send(process, number)
            process.join(coordinators.PATIENCE_SECONDS)  # with -number where it listened no more
            assert process.exitcode in (0, 128 + number, -number), f"signal {number} gave {process.exitcode}"

    def _kill_worker(self) -> None:
        with self._coordinator() as process:
            self._wait_for_reports(process)
            with suppress(psutil.Error):
                if workers := self._workers(process):
                    self.draw.choice(workers).kill()
                    self.worker_killed = True
            process.join(coordinators.PATIENCE_SECONDS)
            assert process.exitcode == 0, f"a killed worker ended its coordinator with {process.exitcode}"

    def _workers(self, coordinator: BaseProcess) -> list[psutil.Process]:
        if self.place.cluster is not None:
            return self.place.cluster.workers()
        return [child for child in psutil.Process(coordinator.pid).children() if "worker" in str(child.cmdline())]

    def _freeze(self) -> None:
        """A coordinator falls silent until another one has done its work, and comes back."""
        with self._coordinator(coordinators.serving, LEASE_SECONDS=0.5) as frozen:
            self._wait_for_reports(frozen)
            self._stop_outside_of_a_transaction(frozen)
            with self._coordinator(coordinators.serving) as other:
                coordinators.wait_for(lambda: self.place.over(self.database) or not other.is_alive())
                self._look()
                _send(frozen, signal.SIGCONT)
                time.sleep(0.3)  # it has the time to do harm

    def _stop_outside_of_a_transaction(self, process: BaseProcess) -> None:
        """One that is frozen in its middle blocks SQLite's other writers for as long as it is: no code can help."""
        free = False
        while not free and process.is_alive():
            _send(process, signal.SIGSTOP)
            free = _free(self.place, self.database)
            if not free:
                _send(process, signal.SIGCONT)
                time.sleep(0.01)

    def _two(self) -> None:
        with self._coordinator(coordinators.serving) as one, self._coordinator(coordinators.serving) as other:
            self._wait_for_reports(one)
            self.draw.choice([one, other]).kill()
            coordinators.wait_for(lambda: self.place.over(self.database) or not (one.is_alive() or other.is_alive()))

    def _cut(self) -> None:
        """The database is locked for a while, or cuts every connection."""
        with self._coordinator(coordinators.serving) as process:
            self._wait_for_reports(process, fewest=1)  # it serves before it trains
            if self.place.over(self.database):  # it may still be submitting, which a person would try again
                return
            with suppress(DatabaseUnavailable), self.database.write() as s:
                if self.database.dialect == "postgresql":
                    s.execute(text(CUT))
                else:
                    time.sleep(0.2)
            coordinators.wait_for(lambda: self.place.over(self.database) or not process.is_alive())
            assert process.is_alive(), "a database that went away for a moment ended the service"

    def _damage(self) -> None:
        """The newest checkpoint of a trial loses bytes, or one of them changes."""
        with self.database.read() as s:
            study = studies.find(s, self.place.name)
            queued = trials.queued(s, study.id, None) if study is not None else []
            saved = [saved for trial in queued if (saved := artifacts.checkpoint(s, trial.id))]
        if saved:
            folder = self.place.settings.artifacts / self.draw.choice(saved).key
            file = self.draw.choice(sorted(path for path in folder.iterdir() if path.is_file()))
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(self.draw.choice([bytes(content), bytes(content[: len(content) // 2]), b""]))

    def _stop(self) -> None:
        with self._coordinator() as process:
            self._wait_for_reports(process)
            with self.database.write() as s:
                study = studies.find(s, self.place.name)
                self.stopped = study is not None and studies.request(s, study.id, "stopping")
            process.join(coordinators.PATIENCE_SECONDS)

    def _pause(self) -> None:
        """A person pauses the study; its coordinator gives the workers back, or is killed while it does."""
        with self._coordinator(coordinators.serving) as process:
            self._wait_for_reports(process)
            if self._asked(lambda: verbs.ask(self.database, self.place.name, verbs.PAUSE)):
                if self.draw.random() < 0.3:
                    process.kill()
                coordinators.wait_for(lambda: not (process.is_alive() and self._running()))
                self._look()
                self._asked(lambda: verbs.ask(self.database, self.place.name, verbs.RESUME))

    def _edit(self) -> None:
        """A person changes the study's share while it runs."""
        changes = {"weight": self.draw.choice([0.5, 2.0]), "priority": self.draw.randint(-1, 1)}
        with self._coordinator(coordinators.serving) as process:
            self._wait_for_reports(process)
            self._asked(lambda: verbs.edit(self.database, self.place.name, changes))

    def _continue(self) -> None:
        """A person wants more trials: the study has ended, just ends, or still runs."""
        more = self.trials + self.draw.randint(1, 3)
        with self._coordinator() as process:
            self._wait_for_reports(process)
            if self.draw.random() < 0.5:
                coordinators.wait_for(lambda: self.place.over(self.database) or not process.is_alive())
                self._look()
            if self._asked(lambda: verbs.edit(self.database, self.place.name, {"trials": more})):
                self.trials = more

    def _cancel_trial(self) -> None:
        number = self.draw.randrange(self.place.form["trials"])
        with self._coordinator() as process:
            self._wait_for_reports(process)
            if self._asked(lambda: verbs.cancel_trial(self.database, self.place.name, number)):
                self.trial_cancelled = True
            process.join(coordinators.PATIENCE_SECONDS)

    def _asked(self, ask: Callable[[], object]) -> bool:
        """Whether the study was there and could still be asked."""
        with suppress(InvalidInput, UnknownName):
            return bool(ask())
        return False

    # --- the end --------------------------------------------------------------------------------------------------

    def _promote(self) -> None:
        with self.database.read() as s:
            study = studies.find(s, self.place.name)
            if study is None or not trials.best(s, study.id, "minimize"):
                return
        folder = self.place.settings.models / "model"
        for _ in range(self.draw.randint(0, 2)):
            fault = f"{self.draw.choice(STEPS)}={self.draw.choice(ACTIONS)}"
            self.acts.append(f"promotion {fault}")
            coordinators.promote(self.place, fault)
            check_versions(folder)
            self._look()
        assert coordinators.promote(self.place) == 0, "the quiet promotion failed"
        self._look()
        assert check_versions(folder) and not list(folder.glob(".staging*")), "I7: a staging folder was left behind"

    def _undisturbed(self) -> list[Any] | None:
        """What the study's results are without a fault; None where a person ended some of it."""
        if self.stopped or self.trial_cancelled:
            return None
        home = self.place.home / "undisturbed"
        home.mkdir()
        form = {**self.place.form, "loop": "tests.loops:descent", "trials": self.trials}
        calm = Place(home, f"sqlite:///{home}/ockham.db", form, "inline")
        assert coordinators.run(calm) == 0, calm.log
        with open_database(calm.settings) as database:
            return results(database, calm.name)

    def _cluster_is_idle(self, cluster: Cluster) -> None:
        """No worker is left, whoever its last coordinator was; and how many trials went on under another one."""
        coordinators.wait_for(lambda: not cluster.workers())
        with self.database.read() as s:
            study = studies.find(s, self.place.name)
            claims = (
                [event.data for event in rows.events(s, study.id) if event.kind == "study_claimed"] if study else []
            )
        self.acts += ["reattached"] * sum(claim["reattached"] for claim in claims)

    # --- help -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _coordinator(self, target: Any = coordinators.running_one, **changed: float) -> Iterator[BaseProcess]:
        process = coordinators.started(self.place, "", target, **{**QUICK, **changed})
        try:
            yield process
        finally:
            _send(process, signal.SIGCONT)
            process.terminate()
            process.join(coordinators.PATIENCE_SECONDS)
            assert process.exitcode is not None, "a coordinator did not end"

    def _wait_for_reports(self, process: BaseProcess, fewest: int = 0) -> None:
        """Wait until a few more epochs are in the database."""
        enough = self._reports() + self.draw.randint(fewest, 12)
        coordinators.wait_for(
            lambda: self._reports() >= enough or not process.is_alive() or self.place.over(self.database)
        )

    def _running(self) -> int:
        with self.database.read() as s:
            return int(s.scalars(select(func.count()).select_from(Trial).where(Trial.state == "running")).one())

    def _reports(self) -> int:
        with self.database.read() as s:
            return int(s.scalars(select(func.count()).select_from(Report)).one())


def _send(process: BaseProcess, number: signal.Signals) -> None:
    if process.pid is not None and process.is_alive():
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _free(place: Place, database: Database) -> bool:
    """Whether nobody holds the lock that a coordinator writes under."""
    try:
        if database.dialect == "sqlite":
            with closing(sqlite3.connect(place.home / "ockham.db", timeout=0.0)) as connection:
                connection.execute("BEGIN IMMEDIATE")
        else:
            with psycopg.connect(place.url) as connection:
                connection.execute("SELECT id FROM study FOR UPDATE NOWAIT")
    except (sqlite3.OperationalError, psycopg.errors.LockNotAvailable):
        return False
    return True


def form(draw: random.Random) -> dict[str, Any]:
    """A study: one worker and a sampler that learns, or several workers and one whose points stand by themselves."""
    alone = draw.random() < 0.5
    return {
        "name": "soup",
        "loop": "tests.loops:short_descent",
        "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}, "l2": {"type": "lambda", "low": 1e-6, "high": 0.1}},
        "objective": "val_loss",
        "trials": draw.randint(3, 8),
        "epochs": draw.randint(3, 9),
        "workers": 1 if alone else draw.randint(2, 3),
        "checkpoint_seconds": 0.001,
        "sampler": draw.choice(["gp", "random"]) if alone else "random",
        "pruner": draw.choice(["asha", "median", "none"]) if alone else "none",
        "patience": None,
        "seed": draw.randrange(1000),
    }


def run(seed: int, server: str | None = None, cluster: Cluster | None = None) -> tuple[list[str], str | None]:
    """One run. Returns its acts, and what did not hold."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="ockham-soup-", ignore_cleanup_errors=True) as folder:
        home, study = Path(folder), form(draw)
        kind = "ray" if cluster else draw.choice(["processes", "inline"])
        if cluster:
            study["epochs"] *= 10  # so that a trial lasts while one coordinator follows another
        study["workers"] = 1 if kind == "inline" else study["workers"]
        with _url(home, server) as url:
            place = Place(home, url, study, kind, cluster)
            with open_database(place.settings) as database:
                soup = Soup(seed, place, database, draw)
                try:
                    soup.stir()
                except Exception as error:
                    said = (place.log.splitlines() or ["nothing"])[-1]
                    return soup.acts, f"{type(error).__name__}: {error} (last log line: {said})"
                return soup.acts, None


@contextmanager
def _url(home: Path, server: str | None) -> Iterator[str]:
    if server is None:
        yield f"sqlite:///{home}/ockham.db"
        return
    with postgres.fresh(server) as url:
        yield url


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="scripts/soup", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first run (default 1)")
    parser.add_argument("--runs", type=int, default=10, help="how many, each with the next seed (default 10)")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--ray", action="store_true", help="train on a Ray cluster that outlives the coordinators")
    options = parser.parse_args()
    begun, acts, violations = time.monotonic(), Counter[str](), 0
    with ExitStack() as opened:
        server = opened.enter_context(postgres.server()) if options.database == "postgresql" else None
        cluster = opened.enter_context(clusters.begun(CPUS)) if options.ray else None
        for seed in range(options.seed, options.seed + options.runs):
            played, problem = run(seed, server, cluster)
            acts.update(act.partition("=")[2].partition(":")[0] or act for act in played)
            if problem is not None:
                violations += 1
                replay = f"--seed {seed} --runs 1 --database {options.database}" + (" --ray" if options.ray else "")
                print(f"seed {seed}: {problem} [{', '.join(played)}] replay: scripts/soup {replay}", flush=True)
    what = f"{options.runs} runs on {options.database} from seed {options.seed}"
    print(f"{what}: {violations} violations in {time.monotonic() - begun:.0f} s")
    print("faults: " + ", ".join(f"{count} {act}" for act, count in acts.most_common()))
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
