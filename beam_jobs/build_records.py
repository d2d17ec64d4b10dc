"""Build sharded TFRecords from street images and polygon annotations, on Apache Beam.

    python -m beam_jobs.build_records                                   # makes and builds the sample data set
    python -m beam_jobs.build_records --input DIR --set taxonomy=idd21 --output data/idd
    python -m beam_jobs.build_records --config configs/camvid_build.yaml --workers 2
    python -m beam_jobs.build_records finalize DIR                      # after a detached run

Plan → build → reconcile: the plan alone decides the bytes; a killed build goes on when the same command is
run again; the output is a data set once manifest.json is there. What cannot be built is listed with its
reason in dead_letters.jsonl. Flags that are not listed here are Beam's own; those that only a cluster's job server
knows come last, after a lone ``--``.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.formats import FORMAT_NAMES
from beam_jobs.inspect_records import class_table, split_table
from beam_jobs.options import BuildOptions
from beam_jobs.plan import Plan, describe_change, make_plan, read_plan, write_plan
from beam_jobs.reconcile import (
    DEAD_LETTERS,
    Outcome,
    check_bad_fraction,
    finalize,
    reconcile,
    write_dead_letters,
)
from beam_jobs.running import beam_options, run_build
from beam_jobs.sample_data import SAMPLE_TAXONOMY, make_sample_data
from beam_jobs.scan import scan
from beam_jobs.shards import read_sidecar, sidecar_path
from beam_jobs.storage import as_location, is_remote
from configs.commands import ArgumentParser, UserError, add_config_flags, parse_size, run_command, say
from configs.loading import load_config
from configs.lock import locked
from configs.taxonomy import load_taxonomy
from pipelines.files import remove_temporary_files, remove_tree
from pipelines.manifest import FILE_NAME, read_manifest

SAMPLE_FOLDER = Path("data/sample")
FINALIZE = "Check the shards of a build whose driver was stopped while the job went on, and write the manifest."


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and build, or finalize."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["finalize"]:
        parser = ArgumentParser(prog="python -m beam_jobs.build_records finalize", description=FINALIZE)
        parser.add_argument("folder", metavar="DIR", help="the --output of that build")
        folder = as_location(parser.parse_args(arguments[1:]).folder)
        summarize(finalize(folder), folder)
        return
    options, beam_flags, cluster_flags = parse_options(arguments)
    command_line = " ".join(["python -m beam_jobs.build_records", *arguments])
    build(options, beam_flags, cluster_flags, command_line)


def build_parser() -> ArgumentParser:
    """The flags that people type every day; all other options go through ``--set``."""
    parser = ArgumentParser(prog="python -m beam_jobs.build_records", description=__doc__)
    add_config_flags(parser)
    parser.add_argument("--input", metavar="DIR", help="images and annotations; left out: the sample data set is made")
    parser.add_argument("--output", metavar="DIR", help="folder for the records (default: data/records)")
    parser.add_argument("--name", help="of the data set, at the head of shard names (default: the taxonomy's)")
    parser.add_argument(
        "--runner", help="DirectRunner (default: all cores of this machine), FlinkRunner, SparkRunner, …"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes of the DirectRunner (default: one for every core)"
    )
    parser.add_argument(
        "--shards",
        type=int,
        metavar="N",
        help="shards per split (default: a power of two, about one for every 64 images)",
    )
    parser.add_argument("--resize", type=parse_size, metavar="HxW", help="store images and masks at this size")
    parser.add_argument(
        "--format", help=f"of the annotations: {', '.join(FORMAT_NAMES)} (default: auto, by their content)"
    )
    parser.add_argument(
        "--unknown-labels",
        choices=["error", "ignore", "skip"],
        help="labels in no table: dead letter (default), 255, or not drawn",
    )
    parser.add_argument(
        "--max-bad-fraction",
        type=float,
        metavar="F",
        help="share of dead letters above which the build fails (default: 0.01)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", default=None, help="replace records of another plan in the output folder"
    )
    return parser


def parse_options(arguments: Sequence[str]) -> tuple[BuildOptions, list[str], list[str]]:
    """Our options, the flags that must be Beam's, and those after a lone ``--``. Raises `UserError`."""
    parser = build_parser()
    end = arguments.index("--") if "--" in arguments else len(arguments)
    ours, beam_flags = parser.parse_known_args(list(arguments[:end]))
    flags = {key: value for key, value in vars(ours).items() if key not in ("config", "overrides")}
    options = load_config(BuildOptions, ours.config, ours.overrides, flags)
    return options, beam_flags, list(arguments[end + 1 :])


