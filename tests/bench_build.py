"""Benchmark of the record builder: prints a table, writes it to docs/performance.md, ends with one line per bar.

    make bench-build          (or: python -m tests.bench_build --folder data/bench --images 4000)

Everything is measured in one run, one after the other, on images of 1920×1080 (tests/bench_data.py):

- what people use: ``cityscapesscripts`` draws and writes a mask, then a DeepLab-style writer reads image and
  mask and writes an Example, one process, first over a part of the images;
- a plain process pool over our own per-shard function: what Beam may cost is the difference;
- the command itself, start-up included, and again for more and fewer images with its memory.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from beam_jobs.options import BuildOptions
from beam_jobs.plan import Plan, make_plan, read_plan, write_plan
from beam_jobs.scan import scan
from beam_jobs.shards import build_shard, tune_process
from configs.commands import ArgumentParser, progress_bar, run_command, say
from configs.taxonomy import load_taxonomy
from tests.bench_data import make_images
from tests.bench_report import Bar, Report

TAXONOMY = "cityscapes19"
PEER_IMAGES = 300
SIZES = (400, 2000, 8000)
_PEERS = " (`make bench-build` installs the peers)"
REPEATS = 3


class Measured(NamedTuple):
    """Seconds of a whole run, seconds from its first record to its last, and bytes of its largest process."""

    whole_s: float
    working_s: float
    peak_bytes: int


def run_ours(images: Path, output: Path, workers: int) -> Measured:
    """The command in a process of its own, watched from outside."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "beam_jobs.build_records", "--input", str(images), "--output", str(output)]
    command += ["--set", f"taxonomy={TAXONOMY}", "--workers", str(workers)]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak, first, last = 0, 0.0, 0.0
    while process.poll() is None:
        peak = max([peak, *(_resident(pid) for pid in _family(process.pid))])
        now = time.monotonic()
        if not first and any(_size(path) for path in (output / "plan").glob("*.progress")):
            first = now
        if not (output / "manifest.json").exists() and (output / "plan").exists():
            last = now
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"the build failed with exit code {process.returncode}; see {output}.log")
    return Measured(time.monotonic() - started, last - first, peak)


def run_pool(images: Path, output: Path, workers: int) -> float:
    """Seconds of a plain pool over `build_shard`, from its first record to its last; workers are warm before."""
    shutil.rmtree(output, ignore_errors=True)
    plan = make_plan(scan(images), images, load_taxonomy(TAXONOMY), BuildOptions(input=images), "")
    write_plan(output, plan)
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(_warm, [str(output)] * workers * 4))
        started = time.monotonic()
        list(pool.map(_build, [str(output)] * len(plan.shards), range(len(plan.shards))))
        return time.monotonic() - started


_plans: dict[str, Plan] = {}


def _warm(output: str) -> None:
    tune_process()
    _plans[output] = read_plan(Path(output))
    time.sleep(0.1)  # long enough that each worker gets one


def _build(output: str, index: int) -> int:
    plan = _plans.get(output) or _plans.setdefault(output, read_plan(Path(output)))
    return build_shard(plan, Path(output), index).records


