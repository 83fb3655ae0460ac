"""What the coordinator and a worker say to each other.

A worker trains *assignments* in *slices*. The coordinator starts an assignment, asks for a slice with `advance`, and
gets back a `SliceResult` with everything seen since the last one. A stop is simply not asking again; a returned slice
is the heartbeat; a crash loses at most what came after the last checkpoint.

Every value here is JSON: no pickle, no live object crosses, and a worker never sees a database URL. `to_json` gives
plain dictionaries; `from_json` is its exact inverse. The trials of an assignment, its members, advance together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, get_args


class LauncherError(RuntimeError):
    """Workers cannot be had: unreachable cluster, wrong token, wrong options. One sentence for the user."""


class LauncherUnavailable(LauncherError):
    """Nothing answers where the workers are to be had: what was away may come back, so try again."""


Cause = Literal[
    "user_error", "infeasible", "oom", "node_lost", "hang", "deadline", "cancelled", "storage", "non_finite"
]
"""Why a trial or an attempt did not complete. How often each is tried again: tuner/coordination/outcomes.py."""
CAUSES: tuple[Cause, ...] = get_args(Cause)


@dataclass(frozen=True)
class Resources:
    """What one assignment occupies on a node while it runs."""

    cpus: float = 1.0
    gpus: float = 0.0  # fractions share a card; TensorFlow's memory limit is set to the same fraction

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Training:
    """Everything a worker has to know about a study: how to build, feed, train, score and save its trials."""

    study: str
    model: str  # "mlp", or "module:attribute" of a build(hp) function, a HyperModel class, or a loop
    loop: bool  # True: `model` names a function that owns its training loop (see workers/trials/loop.py)
    space: dict[str, Any] | None  # JSON form of the search space; None only while it is being read from build(hp)
    data: dict[str, Any] | None  # see workers/data; None for a loop that brings its own
    objective: str  # a metric name, e.g. "val_data_loss"
    direction: Literal["minimize", "maximize"]
    epochs: int  # most epochs a trial may train
    patience: int | None  # epochs without a better objective before a trial ends by itself; None: never
    checkpoint_seconds: float  # a running trial is saved at least this often, at the end of an epoch
    artifacts: str  # root folder of the artifact store, reachable from every worker
    seed: int = 0  # of the order of the batches, the same for all trials: comparisons are paired
    import_paths: tuple[str, ...] = ()  # folders put in front of sys.path before user code is imported

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "import_paths": list(self.import_paths)}

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> Training:
        return cls(**{**form, "import_paths": tuple(form["import_paths"])})


@dataclass(frozen=True)
class Member:
    """One attempt at one trial."""

    trial: int  # the trial's number in its study
    token: int  # the attempt's fencing token; comes back in everything that is said about it
    params: dict[str, Any]  # name -> value, active parameters only
    seed: int  # for Python, NumPy and Keras; the same for every attempt at the trial
    checkpoint: str | None = None  # artifact key to resume from; None: start at epoch 0


@dataclass(frozen=True)
class Assignment:
    """Trials that one worker trains together."""

    id: str
    training: Training
    members: tuple[Member, ...]
    resources: Resources = Resources()
    origin: str = ""  # tells its study from one of the same name in another database

    @property
    def label(self) -> str:
        """`study/trial-N`, the name this work has in dashboards and logs."""
        first, last = self.members[0].trial, self.members[-1].trial
        return f"{self.training.study}/trial-{first}" + (f"..{last}" if last != first else "")

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "training": self.training.to_json(),
            "members": [asdict(member) for member in self.members],
            "resources": self.resources.to_json(),
            "origin": self.origin,
        }

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> Assignment:
        return cls(
            id=form["id"],
            training=Training.from_json(form["training"]),
            members=tuple(Member(**member) for member in form["members"]),
            resources=Resources(**form["resources"]),
            origin=form["origin"],
        )


@dataclass(frozen=True)
class Trained:
    """How a trial is trained, said once, before its first report."""

    trial: int
    token: int
    how: str  # e.g. "in a cohort of 16 (program: mlp, depth 3)" or "alone: the data has several inputs"


@dataclass(frozen=True)
class Report:
    """The metrics of one finished epoch of one trial."""

    trial: int
    token: int
    epoch: int  # epochs finished so far: the first report has 1
    metrics: dict[str, float]  # may hold NaN and infinities; JSON transports must keep them
    seconds: float  # spent on this epoch, validation included


@dataclass(frozen=True)
class Saved:
    """Bytes that are complete in the artifact store: the row follows, never the other way round.

    Trials that are trained together may name the same folder. Each finds its own part there by its number.
    """

    trial: int
    token: int
    kind: Literal["checkpoint", "model"]  # to resume from; or the trial's best weights
    epoch: int  # the epoch whose weights these are
    key: str  # the folder's key in the artifact store
    sha256: str  # of the folder's manifest.json
    bytes: int  # of the whole folder


@dataclass(frozen=True)
class Ended:
    """A trial is over on this worker. `cause` None means it ran to its end (all epochs, or patience)."""

    trial: int
    token: int
    cause: Cause | None = None
    message: str = ""  # one sentence
    log: str = ""  # traceback or last output, at most 64 KiB
    best_epoch: int | None = None  # the epoch whose weights were saved as the model
    weights: int | None = None  # how many there are, where the worker built the model


@dataclass(frozen=True)
class SliceResult:
    """What a worker saw since the last slice. Lists are in the order in which things happened."""

    assignment: str
    worker: str
    reports: tuple[Report, ...] = ()
    saved: tuple[Saved, ...] = ()
    ended: tuple[Ended, ...] = ()
    trained: tuple[Trained, ...] = ()
    rss_bytes: int = 0  # resident memory of the worker process
    progress: int = 0  # batches since the assignment began, of all its members; a hung trial's stands still
    held: bool = False  # every trial that is not over was saved where it can be, as was asked, and waits
    number: int = 0  # of this answer among those of its assignment, from 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> SliceResult:
        kinds: dict[str, type[Any]] = {"reports": Report, "saved": Saved, "ended": Ended, "trained": Trained}
        lists = {name: tuple(kind(**item) for item in form[name]) for name, kind in kinds.items()}
        return cls(**{**form, **lists})


@dataclass(frozen=True)
class Lost:
    """The worker that held an assignment is gone. Nothing more will be heard from it."""

    assignment: str
    worker: str
    cause: Cause
    message: str  # one sentence with the exit code or signal where known
    log: str = ""
    process_end: str = ""  # how its process ended under the trial, "with exit code 3"; "": its node is gone, or it hung


@dataclass(frozen=True)
class CheckReport:
    """Outcome of the dry run that precedes a study: two batches at the corners of its space, and an export."""

    problems: tuple[str, ...] = ()  # sentences for the user; empty: the study can run
    metrics: tuple[str, ...] = ()  # names the model logs each epoch
    space: dict[str, Any] | None = None  # read from build(hp) where Training.space was None
    data: dict[str, Any] = field(default_factory=dict)  # e.g. rows per part, features, classes, fingerprint
    parameters: tuple[int, int] = (0, 0)  # weights in the smallest and the largest model that was built
    liftable: tuple[str, ...] = ()  # parameters in which models of the user's may differ and still train as one program
    alone: str | None = None  # the sentence why they train one by one; None: they need not, or it was not looked at
    together: int | None = None  # trials that a worker's share of memory has room for; None: it was not looked at

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> CheckReport:
        lists = {name: tuple(form[name]) for name in ("problems", "metrics", "parameters", "liftable")}
        return cls(**{**form, **lists})


class Launcher(Protocol):
    """Runs assignments somewhere. Implementations: `inline`, `processes`, `ray_actors` in workers/launchers.

    All pass tests/contract/test_launchers.py. Only `poll`, `held`, `check` and `close` may block. Calls come from one
    thread. A launcher never retries: a lost worker is told once as `Lost`, and the next `start` gets a fresh one.
    """

    def fits(self, resources: Resources) -> str | None:
        """None where such an assignment can run here at some time, else the sentence that says why it never can."""
        ...

    def nodes(self) -> Mapping[str, Mapping[str, float]]:
        """What each machine of its workers has in all, by name: `{"CPU": 4.0, "GPU": 1.0}`."""
        ...

    def room(self, resources: Resources, beside: Sequence[Resources] = ()) -> int:
        """How many more assignments of this shape could start now (idle workers plus ones to create), after those of
        the shapes `beside`, which are not started yet."""
        ...

    def start(self, assignment: Assignment) -> str:
        """Give the assignment to a free worker and return that worker's name. Needs `room(...) > 0`."""
        ...

    def advance(
        self,
        assignment: str,
        until: int,
        seconds: float,
        drop: Collection[int] = (),
        save: bool = False,
        acknowledged: int = 0,
    ) -> None:
        """Ask for the next slice: train up to epoch `until` and answer when there, or after about `seconds`.

        `drop` names trials of the assignment that end now (pruned or stopped): nothing more comes from them.
        `save` asks that every trial be saved at the end of its epoch and then wait, so that it can be stopped
        without a loss; the answer in which all are there says `held`. There is no way back from it but `stop`.
        `acknowledged` is the number of the last answer that is safe: the worker keeps all later ones.
        The answer arrives through `poll`. At most one slice per assignment is outstanding.
        """
        ...

    def stop(self, assignment: str) -> None:
        """End the assignment and free its worker; whatever was outstanding is dropped. Unknown ids are ignored."""
        ...

    def poll(self, seconds: float) -> list[SliceResult | Lost]:
        """Answers that are there, waiting at most `seconds` for the first one, or not at all where nothing was asked.

        An assignment whose answer holds `ended` for all remaining members is over: its worker is free from then on.
        """
        ...

    def held(self) -> list[Assignment]:
        """What workers hold whose coordinator is gone. May block for seconds. Empty where workers end with theirs."""
        ...

    def adopt(self, assignment: Assignment) -> None:
        """Take over the worker that holds one of `held()`: advance or stop it. It says again what was not safe."""
        ...

    def check(self, training: Training, resources: Resources | None = None) -> CheckReport:
        """Dry-run a study on a worker of this shape (None: one CPU), which stays warm for the study's trials.

        User code that hangs or ends its worker is a problem in the report; `poll` has what others answer meanwhile.
        """
        ...

    def describe(self) -> list[dict[str, Any]]:
        """One dictionary per live worker: name, pid, rss_bytes, assignment (or None), trials (finished so far)."""
        ...

    def close(self) -> None:
        """End every worker; nothing of this launcher is left behind."""
        ...
