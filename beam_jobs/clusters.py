"""Runners on a cluster, Flink and Spark: their options checked before any work, their job server for the time of a job.

Beam starts a job server for them, a Java process. It is ours while the job runs and leaves nothing behind.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    SparkRunnerOptions,
    StandardOptions,
)
from apache_beam.runners.portability.job_server import SubprocessJobServer
from apache_beam.runners.runner import PipelineRunner, create_runner

from configs.commands import RunError, UserError, did_you_mean

_JARS = {
    "FlinkRunner": (FlinkRunnerOptions, "flink_job_server_jar"),
    "SparkRunner": (SparkRunnerOptions, "spark_job_server_jar"),
}
"""Runner → the option that names the jar of its job server."""
_OPENED = (
    *("java.io", "java.lang", "java.lang.reflect", "java.net", "java.nio", "java.text", "java.time", "java.util"),
    *("java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks", "sun.nio.ch"),
)
"""Packages into which Flink's and Spark's serializers reflect; Java 17 keeps them shut unless told."""


def cluster_options(runner: str, flags: Sequence[str]) -> PipelineOptions:
    """Options of a runner that is checked to be there, with what its job server needs."""
    try:
        kind = type(create_runner(runner)).__name__
    except ImportError as error:
        raise UserError(f"--runner {runner}: {error}") from None
    except (ValueError, AttributeError):
        names = StandardOptions.KNOWN_RUNNER_NAMES
        raise UserError(f"--runner {runner}: there is no such runner{did_you_mean(runner, names)}") from None
    options = PipelineOptions([f"--runner={runner}", *flags])
    if kind not in _JARS or options.view_as(PortableOptions).job_endpoint:
        return options
    server = options.view_as(JobServerOptions)
    if not shutil.which(server.job_server_java_launcher):
        raise UserError(
            f"--runner {runner}: its job server needs Java, and there is no '{server.job_server_java_launcher}' "
            "on the PATH; install a Java runtime (11 or newer), or name one with --job_server_java_launcher"
        )
    view, name = _JARS[kind]
    jar = getattr(options.view_as(view), name)
    if jar and "://" not in jar and not zipfile.is_zipfile(jar):
        what = "not a jar" if Path(jar).exists() else "no such file"
        raise UserError(f"--{name} {jar}: {what} (make flink-jar fetches Flink's)")
    server.job_server_jvm_properties = server.job_server_jvm_properties or [
        f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED
    ]
    return options


@contextmanager
def cluster_runner(name: str, options: PipelineOptions, log: Path) -> Iterator[PipelineRunner]:
    """The runner; a job server that it needs on this machine runs during the block and leaves nothing behind.

    Beam would end that Java process in an exit handler, which our command skips, and in a handler of Ctrl-C,
    which cannot be set in the job's thread; so the server is taken out of Beam's wrapper and is ours.

    Raises:
      RunError: the job server did not start.
    """
    runner = create_runner(name)
    with ExitStack() as cleanup:
        if hasattr(runner, "default_job_server") and not options.view_as(PortableOptions).job_endpoint:
            # Flink leaves some 30 MB in its temporary folder, however it ends.
            scratch = cleanup.enter_context(
                tempfile.TemporaryDirectory(prefix="streetmask-", ignore_cleanup_errors=True)
            )
            java = options.view_as(JobServerOptions)
            java.job_server_jvm_properties = [f"-Djava.io.tmpdir={scratch}", *java.job_server_jvm_properties]
            try:
                server = getattr(runner.default_job_server(options), "_job_server", None)
                if server:
                    cleanup.callback(_stop, server)
                    service = server.start()
                    runner.create_job_service = lambda options: runner.create_job_service_handle(service, options)
            except Exception as error:
                raise RunError(f"the job server of {name} did not start ({error}); details in {log}") from error
        yield runner


def _stop(server: SubprocessJobServer) -> None:
    with suppress(AttributeError):  # Beam's, of a server that never became a process
        server.stop()
