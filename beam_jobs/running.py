"""Running the build on Beam: the in-process runner with all cores, or a cluster; progress, and a watchdog.

``--runner DirectRunner`` means Beam's in-process Fn API runner (under its own name Beam 2.77 first tries
to download another one); other runners stand in clusters.py. Beam writes hundreds of lines; they go to a log
file, and people see one bar and, when something breaks, one line.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr
from pathlib import Path
from typing import NoReturn

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner

from beam_jobs.clusters import cluster_options, cluster_runner
from beam_jobs.plan import Plan, progress_path
from beam_jobs.shards import BuildShard, sidecar_path
from beam_jobs.storage import is_remote
from configs.commands import RunError, UserError, native_stderr_to, progress_bar, refuse_unknown

IN_PROCESS = "DirectRunner"
_POLL_S = 0.2


def beam_options(
    runner: str, workers: int, flags: Sequence[str], known: Sequence[str], cluster_flags: Sequence[str] = ()
) -> PipelineOptions:
    """Beam's options for a runner.

    Args:
      runner: its name, as after ``--runner``.
      workers: processes of the in-process runner, 0 for one a core.
      flags: Beam's own.
      known: our own flags, to suggest when one is mistyped.
      cluster_flags: what only a cluster's job server can judge.

    Raises:
      UserError: a flag that neither we nor Beam know (Beam only warns); no such runner, or a job server that
        could not start.
    """
    parser = _beam_parser()
    unknown = parser.parse_known_args([*flags, *(cluster_flags if runner == IN_PROCESS else ())])[1]
    if unknown:
        refuse_unknown(unknown, [*known, *parser._option_string_actions])
    if runner != IN_PROCESS:
        return cluster_options(runner, [*flags, *cluster_flags])
    flags = [*flags, *cluster_flags]
    workers = workers or len(
        os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    )
    given = {flag.split("=")[0] for flag in flags}
    chosen = [*flags]
    if "--direct_num_workers" not in given:
        chosen.append(f"--direct_num_workers={workers}")
    if "--direct_running_mode" not in given:
        chosen.append(f"--direct_running_mode={'multi_processing' if workers > 1 else 'in_memory'}")
    return PipelineOptions(chosen)


def run_build(output: Path, plan: Plan, pending: Sequence[int], options: PipelineOptions, runner: str) -> None:
    """Build the pending shards (numbers) of the plan whose folder is below ``output``.

    Raises:
      RunError: a worker died or raised; what is built stays and the same command goes on from there.
    """
    log = log_path(plan.options.output)  # also when the build is in a sibling folder, to be exchanged at its end

    with (
        _logging_to(log),
        _ended_by_sigterm(),
        _runner(runner, options, log) as made,
        _Progress(output, plan, pending) as progress,
    ):

        def job() -> None:
            pipeline = beam.Pipeline(runner=made, options=options)
            numbers = pipeline | "Shards" >> beam.Create(list(pending), reshuffle=False)
            numbers | "Spread" >> beam.Reshuffle() | "Build" >> beam.ParDo(BuildShard(str(output)))
            result = pipeline.run()
            result.wait_until_finish()

        # A worker in this process prints its tracebacks; the bar has its own way to the terminal by now.
        with open(log, "a", encoding="utf-8") as file, redirect_stderr(file):
            _run_watched(job, progress.update, log)


def _runner(name: str, options: PipelineOptions, log: Path) -> AbstractContextManager[PipelineRunner]:
    return nullcontext(FnApiRunner()) if name == IN_PROCESS else cluster_runner(name, options, log)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM, by which schedulers end a job, does as Ctrl-C does, so that no Java process is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def log_path(output: Path) -> Path:
    """Where Beam's own lines go: beside the output folder, so that the folder holds data only.

    For an output on an object store, in the working folder.
    """
    return Path(f"{output.name}.log") if is_remote(output) else output.with_name(output.name + ".log")


def _beam_parser():  # type: ignore[no-untyped-def]
    """A parser of all of Beam's options, made as `PipelineOptions` makes it for itself."""
    from apache_beam.options.pipeline_options import _BeamArgumentParser

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message} (Beam's own option)")

    parser = _BeamArgumentParser(allow_abbrev=False)
    parser.error = refuse
    pending = [PipelineOptions]
    while pending:
        options = pending.pop()
        pending += options.__subclasses__()
        if "_add_argparse_args" in options.__dict__:
            options._add_argparse_args(parser)
    return parser


def _run_watched(job: Callable[[], None], tick: Callable[[], None], log: Path) -> None:
    """Run ``job`` in a thread; end it when a worker process dies, for which Beam would wait for ever.

    Beam keeps a thread for each worker process that raises when the process ends badly; that exception
    has no other listener than `threading.excepthook`.
    """
    failure: list[BaseException] = []
    finished, worker_died = threading.Event(), threading.Event()

    def run() -> None:
        try:
            job()
        except BaseException as error:
            logging.getLogger(__name__).exception("the job failed")
            failure.append(error)
        finally:
            finished.set()

    def on_thread_exception(event: threading.ExceptHookArgs) -> None:
        if worker_died.is_set():
            return  # the others, which are killed along; the log may be closed by then
        _log_thread_exception(event)
        if event.thread and event.thread.name == "run_worker":
            worker_died.set()

    previous, threading.excepthook = threading.excepthook, on_thread_exception
    try:
        threading.Thread(target=run, name="build", daemon=True).start()
        while not finished.wait(_POLL_S) and not worker_died.is_set():
            tick()
        tick()
    except BaseException:
        worker_died.set()
        kill_workers()
        raise
    if worker_died.is_set() or failure:
        # Our hook stays: the threads of killed workers raise when nobody waits for them any more.
        died = worker_died.is_set()
        worker_died.set()
        kill_workers()
        cause = "a worker process died (out of memory, perhaps: try fewer --workers)" if died else _cause(failure[0])
        raise RunError(f"{cause}; run the same command to go on from here; details in {log}")
    threading.excepthook = previous


def _cause(error: BaseException) -> str:
    """The one line of a Beam failure, hundreds of lines long, that says what happened."""
    if isinstance(error, grpc.RpcError):
        return f"the job server does not answer ({error.code().name}): killed, or out of memory?"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Changed)\b", line)]
    return (telling or lines or [repr(error)])[-1]


