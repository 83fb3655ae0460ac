"""A few runs of the soup of faults; `scripts/soup --seed N --runs N` stirs as many as one likes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import clusters, soup
from tests.clusters import Cluster


@pytest.mark.parametrize("seed", [1, 2, 1022])
def test_nothing_is_lost_in_a_mixture_of_faults(seed: int) -> None:
    acts, problem = soup.run(seed)
    assert problem is None, f"{problem} in {acts}"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with clusters.begun(soup.CPUS) as cluster:
        yield cluster


@pytest.mark.ray
@pytest.mark.every_fault
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_lost_on_a_cluster(seed: int, cluster: Cluster) -> None:
    acts, problem = soup.run(seed, cluster=cluster)
    assert problem is None, f"{problem} in {acts}"
