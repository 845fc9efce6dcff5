"""The fixture itself: a real Slurm of several nodes on this machine."""

import pytest

pytestmark = pytest.mark.slow


def test_a_job_over_two_nodes_sees_its_hosts_and_gpus(cluster, tmp_path):
    script = "srun bash -c 'echo $(hostname) $SLURM_NODEID $CUDA_VISIBLE_DEVICES $(getent hosts node1)'"
    job = cluster.submit("-N2", "--gres=gpu:2", "-o", "%x-%j.out", "--wrap", script, cwd=tmp_path)
    assert cluster.wait(job)["JobState"] == "COMPLETED"
    assert sorted(cluster.log(job).splitlines()) == ["node1 0 0,1 127.0.1.1 node1", "node2 1 0,1 127.0.1.1 node1"]


def test_an_array_and_its_exit_codes_are_seen(cluster, tmp_path):
    script = "exit $((SLURM_ARRAY_TASK_ID == 2 ? 7 : 0))"
    job = cluster.submit("--array=0-3", "-o", "%A_%a.out", "--wrap", script, cwd=tmp_path)
    cluster.wait(job)
    assert sorted((j["ArrayTaskId"], j["ExitCode"]) for j in cluster.jobs(job)) == [
        ("0", "0:0"),
        ("1", "0:0"),
        ("2", "7:0"),
        ("3", "0:0"),
    ]
