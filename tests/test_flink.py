"""Tests of the build on a cluster: options of its runners, the job server's life, and a build on embedded Flink.

The tests marked ``flink`` need Java and the job server that ``make flink-jar`` fetches.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import grpc
import pytest
from apache_beam.options.pipeline_options import JobServerOptions
from apache_beam.runners.portability.job_server import StopOnExitJobServer

from beam_jobs import clusters
from beam_jobs.clusters import cluster_runner
from beam_jobs.running import _cause, _ended_by_sigterm, beam_options
from configs.commands import RunError, UserError
from pipelines.manifest import FILE_NAME
from tests.builds import arguments_for, without_bars
from tests.conftest import REPOSITORY, cli_environment
from tests.streets import shard_hashes

JAR = REPOSITORY / ".jars" / "flink-job-server.jar"
LOCAL = ["--runner", "FlinkRunner", "--flink_master=[local]", "--environment_type=LOOPBACK"]


@pytest.fixture
def java(monkeypatch):
    """Java as the options' check sees it, whether or not there is one."""
    monkeypatch.setattr(clusters.shutil, "which", lambda name: f"/bin/{name}" if name == "java" else None)


@pytest.fixture(scope="module")
def flink() -> list[str]:
    """The flags of a build on embedded Flink, or a skip."""
    if not shutil.which("java"):
        pytest.skip("there is no java")
    if not JAR.is_file():
        pytest.skip("there is no job server; make flink-jar fetches it")
    return [*LOCAL, f"--flink_job_server_jar={JAR}"]


def jvm_properties(runner: str, *flags: str) -> list[str]:
    return beam_options(runner, 0, flags, []).view_as(JobServerOptions).job_server_jvm_properties


@pytest.mark.parametrize("runner", ["FlinkRunner", "flink", "SparkRunner"])
def test_java_17_is_told_to_open_what_the_runner_reflects_into(java, runner):
    properties = jvm_properties(runner)
    assert "--add-opens=java.base/java.util=ALL-UNNAMED" in properties
    assert "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED" in properties
    assert len(set(properties)) == 12


def test_the_users_own_properties_of_the_job_server_win(java):
    assert jvm_properties("FlinkRunner", "--job_server_jvm_properties=-Xmx1g") == ["-Xmx1g"]


def test_a_job_server_that_runs_elsewhere_needs_no_java_and_no_jar(monkeypatch):
    monkeypatch.setattr(clusters.shutil, "which", lambda name: None)
    assert jvm_properties("FlinkRunner", "--job_endpoint=host:8099", "--flink_job_server_jar=none.jar") == []


@pytest.mark.parametrize(
    ("runner", "flags", "message"),
    [
        ("FlinkRuner", [], "--runner FlinkRuner: there is no such runner; did you mean 'FlinkRunner'?"),
        ("no_such.module.Runner", [], "--runner no_such.module.Runner: No module named 'no_such'"),
        ("FlinkRunner", ["--parallelism=x"], "argument --parallelism: invalid int value: 'x' (Beam's own option)"),
        (
            "FlinkRunner",
            ["--flink_job_server_jar=none.jar"],
            "--flink_job_server_jar none.jar: no such file (make flink-jar fetches Flink's)",
        ),
        (
            "SparkRunner",
            ["--spark_job_server_jar", __file__],
            f"--spark_job_server_jar {__file__}: not a jar (make flink-jar fetches Flink's)",
        ),
        (
            "FlinkRunner",
            ["--job_server_java_launcher=jawa"],
            "--runner FlinkRunner: its job server needs Java, and there is no 'jawa' on the PATH; "
            "install a Java runtime (11 or newer), or name one with --job_server_java_launcher",
        ),
    ],
)
def test_what_cannot_run_is_the_users_mistake(java, runner, flags, message):
    with pytest.raises(UserError) as caught:
        beam_options(runner, 0, flags, [])
    assert str(caught.value) == message


def test_a_wrong_value_of_beams_own_option_is_one_line_with_the_in_process_runner_too():
    with pytest.raises(UserError, match=r"^argument --direct_num_workers: invalid int value: 'x' \("):
        beam_options("DirectRunner", 1, ["--direct_num_workers=x"], [])


class JobServer:
    """A job server that writes down what happens to it."""

    def __init__(self, life: list[str], fault: Exception | None = None) -> None:
        self.life, self.fault = life, fault

    def start(self) -> str:
        self.life.append("start")
        if self.fault:
            raise self.fault
        return "service"

    def stop(self) -> None:
        self.life.append("stop")


def flink_with(monkeypatch: pytest.MonkeyPatch, server: JobServer) -> list[str]:
    """Make Flink's runner start that server; returns the folders that its Java would use for temporary files."""
    scratch: list[str] = []

    def default_job_server(_: object, options: JobServerOptions) -> StopOnExitJobServer:
        first = options.view_as(JobServerOptions).job_server_jvm_properties[0]
        scratch.append(first.removeprefix("-Djava.io.tmpdir="))
        return StopOnExitJobServer(server)

    monkeypatch.setattr(
        "apache_beam.runners.portability.flink_runner.FlinkRunner.default_job_server", default_job_server
    )
    return scratch


