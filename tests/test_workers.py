"""Several processes on this machine train as one process with as many replicas."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from configs.commands import UserError
from tests.conftest import cli_environment
from tests.runs import SMALL, last_step, read_rows, weights

# A batch of three: the second worker's share is filled up, and the last batch of an epoch is one image.
ONE_EPOCH = [*SMALL, "--set", "train.epochs=1", "--set", "train.batch_size=3", "--deterministic"]


@pytest.mark.parametrize(
    "config",
    ["", "{", '{"cluster": {}}', '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}'],
)
def test_a_missing_or_wrong_cluster_is_one_line(tensorflow_ready, monkeypatch, config):
    from model.workers import make_strategy

    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(UserError, match=r"TF_CONFIG is .*something like") as error:
        make_strategy("multi_worker")
    assert "\n" not in str(error.value)


def test_several_workers_need_a_named_run(tensorflow_ready):
    from model.train import main

    with pytest.raises(UserError, match="--run"):
        main(["--strategy", "multi_worker"])


def free_ports(count):
    """Ports of this machine that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start_worker(index, ports, folder, records):
    cluster = {
        "cluster": {"worker": [f"127.0.0.1:{port}" for port in ports]},
        "task": {"type": "worker", "index": index},
    }
    command = ["--data", records, "--run", folder, "--strategy", "multi_worker", *ONE_EPOCH]
    return subprocess.Popen(
        [sys.executable, "-m", "model.train", *map(str, command)],
        cwd=folder.parent,
        env=cli_environment({"TF_CONFIG": json.dumps(cluster)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_processes_are_two_replicas_in_one_process(run_cli, tiny_records, tmp_path):
    """Same losses, same scores, same weights; the first alone writes."""
    one = tmp_path / "one"
    flags = ["--data", tiny_records, "--run", one, "--strategy", "mirrored", "--logical-devices", 2, *ONE_EPOCH]
    finished = run_cli("model.train", *flags, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    two, ports = tmp_path / "two", free_ports(2)
    workers = [start_worker(index, ports, two, tiny_records) for index in range(2)]
    told = [worker.communicate(timeout=540) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], told
    assert "worker 1 of 2" in told[0][0]
    assert "best validation mIoU" in told[0][0]
    assert "best validation mIoU" not in told[1][0]
    (row,), (expected,) = read_rows(two), read_rows(one)
    for column in ("loss", "miou", "val_loss", "val_miou"):
        assert float(row[column]) == pytest.approx(float(expected[column]), rel=1e-4), column
    found, weights_of_one = weights(last_step(two)), weights(last_step(one))
    assert found.keys() == weights_of_one.keys()
    for name, value in weights_of_one.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    assert not list(tmp_path.glob("**/*.tmp"))
    assert os.path.isfile(two / "metrics.csv")
