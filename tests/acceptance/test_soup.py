"""A few runs of the soup of faults; `scripts/soup --seed N --runs N` stirs as many as one likes."""

from __future__ import annotations

import pytest

from tests import soup


@pytest.mark.parametrize("seed", [1, 2, 1022])
def test_nothing_is_lost_in_a_mixture_of_faults(seed: int) -> None:
    acts, problem = soup.run(seed)
    assert problem is None, f"{problem} in {acts}"