def test_the_job_server_lives_as_long_as_the_job_and_leaves_nothing(java, monkeypatch, tmp_path):
    life: list[str] = []
    scratch = flink_with(monkeypatch, JobServer(life))
    handler = signal.getsignal(signal.SIGINT)
    with cluster_runner("FlinkRunner", beam_options("FlinkRunner", 0, [], []), tmp_path / "log"):
        life.append("job")
        assert Path(scratch[0]).is_dir()
    assert life == ["start", "job", "stop"]
    assert not Path(scratch[0]).exists()
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_job_server_that_does_not_start_is_one_line_and_is_ended(java, monkeypatch, tmp_path):
    life: list[str] = []
    scratch = flink_with(monkeypatch, JobServer(life, RuntimeError("Service failed to start up with error 1")))
    options = beam_options("FlinkRunner", 0, [], [])
    with pytest.raises(RunError) as caught, cluster_runner("FlinkRunner", options, tmp_path / "log"):
        pytest.fail("the job ran")
    assert str(caught.value) == (
        "the job server of FlinkRunner did not start (Service failed to start up with error 1); "
        f"details in {tmp_path / 'log'}"
    )
    assert life == ["start", "stop"]
    assert not Path(scratch[0]).exists()


def test_a_job_server_that_went_away_is_told_in_words():
    class GoneError(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.UNAVAILABLE

    assert _cause(GoneError()) == "the job server does not answer (UNAVAILABLE): killed, or out of memory?"


def test_sigterm_ends_a_build_as_ctrl_c_does():
    handler = signal.getsignal(signal.SIGTERM)
    with _ended_by_sigterm(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is handler


@pytest.mark.flink
@pytest.mark.slow
def test_flink_writes_the_same_bytes(tmp_path, streets, command, run_cli, flink):
    assert command(*arguments_for(streets, tmp_path / "direct"))[0] == 0
    done = run_cli("beam_jobs.build_records", *arguments_for(streets, tmp_path / "flink", *flink), cwd=tmp_path)
    assert (done.returncode, without_bars(done.stderr)) == (0, "")
    assert f"9 records in {tmp_path / 'flink'} in " in done.stdout
    assert len(shard_hashes(tmp_path / "flink")) == 4
    assert shard_hashes(tmp_path / "flink") == shard_hashes(tmp_path / "direct")
    direct, on_flink = (json.loads((tmp_path / name / FILE_NAME).read_text()) for name in ("direct", "flink"))
    assert "--runner FlinkRunner" in on_flink.pop("command_line")
    direct.pop("command_line")
    assert on_flink == direct
    assert "Flink Mini Cluster" in (tmp_path / "flink.log").read_text()


@pytest.mark.flink
@pytest.mark.slow
def test_a_fault_on_flink_is_one_line_and_the_same_command_goes_on(tmp_path, streets, run_cli, flink):
    output = tmp_path / "out"
    arguments = arguments_for(streets, output, *flink)
    program = (
        "import os, sys; from beam_jobs import shards, build_records; from configs.commands import run_command\n"
        "def full(record): raise OSError(28, 'No space left on device')\n"
        "shards.serialize = full; status = run_command(build_records.main); sys.stdout.flush(); os._exit(status)"
    )
    words = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(words, env=cli_environment(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert without_bars(done.stderr) == (
        "failed: RuntimeError: OSError: [Errno 28] No space left on device [while running 'Build']; "
        f"run the same command to go on from here; details in {tmp_path / 'out.log'}"
    )
    assert not (output / FILE_NAME).exists()
    done = run_cli("beam_jobs.build_records", *arguments, cwd=tmp_path)
    assert (done.returncode, without_bars(done.stderr)) == (0, "")


def java_of(pid: int) -> int:
    """The Java process that a process started."""
    children = [child for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]
    (java,) = [child for child in children if b"-jar" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")]
    return int(java)


@pytest.mark.flink
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the Java process in /proc")
@pytest.mark.parametrize("moment", ["Really starting service", "Starting job invocation"])
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_build_takes_its_java_process_along(tmp_path, streets, flink, stop, moment):
    log, scratch = tmp_path / "out.log", tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "beam_jobs.build_records", *map(str, arguments_for(streets, tmp_path / "out", *flink))],
        env=cli_environment({"TMPDIR": str(scratch)}),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while not log.exists() or moment not in log.read_text():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        time.sleep(0.2)
        java = java_of(process.pid)
        process.send_signal(stop)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, without_bars(err)) == (75, "stopped by a signal")
    assert not Path(f"/proc/{java}").exists() or ") Z " in Path(f"/proc/{java}/stat").read_text()
    assert not [path for path in scratch.iterdir() if path.name.startswith(("streetmask-", "beam-temp"))]


def test_a_file_that_is_no_job_server_fails_before_the_job(tmp_path, streets, run_cli):
    if not shutil.which("java"):
        pytest.skip("there is no java")
    with zipfile.ZipFile(tmp_path / "odd.jar", "w") as jar:
        jar.writestr("readme", "no class here")
    flags = [*LOCAL, "--flink_job_server_jar=odd.jar"]
    done = run_cli("beam_jobs.build_records", *arguments_for(streets, tmp_path / "out", *flags), cwd=tmp_path)
    assert done.returncode == 1
    assert without_bars(done.stderr) == (
        "failed: the job server of FlinkRunner did not start (Service failed to start up with error 1); "
        f"details in {tmp_path / 'out.log'}"
    )
    assert "Invalid or corrupt jarfile odd.jar" in (tmp_path / "out.log").read_text()
