"""Studies that are run by chance, for what must hold of a sampler whatever happens to its trials."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, field, replace
from typing import Any

from search_spaces import Choice, Fixed, Float, Int, Lambda, Space
from tuner.samplers.points import random_point
from tuner.samplers.sampling import KINDS, Observation, Proposal, Sampler, available

USABLE = [kind for kind in KINDS if available(kind) is None]

FLAT = Space(
    {
        "units": Int(16, 256, log=True),
        "depth": Int(1, 7, step=2),
        "batch": Int(32, 128, log=True, step=2),
        "rate": Float(1e-4, 1e-1, log=True),
        "momentum": Float(0.0, 0.9, step=0.3),
        "l2": Lambda(1e-7, 1e-1),
        "activation": Choice(["relu", "elu", None]),
        "epochs": Fixed(5),
    }
)
BRANCHED = Space(
    {
        "optimizer": Choice(["adam", "sgd"]),
        "momentum": Float(0.0, 0.99),
        "nesterov": Choice([True, False]),
        "layers": Int(1, 3),
        "units_2": Int(4, 64),
        "l1": Lambda(),
    },
    {
        "momentum": {"optimizer": ["sgd"]},
        "nesterov": {"optimizer": ["sgd"], "layers": [2, 3]},
        "units_2": {"layers": [2, 3]},
    },
)
SPACES = {"flat": FLAT, "branched": BRANCHED}


@dataclass
class History:
    """A study that is run by chance: trials in parallel, finishing in any order and in any way."""

    space: Space
    kind: str
    seed: int
    direction: str = "minimize"
    size: int = 1  # points that are proposed together
    varied: tuple[str, ...] = ()  # parameters in which they may differ
    rows: dict[int, Observation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.sampler = Sampler(self.space, self.kind, self.seed, self.direction)

    def rebuilt(self) -> Sampler:
        """What a coordinator makes of the rows after a restart: everything went through JSON."""
        space = Space.from_json(json.loads(json.dumps(self.space.to_json(), sort_keys=True)))
        sampler = Sampler(space, self.kind, self.seed, self.direction)
        for number in sorted(self.rows):
            row = self.rows[number]
            params, notes = json.loads(json.dumps([row.params, row.notes], sort_keys=True))
            sampler.observe(replace(row, params=params, notes=notes))
        return sampler

    def proposed(self, sampler: Sampler) -> list[Proposal]:
        """What a sampler proposes next."""
        if self.size == 1:
            return [sampler.propose(len(self.rows))]
        return sampler.propose_together(len(self.rows), self.size, self.varied)

    def put(self, row: Observation) -> None:
        self.rows[row.number] = row
        self.sampler.observe(row)

    def step(self) -> None:
        """Start a trial, end one, or let one report; now and then lose a proposal before it has a row."""
        running = [row for row in self.rows.values() if row.state == "running"]
        if not running or (len(running) < 5 and self.draw.random() < 0.5):
            number = len(self.rows)
            if self.draw.random() < 0.2:
                self.proposed(self.sampler)  # the coordinator was killed before it wrote the rows
            if self.draw.random() < 0.1:
                proposals = [Proposal(random_point(self.space, self.draw.randrange(10**6)))]  # enqueued by the user
            else:
                proposals = self.proposed(self.sampler)
            for k, proposal in enumerate(proposals):
                self.put(Observation(number + k, "running", proposal.params, None, {}, proposal.notes))
            return
        row = self.draw.choice(running)
        state: Any = self.draw.choice(["complete", "complete", "complete", "pruned", "failed", "running"])
        value = self.draw.choice([self.draw.gauss(0, 1)] * 8 + [math.nan, math.inf, -math.inf])
        curve = {
            epoch: self.draw.choice([self.draw.random()] * 5 + [math.nan]) for epoch in range(self.draw.randint(0, 4))
        }
        self.put(replace(row, state=state, value=value if state == "complete" else None, curve=curve))
