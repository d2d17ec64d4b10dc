"""The build command in tests: its arguments, its plan, the same build in a plain loop, and its errors without bars."""

from __future__ import annotations

from pathlib import Path

from beam_jobs.build_records import parse_options
from beam_jobs.plan import Plan, make_plan, write_plan
from beam_jobs.scan import scan
from beam_jobs.shards import build_shard
from configs.taxonomy import load_taxonomy
from tests.streets import shard_hashes


def without_bars(text: str) -> str:
    """Standard error without the lines of the progress bar."""
    lines = text.replace("\r", "\n").splitlines()
    return "\n".join(line for line in lines if line.strip() and not line.startswith(("building: ", "drawing ")))


def arguments_for(streets: Path, output: Path, *more: object) -> list[object]:
    return [
        "--input",
        streets,
        "--output",
        output,
        "--set",
        "taxonomy=camvid11",
        "--shards",
        "2",
        "--workers",
        "1",
        *more,
    ]


def planned(arguments: list[object], output: Path) -> Plan:
    """The plan of a command, written below ``output``, as the command itself makes it."""
    options, *_ = parse_options([str(argument) for argument in arguments])
    plan = make_plan(scan(options.input), options.input, load_taxonomy(options.taxonomy), options, "")
    write_plan(output, plan)
    return plan


def for_loop(arguments: list[object], output: Path) -> dict[str, str]:
    """Shard hashes of the same build in a plain loop, without Beam."""
    plan = planned(arguments, output)
    for index in range(len(plan.shards)):
        build_shard(plan, output, index)
    return shard_hashes(output)
