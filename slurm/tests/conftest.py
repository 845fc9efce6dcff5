"""The real Slurm that the job scripts are tried on: one cluster of three nodes for all tests of a session."""

import os
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster, copy_of_the_project, why_not


@pytest.fixture(scope="session")
def make_cluster():
    """make_cluster(nodes=8): a cluster of its own, stopped at the end. Where Slurm is absent the test is
    skipped, but in CI it fails."""
    reason = why_not()
    if reason and os.environ.get("CI"):
        pytest.fail(f"{reason}; in CI these tests are not skipped")
    if reason:
        pytest.skip(reason)
    started = []

    def make(**arguments) -> SlurmCluster:
        started.append(SlurmCluster(**arguments))
        return started[-1].start()

    yield make
    for cluster in started:
        cluster.stop()


@pytest.fixture(scope="session")
def shared_cluster(make_cluster) -> SlurmCluster:
    return make_cluster(nodes=3)


@pytest.fixture
def cluster(shared_cluster) -> SlurmCluster:
    """The session's cluster, without jobs and with all its nodes."""
    yield shared_cluster
    shared_cluster.clean_up()


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project to submit from, so that logs and results of the tests leave the real one alone."""
    return copy_of_the_project(tmp_path_factory.mktemp("project"))
