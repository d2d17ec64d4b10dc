"""Tests of running on Beam: which flags are whose, and what is said when a job raises."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import DirectOptions, StandardOptions

from beam_jobs import clusters, running
from beam_jobs.running import _run_watched, beam_options, log_path
from configs.commands import RunError, UserError


@pytest.mark.parametrize(("workers", "mode"), [(1, "in_memory"), (2, "multi_processing"), (7, "multi_processing")])
def test_more_than_one_worker_means_processes(workers, mode):
    direct = beam_options("DirectRunner", workers, [], []).view_as(DirectOptions)
    assert (direct.direct_num_workers, direct.direct_running_mode) == (workers, mode)


def test_no_worker_count_means_every_core():
    assert beam_options("DirectRunner", 0, [], []).view_as(DirectOptions).direct_num_workers >= 1


def test_beams_own_flags_win():
    flags = ["--direct_num_workers=3", "--direct_running_mode=multi_threading"]
    direct = beam_options("DirectRunner", 1, flags, []).view_as(DirectOptions)
    assert (direct.direct_num_workers, direct.direct_running_mode) == (3, "multi_threading")


def test_a_flag_that_neither_we_nor_beam_know_is_the_users_mistake():
    with pytest.raises(UserError) as caught:
        beam_options("DirectRunner", 1, ["--shrads=3"], ["--shards"])
    assert str(caught.value) == "unknown argument '--shrads'; did you mean '--shards'? (see --help)"
    with pytest.raises(UserError, match=r"'--job_nam'; did you mean '--job_name'\?"):
        beam_options("DirectRunner", 1, ["--job_nam=x"], ["--shards"])


def test_a_portable_runners_own_flags_are_left_to_it_after_two_dashes(monkeypatch):
    monkeypatch.setattr(clusters.shutil, "which", lambda name: name)  # as if Java were there
    options = beam_options("FlinkRunner", 1, [], [], ["--flink_odd_option=3"])
    assert options.view_as(StandardOptions).runner == "FlinkRunner"
    with pytest.raises(UserError, match=r"unknown argument '--shrads'; did you mean '--shards'\?"):
        beam_options("FlinkRunner", 1, ["--shrads=3"], ["--shards"])
    with pytest.raises(UserError, match="unknown argument '--flink_odd_option'"):
        beam_options("DirectRunner", 1, [], [], ["--flink_odd_option=3"])


def test_the_log_stands_beside_the_output():
    assert log_path(Path("data") / "records") == Path("data") / "records.log"


def test_an_error_of_the_job_is_one_line_with_its_cause_and_the_log(tmp_path, caplog):
    def job() -> None:
        raise RuntimeError("bundle failed\nTraceback …\nOSError: [Errno 28] No space left on device\n")

    with caplog.at_level(logging.CRITICAL), pytest.raises(RunError) as caught:
        _run_watched(job, lambda: None, tmp_path / "log")
    assert str(caught.value) == (
        "OSError: [Errno 28] No space left on device; run the same command to go on from here; "
        f"details in {tmp_path / 'log'}"
    )


def test_a_job_that_ends_well_is_silent_and_gives_the_excepthook_back(tmp_path):
    before = threading.excepthook
    ticks: list[int] = []
    _run_watched(lambda: None, lambda: ticks.append(1), tmp_path / "log")
    assert ticks
    assert threading.excepthook is before


def test_a_worker_thread_that_raises_ends_a_job_that_would_wait_for_ever(tmp_path, caplog):
    never = threading.Event()

    def die() -> None:
        raise RuntimeError("worker exited with code -9")

    def job() -> None:
        threading.Thread(target=die, name="run_worker", daemon=True).start()
        never.wait()

    with caplog.at_level(logging.CRITICAL), pytest.raises(RunError, match="a worker process died") as caught:
        _run_watched(job, lambda: None, tmp_path / "log")
    never.set()
    assert "run the same command to go on from here; details in" in str(caught.value)


def test_the_workers_that_are_killed_along_print_nothing_either(tmp_path, monkeypatch, caplog):
    # With two workers the death of one ends the other, whose own thread raises too, a moment later.
    heard: list[object] = []
    monkeypatch.setattr(threading, "excepthook", heard.append)
    never, killed = threading.Event(), threading.Event()

    def die(after: threading.Event | None) -> None:
        if after:
            after.wait()
        raise RuntimeError("worker exited with code -9")

    first = threading.Thread(target=die, args=[None], name="run_worker", daemon=True)
    second = threading.Thread(target=die, args=[killed], name="run_worker", daemon=True)

    def kill() -> None:
        killed.set()
        second.join()

    def job() -> None:
        second.start()
        first.start()
        never.wait()

    monkeypatch.setattr(running, "kill_workers", kill)
    with caplog.at_level(logging.CRITICAL), pytest.raises(RunError, match="a worker process died"):
        running._run_watched(job, lambda: None, tmp_path / "log")
    never.set()
    assert heard == []
