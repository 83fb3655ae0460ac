"""A study's sampler as its coordinator uses it: an error in it is the study's end, and not the coordinator's."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from search_spaces import Space
from tuner.coordination import study_log
from tuner.definitions.definition import StudyDefinition
from tuner.samplers.costs import Cost
from tuner.samplers.sampling import Exhausted, Observation, Proposal, Sampler


class StudySampler:
    """Proposes points for a study until it has no more or fails."""

    def __init__(self, space: Space, definition: StudyDefinition, cost: Cost | None) -> None:
        self._study, self._kind = definition.name, definition.sampler
        self.exhausted: str | None = None  # why it has no more points, where it has none
        self.failure: str | None = None  # why there are no more although there should be
        with self._errors_kept():
            self._sampler = Sampler(space, definition.sampler, definition.seed, definition.direction, cost)

    def observe(self, observation: Observation) -> None:
        """Tell it how a configuration stands."""
        if self.failure is None:
            with self._errors_kept():
                self._sampler.observe(observation)

    def propose_together(self, number: int, size: int, varied: Collection[str]) -> list[Proposal]:
        """As `Sampler.propose_together`, but nothing where it has no more points or fails."""
        with self._errors_kept():
            return self._sampler.propose_together(number, size, varied)
        return []

    @contextmanager
    def _errors_kept(self) -> Iterator[None]:
        try:
            yield
        except Exhausted as exhausted:
            self.exhausted = str(exhausted)
        except MemoryError:  # is the coordinator's
            raise
        except Exception as error:
            self.failure = f"The sampler {self._kind!r} failed: {type(error).__name__}: {str(error).rstrip('.')}."
            study_log.sampler_failed(self._study, self.failure)
