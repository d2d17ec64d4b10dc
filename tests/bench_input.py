"""Benchmark of the input pipeline: a table, written to docs/performance.md too, and one line per bar.

    make bench-input          (or: python -m tests.bench_input --only loader)

In one run, in turn, medians, batches of 8 at 512×512 from the same 200 scenes (tests/bench_data.py):

- the article's loader (tests/bench_peer_input.py) on 1080p JPEGs and PNGs;
- bare parallel decoding: image and mask of the very bytes that the records hold, from memory, in any order, thrown away
  at once; for 1080p with the antialiased resize that the size asks for;
- `training_batches` from records stored at 512×512, from records of 1080p, and from its caches.

Then augmentation against its peers (tests/bench_augment.py).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import tensorflow as tf

from beam_jobs.build_records import build
from beam_jobs.options import BuildOptions
from configs.commands import ArgumentParser, run_command, say
from configs.memory import keep_freed_memory
from pipelines.dataset import Records, open_records
from pipelines.fitting import Fitting, fit
from pipelines.input import DataOptions, training_batches, training_cache
from pipelines.records import decode_example, parse_example, read_records
from tests.bench_data import make_images
from tests.bench_report import Bar, Report

SCENES = 200
SIZE, BATCH = (512, 512), 8
PEER_IMAGES = 80
REPEATS = 5
ENDINGS = 20
PEER = "tests/bench_peer_input.py"


def make_records(folder: Path) -> tuple[Records, Records]:
    """Records of the scenes at 1080p and at 512×512, and the same as flat folders of files for the peer."""
    scenes, full, small = folder / "scenes", folder / "records1080", folder / "records512"
    make_images(scenes, SCENES)
    options = BuildOptions(input=scenes, output=full, taxonomy="cityscapes19")
    build(options)  # does nothing when they are there
    build(options.model_copy(update={"output": small, "resize": SIZE, "resize_mode": "stretch"}))
    records = open_records(full)
    stored = (record for shard in records.shards("train") for record in read_records(full / shard.file))
    for index, record in enumerate(stored):
        for kind, data in (("images", record.image), ("masks", record.mask)):
            path = folder / "peer" / kind / f"{index:04d}{'.jpg' if kind == 'images' else '.png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return records, open_records(small)


def run_peer(folder: Path, python: Path) -> float:
    """Images a second of the article's loader, in a process of its own."""
    command = [str(python), PEER, str(folder / "peer/images"), str(folder / "peer/masks"), str(PEER_IMAGES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the peer failed: {done.stderr[-2000:]}")
    return PEER_IMAGES / float(done.stdout.split()[-1])


def decoding(records: Records, fitting: Fitting | None, epochs: int) -> Callable[[], float]:
    """A measurement of bare parallel decoding, in images a second; with a fitting, of decoding and resizing."""
    reader = records.reader("train")
    stored = [parse_example(tf.constant(reader.read(number))) for number in range(len(reader))]
    features = {key: tf.stack([one[key] for one in stored]) for key in stored[0]}

    def decode(features: dict[str, tf.Tensor]) -> tf.Tensor:
        image, mask = decode_example(features)
        if fitting:
            image, mask = fit(image, mask, fitting)
        return image[0, 0, 0] + mask[0, 0]  # one pixel: nothing is copied, and nothing can be left out

    batches = (
        tf.data.Dataset.from_tensor_slices(features)
        .repeat(epochs)
        .map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
        .batch(BATCH, drop_remainder=True)
    )
    return lambda: pace(batches)


def loading(records: Records, options: DataOptions, epochs: int) -> Callable[[], float]:
    """A measurement of `training_batches` over some epochs, in images a second."""
    batches = training_batches(
        records,
        options,
        lambda: (0, 0),
        batch_size=BATCH,
        stride=32,
        seed=1,
        cache=training_cache(records, options, 32),
    )
    return lambda: pace(batches.repeat(epochs))


def pace(batches: Iterable[object]) -> float:
    """Images a second from the first batch to the last."""
    iterator = iter(batches)
    next(iterator)
    started, count = time.perf_counter(), 0
    for _ in iterator:
        count += BATCH
    return count / (time.perf_counter() - started)


def first_batch_ms(records: Records, skip_batches: int) -> float:
    """Milliseconds to the first batch, the order of the epoch and the graph's making included."""
    started = time.perf_counter()
    options = DataOptions(size=SIZE, fit="stretch")
    next(iter(training_batches(records, options, lambda: (0, skip_batches), batch_size=BATCH, stride=32, seed=1)))
    return 1e3 * (time.perf_counter() - started)


def seconds_to_end(batches: tf.data.Dataset) -> float:
    """Mean seconds that an iteration of some seconds takes to end after its last batch."""
    took = []
    for _ in range(ENDINGS):
        iterator = iter(batches)
        for _ in iterator:
            pass
        started = time.perf_counter()
        del iterator
        took.append(time.perf_counter() - started)
    return statistics.mean(took)


def measure_endings(report: Report, records: Records) -> None:
    """What the end of an epoch costs with tf.data's tuning thread, and as `training_batches` has it."""
    how = {"batch_size": BATCH, "stride": 32, "seed": 1}
    ours = training_batches(records, DataOptions(), lambda: (0, 0), **how).repeat(4)
    tuning = tf.data.Options()
    tuning.autotune.enabled = True
    for what, batches in (("tuned by tf.data", ours.with_options(tuning)), ("ours", ours)):
        report.row(f"end of an epoch, {what}: {1e3 * seconds_to_end(batches):.0f} ms, mean of {ENDINGS}", "", "")


def measure(report: Report, folder: Path, peer: Path) -> None:
    """All figures of the loader."""
    full, small = make_records(folder)
    fitted, stretched = DataOptions(), DataOptions(size=SIZE, fit="stretch")
    runs: dict[str, Callable[[], float]] = {
        "the article's loader, from 1080p files": lambda: run_peer(folder, peer),
        "bare decoding, 512×512": decoding(small, None, 10),
        "records of 512×512": loading(small, fitted, 10),
        "bare decoding, 1080p": decoding(full, None, 1),
        "bare decoding and resizing, 1080p": decoding(full, Fitting(SIZE, 32, "stretch"), 1),
        "records of 1080p": loading(full, stretched, 1),
        "records of 1080p, cached in memory": loading(full, stretched.model_copy(update={"cache": "memory"}), 10),
        "records of 1080p, cached on disk": loading(full, stretched.model_copy(update={"cache": "disk"}), 10),
    }
    figures: dict[str, list[float]] = {what: [] for what in runs}
    for _ in range(REPEATS):  # in turn, so that a machine whose speed drifts drifts for all
        for what, run in runs.items():
            figures[what].append(run())
    medians = {what: statistics.median(values) for what, values in figures.items()}
    article, bare, ours, bare_full, resized, ours_full = list(medians.values())[:6]
    for what, value in medians.items():
        report.row(f"{what}: images", f"{value:.0f}", f"{value / article:.1f}")
    report.row("records of 1080p / bare decoding", "", f"{ours_full / bare_full:.2f}")
    report.row("records of 1080p / bare decoding and resizing", "", f"{ours_full / resized:.2f}")
    for skip in (0, SCENES // BATCH - 1):
        took = statistics.median(first_batch_ms(full, skip) for _ in range(REPEATS))
        report.row(f"1080p: {took:.0f} ms to the first batch, {skip * BATCH} records passed over", "", "")
    measure_endings(report, small)
    report.bar(Bar("input_vs_article", ours / article, 20.0))
    report.bar(Bar("input_vs_decoding", ours / bare, 0.9))


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print and write the report."""
    keep_freed_memory()  # as training does; bare decoding has it too
    parser = ArgumentParser(prog="python -m tests.bench_input", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("data/bench/input"), help="for images and records (0.4 GB)")
    parser.add_argument("--peer", type=Path, default=Path(".peers/input/bin/python"), help="Python with the peers")
    parser.add_argument("--only", choices=["loader", "augmentation"], help="measure one half; nothing is written")
    options = parser.parse_args(argv)
    report = Report("Input and augmentation", "python -m tests.bench_input` (`make bench-input` installs the peers)")
    if options.only != "augmentation":
        measure(report, options.folder, options.peer)
    if options.only != "loader":
        from tests.bench_augment import measure as measure_augmentation

        measure_augmentation(report)
    if not options.only:
        report.write(Path("docs/performance.md"))
    for line in report.lines():
        say(line)


if __name__ == "__main__":
    sys.exit(run_command(main))
