"""Many at once: what naive claims get wrong, and that tokens, terms and unique names get it right."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import update

from db import models, search_spaces, studies, trials
from db.engine import Database
from db.errors import AlreadyExists
from db.tables import Trial, table
from tests import rows

T = TypeVar("T")


def together(count: int, work: Callable[[int], T]) -> list[T]:
    """Results of `work(0)`, `work(1)`, … in threads that begin at the same moment."""
    barrier = threading.Barrier(count)

    def start(index: int) -> T:
        barrier.wait()
        return work(index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def naive_claim(database: Database, study: int, barrier: threading.Barrier) -> int:
    """What a guard would have prevented: read that a trial is queued, then take it."""
    with database.read() as s:
        trial = trials.queued(s, study, 1)[0]
    barrier.wait()
    with database.write() as s:
        s.execute(update(table(Trial)).where(Trial.id == trial.id).values(state="running"))
    return trial.id


def test_a_naive_claim_gives_one_trial_to_two(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        rows.trial(s, study)
    barrier = threading.Barrier(2)
    assert len(set(together(2, lambda _: naive_claim(database, study, barrier)))) == 1


def test_a_guarded_claim_gives_it_to_one(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        ids = [rows.trial(s, study).id for _ in range(20)]

    def claim(index: int) -> list[int]:
        won = []
        for trial in ids:
            with database.write() as s:
                if rows.lease(s, trial, f"worker-{index}") is not None:
                    won.append(trial)
        return won

    assert sorted(trial for won in together(4, claim) for trial in won) == ids
    with database.read() as s:
        assert {rows.trial_of(s, trial).token for trial in ids} == {1}


def test_frozen_workers_that_come_back_finish_nothing_twice(database: Database) -> None:
    """Workers freeze for longer than their lease, others get their trials, and they come back and report success."""
    lease, count = 0.05, 40
    with database.write() as s:
        study = rows.study(s)
        for _ in range(count):
            rows.trial(s, study)
    accepted: Counter[int] = Counter()
    refused = 0
    lock = threading.Lock()

    def work(index: int) -> None:
        nonlocal refused
        chance = random.Random(index)
        while True:
            with database.write() as s:
                for late in trials.expired(s, study):
                    trials.requeue(s, trials.End(late.id, late.token, "queued", cause="node_lost"))  # others do it too
                queued = trials.queued(s, study, 1)
                token = rows.lease(s, queued[0].id, f"worker-{index}", lease) if queued else None
                if not queued and not trials.running(s, study):
                    return
            if token is None:
                time.sleep(lease)
                continue
            time.sleep(2 * lease if chance.random() < 0.4 else 0.0)
            with database.write() as s:
                done = rows.end(s, rows.Held(study, queued[0].id, token), "complete", value=float(index))
            with lock:
                accepted[queued[0].id] += done
                refused += not done

    together(5, work)
    assert set(accepted.values()) == {1}
    assert len(accepted) == count
    assert refused > 0, "no worker was ever late: the test showed nothing"
    with database.read() as s:
        assert {row.state for row in trials.all(s, study)} == {"complete"}
        for row in trials.all(s, study):
            ends = [attempt.cause for attempt in trials.attempts(s, row.id)]
            assert ends == ["node_lost"] * (row.token - 1) + [None]


CLAIMER = """
import json, sys
from db import trials
from db.engine import connect
won = []
with connect(sys.argv[1]) as database:
    while True:
        with database.write() as s:
            queued = trials.queued(s, int(sys.argv[2]), 1)
            if not queued:
                break
            won += trials.lease(s, {queued[0].id: None}, sys.argv[3], 60).items()
print(json.dumps(won))
"""


def test_processes_share_the_trials_among_them(database: Database, database_url: str) -> None:
    with database.write() as s:
        study = rows.study(s)
        ids = [rows.trial(s, study).id for _ in range(60)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMER, database_url, str(study), name],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    claims = [claim for process in processes for claim in json.loads(process.communicate(timeout=120)[0])]
    won = [trial for trial, token in claims if token is not None]
    assert sorted(won) == ids


def test_of_many_submissions_at_once_one_wins(database: Database) -> None:
    def submit(_: int) -> str:
        try:
            with database.write() as s:
                rows.study(s, "taxi")
        except AlreadyExists as error:
            return f"refused {error.name}"
        return "created"

    assert sorted(together(6, submit)) == ["created"] + ["refused taxi"] * 5
    with database.read() as s:
        assert studies.names(s) == ["taxi"]


def test_one_search_space_is_stored_once_by_many(database: Database) -> None:
    def put(_: int) -> int:
        with database.write() as s:
            return search_spaces.put(s, rows.SPACE, "hash")

    (space,) = set(together(6, put))
    with database.read() as s:
        assert search_spaces.get(s, space) == rows.SPACE


def test_of_many_coordinators_one_claims_a_term(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)

    def claim(index: int) -> int | None:
        with database.write() as s:
            return studies.claim(s, study, f"coordinator-{index}", 60)

    terms = together(6, claim)
    assert sorted(term for term in terms if term is not None) == [1]


def test_a_coordinator_that_renewed_holds_off_its_successor(database: Database) -> None:
    """`renew` locks the study's row: a successor that saw an ended lease waits, and then sees that it lives."""
    with database.write() as s:
        study = rows.study(s)
        assert studies.claim(s, study, "old", 0.0) == 1
    order: list[object] = []

    def take_over() -> None:
        with database.write() as s:
            order.append(studies.claim(s, study, "new", 60))

    with database.write() as s:
        assert studies.renew(s, study, "old", 1, 60, 0.0)
        successor = threading.Thread(target=take_over)
        successor.start()
        time.sleep(0.3)
        rows.trial(s, study)
        order.append("written")
    successor.join(30)
    assert order == ["written", None]


def test_a_coordinator_whose_study_was_taken_commits_nothing(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        assert studies.claim(s, study, "old", 0.0) == 1
    taken = threading.Event()
    renewed: list[bool] = []

    def wake_up() -> None:
        taken.wait(30)
        with database.write() as s:
            renewed.append(studies.renew(s, study, "old", 1, 60, 0.0))

    frozen = threading.Thread(target=wake_up)
    frozen.start()
    with database.write() as s:
        assert studies.claim(s, study, "new", 60) == 2
        taken.set()
        time.sleep(0.3)
    frozen.join(30)
    assert renewed == [False]


def test_promotions_at_once_get_numbers_of_their_own(database: Database) -> None:
    with database.write() as s:
        trial = rows.held(s, rows.study(s)).trial
        model = models.ensure(s, "digits", "/models/digits")

    def reserve(_: int) -> int:
        with database.write() as s:
            return models.reserve(s, model.id, trial, str).number

    assert sorted(together(6, reserve)) == [1, 2, 3, 4, 5, 6]