def run_peer(images: Path, output: Path, count: int, peers: Path) -> float:
    """Seconds of the two scripts that people use, for this many images, without their start-up."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": f"{peers}:{os.getcwd()}", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "tests.bench_peer_build", str(images), str(output), str(count)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the peer failed: {done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def measure_speed(folder: Path, count: int, workers: int, peers: Path) -> Report:
    """Ours, a plain pool and what people use, as a report with its bars."""
    report = Report("Building records", f"python -m tests.bench_build --images {count} --workers {workers}`{_PEERS}")
    images = make_images(folder / f"images{count}", count)
    output = folder / "out"
    peer_s, pool_s, ours = [], [], []
    bar = progress_bar(3 * REPEATS, "run", "measuring speed")
    for _ in range(REPEATS):  # in turn, so that a machine whose speed drifts drifts for all
        peer_s.append(run_peer(images, folder / "peer", PEER_IMAGES, peers) / PEER_IMAGES)
        bar.update()
        pool_s.append(run_pool(images, output, workers) / count)
        bar.update()
        ours.append(run_ours(images, output, workers))
        bar.update()
    bar.close()
    peer, pool = statistics.median(peer_s), statistics.median(pool_s)
    whole = statistics.median(run.whole_s for run in ours) / count
    working = statistics.median(run.working_s for run in ours) / count
    report.row("cityscapesscripts + DeepLab-style writer, one process", f"{1 / peer:.1f}", "1.0")
    report.row("a plain process pool, first record to last", f"{1 / pool:.1f}", f"{peer / pool:.2f}")
    report.row("build_records, first record to last", f"{1 / working:.1f}", f"{peer / working:.2f}")
    report.row("build_records, start-up included", f"{1 / whole:.1f}", f"{peer / whole:.2f}")
    report.bar(Bar("build_vs_peer", peer / whole, 4.5))
    report.bar(Bar("build_vs_pool", pool / working, 0.9))
    shutil.rmtree(images)
    shutil.rmtree(output)
    return report


def measure_sizes(folder: Path, sizes: Sequence[int], workers: int) -> Report:
    """Memory, and time an image, of small and large sets, as a report with its bars."""
    listed = " ".join(map(str, sizes))
    report = Report(
        "Building few and many", f"python -m tests.bench_build --workers {workers} --sizes {listed}`{_PEERS}"
    )
    order = [*sizes, *reversed(sizes[:-1])]  # up and down again: the drift of the machine's speed weighs less so
    runs: dict[int, list[Measured]] = {size: [] for size in sizes}
    bar = progress_bar(len(order), "run", "measuring sizes")
    for size in order:
        images = make_images(folder / f"images{size}", size)
        runs[size].append(run_ours(images, folder / "out", workers))
        shutil.rmtree(images)
        bar.update()
    bar.close()
    memory = {size: max(run.peak_bytes for run in runs[size]) / 1e6 for size in sizes}
    pace = {size: statistics.mean(run.working_s for run in runs[size]) / size for size in sizes}
    for size in sizes:
        what = (
            f"{size} images: {pace[size] * 1e3:.2f} ms an image, first to last; largest process {memory[size]:.0f} MB"
        )
        report.row(what, f"{1 / pace[size]:.1f}", f"{pace[sizes[0]] / pace[size]:.2f}")
    report.bar(Bar("memory_mb", max(memory.values()), 500.0, at_most=True))
    report.bar(Bar("memory_spread", max(memory.values()) / min(memory.values()), 1.1, at_most=True))
    report.bar(Bar("time_spread", max(pace.values()) / min(pace.values()), 1.1, at_most=True))
    shutil.rmtree(folder / "out")
    return report


def _family(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        threads = [path.name for path in Path(f"/proc/{pid}/task").iterdir() if path.name != str(pid)]
        for thread in threads:
            children += Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _family(int(child))


def _resident(pid: int) -> int:
    """The most bytes that a process has held in memory so far."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
    except (OSError, ValueError):
        return 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print and write the report."""
    parser = ArgumentParser(prog="python -m tests.bench_build", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("data/bench"), help="for images and records (5 GB)")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--peers", type=Path, default=Path(".peers/build"), help="where the peers are installed")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="images of the runs for memory and time")
    parser.add_argument("--only", choices=["speed", "sizes"], help="measure one half")
    options = parser.parse_args(argv)
    reports = []
    if options.only != "sizes":
        reports.append(measure_speed(options.folder, options.images, options.workers, options.peers))
    if options.only != "speed":
        reports.append(measure_sizes(options.folder, options.sizes, options.workers))
    for report in reports:
        report.write(Path("docs/performance.md"))
    for report in reports:
        for line in report.lines():
            say(line)


if __name__ == "__main__":
    sys.exit(run_command(main))
