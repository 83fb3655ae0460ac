"""Removes each guard in a copy of the tree and runs the test that is there for it: it has to fail.

    scripts/mutation-proof [NAME ...]

A test that passes without the guard it is there for proves nothing. Every named test is run with the guard first,
because one that fails anyway proves nothing either.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = 600  # for one test


@dataclass(frozen=True)
class Guard:
    """One guard: where it is, what is left without it, and a test that must not pass then."""

    name: str
    file: str
    code: str  # occurs once in the file
    without: str
    test: str


TRIALS, STUDIES, DB = "db/trials.py", "db/studies.py", "tests/contract/test_db_"
MATRIX = "tests/acceptance/test_fault_matrix.py::test_a_coordinator_resumes_as_if_nothing_had_happened[sqlite-"
PROMOTING = "tests/contract/test_promotion.py::test_"
MEMORY = "tests/contract/test_in_memory.py::test_"
CODE = "tests/unit/test_user_code.py::test_"
COORDINATING = "tests/contract/test_coordinator.py::test_"

GUARDS = (
    Guard(
        "token: reports, decisions, artifacts",
        TRIALS,
        "return current & set(attempts)",
        "return set(attempts)",
        f"{DB}trials.py::test_a_stale_token_changes_nothing",
    ),
    Guard(
        "token: ends",
        TRIALS,
        'Trial.token == bindparam("the_token"), _running())',
        "_running())",
        f"{DB}trials.py::test_a_stale_token_changes_nothing",
    ),
    Guard(
        "token: retries",
        TRIALS,
        "Trial.id == end.trial_id, Trial.token == end.token, _running()",
        "Trial.id == end.trial_id, _running()",
        f"{DB}trials.py::test_a_stale_token_changes_nothing",
    ),
    Guard(
        "state: only a queued trial begins",
        TRIALS,
        "Trial.id.in_(begun), queued)",
        "Trial.id.in_(begun))",
        f"{DB}concurrency.py::test_a_guarded_claim_gives_it_to_one",
    ),
    Guard(
        "state: an end is not left",
        TRIALS,
        'Trial.token == bindparam("the_token"), _running())',
        'Trial.token == bindparam("the_token"))',
        f"{DB}trials.py::test_every_transition_is_the_tables",
    ),
    Guard(
        "term: of a coordinator",
        STUDIES,
        "Study.id == study_id, Study.owner == owner, Study.term == term",
        "Study.id == study_id, Study.owner == owner",
        f"{DB}studies.py::test_an_owner_that_claims_again_begins_a_new_term",
    ),
    Guard(
        "lease: of a coordinator",
        STUDIES,
        "live, or_(_free(), Study.owner == owner))",
        "live)",
        f"{DB}studies.py::test_a_claim_holds_until_its_lease_ends",
    ),
    Guard(
        "end of a study: not by limits that a person has changed since",
        STUDIES,
        "allowed.append(Study.revision == revision)",
        "allowed.append(Study.id == study_id)",
        f"{DB}studies.py::test_a_study_does_not_end_by_a_revision_that_a_person_has_edited",
    ),
    Guard(
        "a study goes on only after its end",
        STUDIES,
        "where(Study.id == study_id, over).values(again)",
        "where(Study.id == study_id).values(again)",
        f"{DB}studies.py::test_an_ended_study_that_goes_on_has_a_new_term_and_no_end",
    ),
    Guard(
        "lost study: nothing more is written",
        "tuner/coordination/coordinator.py",
        "if not studies.renew(s, study.id, self.owner, study.term, LEASE_SECONDS, study.active_seconds)",
        "if studies.renew(s, study.id, self.owner, study.term, LEASE_SECONDS, study.active_seconds) is None",
        f"{COORDINATING}a_study_that_was_taken_is_not_ended_by_its_former_coordinator",
    ),
    Guard(
        "lost study: its attempts are another one's when its former coordinator ends",
        "tuner/coordination/coordinator.py",
        "in [study for study in self.studies.values() if study.id not in lost]:",
        "in self.studies.values():",
        f"{COORDINATING}a_study_that_was_taken_keeps_its_attempts_when_its_former_coordinator_ends",
    ),
    Guard(
        "uncertain commit: written again",
        "tuner/coordination/coordinator.py",
        "if taken or not certain:",
        "if taken:",
        f"{COORDINATING}a_transaction_whose_end_was_not_seen_is_written_again",
    ),
    Guard(
        "orphans: queued again by the next coordinator",
        "tuner/coordination/claiming.py",
        "orphans = [trial for trial in running if (trial.number, trial.token) not in kept]",
        "orphans = []",
        f"{MATRIX}trials_committed:3=kill]",
    ),
    Guard(
        "failed commit: its connection is not used again",
        "db/engine.py",
        "session.invalidate()",
        "pass",
        f"{DB}engine.py::test_a_commit_that_failed_leaves_no_open_transaction",
    ),
    Guard(
        "non-finite: never best",
        TRIALS,
        'Trial.state == "complete", finite(Trial.value))',
        'Trial.state == "complete")',
        f"{DB}trials.py::test_the_best_is_finite_completed_and_the_earliest_of_equals",
    ),
    Guard(
        "non-finite: never the value of a trial",
        "tuner/coordination/outcomes.py",
        "if value is not None and math.isfinite(value)]",
        "if value is not None]",
        "tests/unit/test_outcomes.py::test_a_point_that_is_not_finite_is_never_the_best",
    ),
    Guard(
        "retry budget: of a cause",
        "tuner/coordination/outcomes.py",
        "used >= RETRIES[failure.kind]",
        "used > RETRIES[failure.kind]",
        f"{COORDINATING}bad_trials_fail_with_their_cause_and_the_study_goes_on",
    ),
    Guard(
        "submission: another body is refused",
        "tuner/submission.py",
        "if row is None or row.body_hash == definition.hash:",
        "if row is None or row.body_hash:",
        f"{COORDINATING}the_same_submission_gives_one_study_and_another_is_refused_with_the_difference",
    ),
    Guard(
        "artifact: bytes match their SHA-256",
        "workers/artifacts.py",
        "if found != expected:",
        "if found is None:",
        "tests/unit/test_artifacts.py::test_damage_is_found_and_the_file_named",
    ),
    Guard(
        "promotion: rename without replacing",
        "tuner/promoting/publishing.py",
        "if not _renameat2(source, target):\n        if target.exists():\n            raise _taken(target)",
        "if True:",
        f"{PROMOTING}rename_refuses_a_target_that_exists_even_when_it_is_empty",
    ),
    Guard(
        "promotion: verified before it is published",
        "tuner/promoting/promotion.py",
        "problems = verify_model(str(staging))",
        "problems = []",
        f"{PROMOTING}a_refused_model_changes_nothing_for_the_server",
    ),
    Guard(
        "promotion: recovery removes what was staged",
        "tuner/promoting/promotion.py",
        "        shutil.rmtree(leftover, ignore_errors=True)",
        "        pass",
        "tests/acceptance/test_fault_matrix.py::test_a_promotion_ended_anywhere_leaves_no_torn_version_and_the_next_one"
        "_mends[sqlite-exported=kill]",
    ),
    Guard(
        "alias: only a ready version",
        "db/models.py",
        "if number not in ready_numbers(s, model_id):",
        "if number is None:",
        f"{DB}models.py::test_an_alias_points_only_at_what_can_be_served",
    ),
    Guard(
        "code: a changed package is not imported",
        "workers/user_code.py",
        "if found != package.parent.name:",
        "if not found:",
        f"{CODE}a_package_is_put_back_where_it_is_damaged_or_gone",
    ),
    Guard(
        "code: no module of the study before",
        "workers/user_code.py",
        "        sys.modules.pop(name, None)\n",
        "        pass\n",
        f"{CODE}versions_take_turns_in_one_process",
    ),
    Guard(
        "data: it is there when its row is",
        "tuner/payload/in_memory.py",
        "    write()  # somebody may",
        "    # somebody may",
        f"{MEMORY}what_is_deleted_during_a_dry_run_is_there_again_when_the_row_is",
    ),
    Guard(
        "data: a refusal takes away nothing of others",
        "tuner/payload/in_memory.py",
        "if ours and store.modified(key) == stamp and not _named(settings, key):",
        "if ours:",
        f"{MEMORY}a_refused_study_leaves_nothing_and_takes_nothing_from_others",
    ),
    Guard(
        "data: what is being submitted is no garbage",
        "tuner/removal.py",
        "(store.modified(key) or 0.0) > limit",
        "False",
        f"{MEMORY}garbage_is_data_that_no_study_has_and_nobody_submits",
    ),
    Guard(
        "secrets: no bound values in errors",
        "db/engine.py",
        "hide_parameters=True",
        "hide_parameters=False",
        f"{DB}engine.py::test_errors_do_not_show_values",
    ),
)


def passes(tree: Path, test: str) -> bool:
    """Whether a test passes in a tree, on SQLite."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not postgresql", "-p", "no:cacheprovider", test]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in (0, 1):
        sys.exit(f"{test} could not be run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def without(tree: Path, guard: Guard) -> bool:
    """Whether the guard's test passes without the guard."""
    file = tree / guard.file
    text = file.read_text()
    if text.count(guard.code) != 1:
        sys.exit(f"{guard.file} has {guard.code!r} {text.count(guard.code)} times, expected once: change {__file__}.")
    file.write_text(text.replace(guard.code, guard.without))
    try:
        return passes(tree, guard.test)
    finally:
        file.write_text(text)


def main(names: list[str]) -> None:
    """Print a table of the guards; exit with 1 when one of them could be removed unnoticed."""
    guards = [guard for guard in GUARDS if not names or any(name in guard.name for name in names)]
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    with tempfile.TemporaryDirectory(prefix="ockham-mutations-") as folder:
        tree = Path(folder)
        for name in filter(None, files):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
        sound = {test: passes(tree, test) for test in dict.fromkeys(guard.test for guard in guards)}
        unnoticed = 0
        for guard in guards:
            seen = sound[guard.test] and not without(tree, guard)
            unnoticed += not seen
            verdict = "fails without it" if seen else ("UNNOTICED" if sound[guard.test] else "FAILS ANYWAY")
            print(f"{guard.name:50} {verdict:18} {guard.test.rpartition('::')[2]}", flush=True)
    print(f"{len(guards) - unnoticed} of {len(guards)} guards are held by a test")
    sys.exit(1 if unnoticed else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