def build(
    options: BuildOptions, beam_flags: Sequence[str] = (), cluster_flags: Sequence[str] = (), command_line: str = ""
) -> Outcome | None:
    """Plan, build and reconcile; None when the output already holds exactly this.

    Raises:
      UserError: wrong options or input, or an output folder that holds something else.
      RunError: workers failed or too much of the input is bad.
    """
    started = time.monotonic()
    runner_options = beam_options(options.runner, options.workers, beam_flags, build_parser().flags(), cluster_flags)
    options, source = _resolve_input(options)
    taxonomy = load_taxonomy(str(options.taxonomy))
    found = scan(source, options.format)
    for split, count in found.left_out.items():
        say(f"left out: {count} images of split {split}, none of which has an annotation")
    plan = make_plan(found, source, taxonomy, options, command_line)
    if is_remote(options.output) and options.overwrite:
        raise UserError(
            f"--overwrite {options.output}: a store cannot exchange folders at once; choose another --output"
        )
    # Object stores have no locks: two builds at once are not noticed there.
    with nullcontext() if is_remote(options.output) else locked(options.output, "--output", "building"):
        return _build_locked(plan, runner_options, started)


def _build_locked(plan: Plan, runner_options: PipelineOptions, started: float) -> Outcome | None:
    options = plan.options
    _recover(options.output)
    if _is_complete(options.output, plan):
        say(f"{options.output} already holds these records; nothing to do (--overwrite builds them again)")
        return None
    target = (
        _sibling(options.output, "new")
        if options.overwrite and _is_in_the_way(options.output, plan)
        else options.output
    )
    _prepare(target, plan)
    outcome = _build_pending(target, plan, runner_options)
    if target != options.output:
        _swap(options.output, target)
    summarize(outcome, options.output, time.monotonic() - started)
    return outcome


def summarize(outcome: Outcome, output: Path, seconds: float | None = None) -> None:
    """Print what was built as a table, what was odd, and where the rest can be read."""
    manifest = outcome.manifest
    for line in ["", *split_table(manifest), "", *class_table(manifest), ""]:
        say(line)
    for key, count in sorted(outcome.counts.items()):
        say(f"{key.replace('_', ' ')}: {count}")
    codes = Counter(letter.code for letter in outcome.dead_letters)
    listed = ", ".join(f"{code} {count}" for code, count in codes.most_common())
    place = f" ({listed}); see {output / DEAD_LETTERS}" if codes else ""
    say(f"dead letters: {len(outcome.dead_letters)} of {manifest.planned} inputs{place}")
    records = sum(split.records for split in manifest.splits.values())
    pace = f" in {seconds:.1f} s, {records / seconds:.0f} images/s with start-up" if seconds else ""
    say(f"{records} records in {output}{pace}")


def _resolve_input(options: BuildOptions) -> tuple[BuildOptions, Path]:
    """The options with name and taxonomy filled in, and the input folder; makes the sample when there is none."""
    if options.input is None:
        taxonomy = options.taxonomy or SAMPLE_TAXONOMY
        load_taxonomy(taxonomy)
        say(f"no --input: using the sample data set in {SAMPLE_FOLDER}")
        make_sample_data(SAMPLE_FOLDER)
        return options.model_copy(update={"taxonomy": taxonomy, "name": options.name or "sample"}), SAMPLE_FOLDER
    if options.taxonomy is None:
        raise UserError(
            "which classes? add --set taxonomy=NAME (camvid11, cityscapes19, idd21, …) or the path of a YAML file"
        )
    inside = options.output.resolve().is_relative_to(options.input.resolve())
    if inside:
        raise UserError(f"--output {options.output} lies inside --input {options.input}; choose another folder")
    return options, options.input