def kill_workers() -> None:
    """Kill all processes that descend from this one; without a /proc they end with their connection."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(status.parent.name))
        except (OSError, ValueError, IndexError):
            continue
    pending = children.get(os.getpid(), [])
    while pending:
        pid = pending.pop()
        pending += children.get(pid, [])
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue


@contextmanager
def _logging_to(log: Path) -> Iterator[None]:
    """Send all logging, which Beam's workers' is relayed to, to a new file; native output and dying threads too."""
    handler = logging.FileHandler(log, mode="w")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    previous, root.handlers, level = root.handlers, [handler], root.level
    root.setLevel(logging.INFO)
    hook, threading.excepthook = threading.excepthook, _log_thread_exception
    with native_stderr_to(log):
        yield
    # Not after a failure: Beam's threads outlive it and go on telling of it, which belongs into the log too.
    root.handlers = previous
    root.setLevel(level)
    threading.excepthook = hook
    handler.close()


def _log_thread_exception(event: threading.ExceptHookArgs) -> None:
    logging.getLogger(__name__).error("thread %s: %r", event.thread, event.exc_value)


class _Progress:
    """A bar that counts images: finished shards from their sidecars, running ones from their progress files."""

    def __init__(self, output: Path, plan: Plan, pending: Sequence[int]) -> None:
        self._output, self._pending = output, set(pending)
        self._sizes = {index: len(plan.shards[index].pairs) for index in pending}
        self._total = sum(self._sizes.values())
        self._bar = progress_bar(self._total, "image", "building")
        self._files = {index: plan.shards[index].file for index in pending}
        self._finished = 0

    def __enter__(self) -> _Progress:
        return self

    def update(self) -> None:
        """Look at the files and move the bar. On an object store each look would be a request for each shard."""
        if is_remote(self._output):
            return
        running = 0
        for index in list(self._pending):
            if sidecar_path(self._output, self._files[index]).exists():
                self._pending.remove(index)
                self._finished += self._sizes[index]
                continue
            try:
                running += os.stat(progress_path(self._output, index)).st_size
            except OSError:
                continue
        self._bar.update(max(0, min(self._finished + running, self._total) - int(self._bar.n)))

    def __exit__(self, *_: object) -> None:
        self._bar.close()
