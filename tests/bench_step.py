"""Benchmark of the training step: prints a table, writes it to docs/performance.md, ends with one line per bar.

    make bench-step          (or: python -m tests.bench_step --peers .peers/step)

UNET-ResNet34 against segmentation_models' own, which needs TensorFlow 2.15 and so an environment of its own. Each side
is a process that holds its network (tests/bench_step_worker.py); they take turns, one of them working at a time, so
that a machine whose speed drifts drifts for both. Medians over all steps but the first ones are compared.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.commands import ArgumentParser, RunError, UserError, parse_size, run_command, say
from tests.bench_report import Bar, Report

WARM_UP = 3
SIDES = {
    "library": "segmentation_models, TensorFlow 2.15",
    "ours": "ours",
    "bfloat16": "ours in bfloat16",
    "composed_norm": "ours with Keras' own batch normalisation",
    "composed_adamw": "ours with Keras' own AdamW",
}


class Side:
    """A worker process."""

    def __init__(self, python: Path, name: str, size: tuple[int, int], batch: int) -> None:
        command = [str(python), "-m", "tests.bench_step_worker", name, *map(str, (*size, batch))]
        self._name = name
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.seconds: list[float] = []
        self.peak_bytes = 0

    @property
    def median_s(self) -> float:
        """Seconds of a step."""
        return statistics.median(self.seconds)

    def train(self, steps: int) -> list[float]:
        """Let it train some steps; seconds of each."""
        answer = self._ask(steps)
        self.peak_bytes = answer["peak_bytes"]
        return answer["seconds"]

    def _ask(self, steps: int) -> Any:
        if self._process.stdin is None or self._process.stdout is None:
            raise RunError("the worker has no pipes")
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RunError(f"the worker '{self._name}' ended with exit code {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def measure(peers: Path, size: tuple[int, int], batch: int, rounds: int, steps: int) -> Report:
    """All figures, as a report with its bars."""
    height, width = size
    command = f"python -m tests.bench_step --size {height}x{width} --batch {batch} --rounds {rounds} --steps {steps}"
    report = Report("Training step", f"{command}` (`make bench-step` installs the library)")
    here = Path(sys.executable)
    sides = {name: Side(peers / "bin" / "python" if name == "library" else here, name, size, batch) for name in SIDES}
    for side in sides.values():
        side.train(WARM_UP)
    for _ in range(rounds):
        for side in sides.values():
            side.seconds += side.train(steps)
    for side in sides.values():
        side.close()
    library, ours = sides["library"], sides["ours"]
    for name, side in sides.items():
        what = f"{SIDES[name]}: {side.median_s / batch * 1e3:.0f} ms an image, {side.peak_bytes / 1e6:.0f} MB at most"
        report.row(what, f"{batch / side.median_s:.2f}", f"{library.median_s / side.median_s:.2f}")
    report.bar(Bar("step_vs_library", ours.median_s / library.median_s, 1.0, at_most=True))
    report.bar(Bar("memory_vs_library", ours.peak_bytes / library.peak_bytes, 1.0, at_most=True))
    return report


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, write."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, default=Path(".peers/step"), help="environment with the library")
    parser.add_argument("--size", type=parse_size, default=(256, 256), metavar="HxW")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=3, help="of each side in a round")
    options = parser.parse_args(argv)
    if not (options.peers / "bin" / "python").exists():
        raise UserError(f"--peers {options.peers}: no environment here; make bench-step makes it")
    report = measure(options.peers, options.size, options.batch, options.rounds, options.steps)
    report.write(Path("docs/performance.md"))
    for line in report.lines():
        say(line)


if __name__ == "__main__":
    sys.exit(run_command(main))