def _is_complete(output: Path, plan: Plan) -> bool:
    """Whether the output already holds exactly the planned records, as far as names and sizes tell."""
    if not (output / FILE_NAME).is_file() or plan.options.overwrite:
        return False
    manifest = read_manifest(output)
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    return manifest.plan_digest == plan.digest and all(
        (output / shard.file).is_file() and (output / shard.file).stat().st_size == shard.bytes for shard in shards
    )


def _is_in_the_way(output: Path, plan: Plan) -> bool:
    """Whether the output holds a finished build or the unfinished one of another plan."""
    if (output / FILE_NAME).is_file():
        return True
    try:
        return read_plan(output).digest != plan.digest
    except (OSError, ValueError):
        return False


def _prepare(target: Path, plan: Plan) -> None:
    """Make the folder with its plan, or raise `UserError` when it holds anything but a part of this build."""
    if target.exists() and not target.is_dir():
        raise UserError(f"--output {target}: is a file")
    try:
        found = read_plan(target).digest
    except (OSError, ValueError):
        found = None
    way_out = "choose another --output, or pass --overwrite to replace them"
    if (target / FILE_NAME).is_file() and read_manifest(target).plan_digest != plan.digest:
        raise UserError(f"--output {target}: holds records of another input, taxonomy or options; {way_out}")
    if found not in (None, plan.digest):
        if not target.name.endswith(".new"):
            change = describe_change(target, plan)
            raise UserError(f"--output {target}: holds an unfinished build of another plan ({change}); {way_out}")
        remove_tree(target)
    if found is None and target.is_dir() and not (target / FILE_NAME).is_file() and any(target.iterdir()):
        strangers = [path.name for path in target.iterdir() if path.name not in ("plan", DEAD_LETTERS)]
        if strangers:
            raise UserError(
                f"--output {target}: not empty ({sorted(strangers)[0]}) and no records; choose another folder"
            )
    try:
        remove_temporary_files(target)
        write_plan(target, plan)
    except OSError as error:
        raise UserError(f"--output {target}: cannot be written ({error.strerror})") from None


def _build_pending(target: Path, plan: Plan, runner_options: PipelineOptions) -> Outcome:
    """Build the shards that have no sidecar of this plan yet, then reconcile."""
    write_dead_letters(target, plan.scan_dead_letters)
    check_bad_fraction(target, plan, plan.scan_dead_letters)
    files = [shard.file for shard in plan.shards]
    pending = [index for index, file in enumerate(files) if read_sidecar(target, file, plan.digest) is None]
    if len(pending) < len(files):
        say(f"going on: {len(files) - len(pending)} of {len(files)} shards are already there")
    if pending:
        for index in pending:
            sidecar_path(target, files[index]).unlink(missing_ok=True)
        run_build(target.resolve(), plan, pending, runner_options, plan.options.runner)
    return reconcile(target, plan)


def _sibling(output: Path, suffix: str) -> Path:
    return output.with_name(f"{output.name}.{suffix}")


def _swap(output: Path, new: Path) -> None:
    """Put ``new`` in the place of ``output`` by two renames, so that a crash leaves the one or the other whole."""
    old = _sibling(output, "old")
    shutil.rmtree(old, ignore_errors=True)
    os.replace(output, old)
    os.replace(new, output)
    shutil.rmtree(old)


def _recover(output: Path) -> None:
    """Undo a swap that crashed between its two renames."""
    old = _sibling(output, "old")
    if not is_remote(output) and old.is_dir() and not output.exists():
        os.replace(old, output)


if __name__ == "__main__":
    status = run_command(main)
    sys.stdout.flush()
    # Beam's threads outlive a build whose worker died and would keep the interpreter waiting for ever.
    os._exit(status)
