"""Metrics of a coordinator, for Prometheus to read.

What is counted in rows is read from the rows when somebody asks, so it is right after a restart and the same whichever
coordinator tells it. What only this process knows (how long a step takes, what went wrong) is counted here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from db import overview
from db.engine import Database
from db.errors import DatabaseError
from db.overview import LiveStudy
from tuner.errors import TunerError

LOOPBACK = "127.0.0.1"
STEP_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # bounds of the histogram's buckets

log = logging.getLogger("tuner.metrics")


class Metrics:
    """What a coordinator tells about itself and about the studies of its database."""

    def __init__(self, database: Database) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(StudyCollector(database))
        ProcessCollector(registry=self.registry)
        self._steps = Histogram(
            "ockham_step_seconds", "Time of a coordinator's step.", buckets=STEP_SECONDS, registry=self.registry
        )
        self._errors = Counter(
            "ockham_step_errors", "Steps that an error ended, by its kind.", ["kind"], registry=self.registry
        )

    @contextmanager
    def step(self) -> Iterator[None]:
        """Measure a step of the coordinator."""
        with self._steps.time():
            try:
                yield
            except Exception as error:
                self._errors.labels(type(error).__name__).inc()
                raise

    @contextmanager
    def served(self, address: str | None) -> Iterator[None]:
        """Answer on `address`, "PORT" (of this machine only) or "HOST:PORT"; None: nowhere.

        Raises:
            TunerError: the address cannot be had.
        """
        if address is None:
            yield
            return
        host, _, port = address.rpartition(":")
        try:
            server, thread = start_http_server(int(port), addr=host or LOOPBACK, registry=self.registry)
        except OSError as error:
            raise TunerError(
                f"Metrics cannot be served on {host or LOOPBACK}:{port}: {error.strerror or error}. "
                "Choose another port with TUNER_METRICS, or leave it unset to serve none."
            ) from error
        log.info("Metrics: http://%s:%d/metrics", *server.server_address[:2])
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class StudyCollector(Collector):
    """Studies that have not ended, read from the database each time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterable[Any]:
        """The families without values: registering them asks nothing of the database."""
        return self._families([])

    def collect(self) -> Iterable[Any]:
        """The families. Where the database cannot be read there are none, and `ockham_database_up` is 0."""
        up = GaugeMetricFamily("ockham_database_up", "1 where the database can be read, else 0.", value=1)
        try:
            with self._database.read() as s:
                live = overview.live_studies(s)
        except DatabaseError as error:
            log.warning("Metrics without studies: %s", error)
            up.samples.clear()
            up.add_metric([], 0)
            return [up]
        return [up, *self._families(live)]

    def _families(self, live: list[LiveStudy]) -> list[GaugeMetricFamily]:
        studies = GaugeMetricFamily("ockham_studies", "Studies that have not ended.", labels=["state"])
        served = GaugeMetricFamily("ockham_study_served", "1 where a coordinator runs the study.", labels=["study"])
        waiting = GaugeMetricFamily(
            "ockham_study_waits", "1 where the study is short of workers and has none.", labels=["study"]
        )
        planned = GaugeMetricFamily("ockham_trials_planned", "Trials of the study in all.", labels=["study"])
        trials = GaugeMetricFamily("ockham_trials", "Trials by state.", labels=["study", "state"])
        failed = GaugeMetricFamily("ockham_trials_failed", "Failed trials by cause.", labels=["study", "cause"])
        best = GaugeMetricFamily("ockham_best_objective", "Best value so far.", labels=["study", "objective"])
        for state in sorted({item.state for item in live}):
            studies.add_metric([state], sum(item.state == state for item in live))
        for item in live:
            served.add_metric([item.name], item.coordinator is not None)
            waiting.add_metric([item.name], item.waits is not None)
            planned.add_metric([item.name], item.planned)
            for state, count in sorted(item.counts.items()):
                trials.add_metric([item.name, state], count)
            for cause, count in sorted(item.failures.items()):
                failed.add_metric([item.name, cause], count)
            if item.best is not None:
                best.add_metric([item.name, item.objective], item.best[1])
        return [studies, served, waiting, planned, trials, failed, best]
