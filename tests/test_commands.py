"""Tests of what all commands share: exit codes, one-line errors, flags that suggest, standard error to a log."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

import pytest

from configs.commands import (
    ArgumentParser,
    RunError,
    Stopped,
    UserError,
    add_config_flags,
    did_you_mean,
    native_stderr_to,
    one_line,
    parse_size,
    progress_bar,
    quiet_start,
    run_command,
    say,
)


def raising(error: BaseException):
    def main(argv: object) -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("no such folder"), 2, "error: no such folder"),
        (RunError("a worker died"), 1, "failed: a worker died"),
        (Stopped("SIGTERM; --resume goes on"), 75, "stopped: SIGTERM; --resume goes on"),
        (Stopped(), 75, "stopped by a signal"),
        (KeyboardInterrupt(), 75, "stopped by a signal"),
        (UserError("first\nsecond"), 2, "error: first second"),
    ],
)
def test_each_kind_of_error_is_one_line_and_an_exit_code(error, status, line, capsys):
    assert run_command(raising(error)) == status
    assert capsys.readouterr().err == line + "\n"


def test_a_command_that_ends_well_exits_with_0_and_may_choose_its_status():
    assert run_command(lambda argv: None) == 0
    assert run_command(lambda argv: 75) == 75


def test_arguments_are_handed_on():
    seen = []
    run_command(seen.append, ["--x"])
    assert seen == [["--x"]]


def test_an_unforeseen_error_is_one_line_that_names_a_file_with_its_traceback(capsys):
    assert run_command(raising(ZeroDivisionError("division\n  by zero"))) == 1
    line = capsys.readouterr().err
    match = re.fullmatch(r"failed: ZeroDivisionError: division; details in (.+\.log)\n", line)
    assert match
    log = Path(match[1])
    assert "Traceback" in log.read_text()
    assert "by zero" in log.read_text()
    log.unlink()


def test_one_line_is_kind_and_first_line_of_an_error():
    assert one_line(ValueError("\n  a \n b")) == "ValueError: a"
    assert one_line(ValueError()) == "ValueError"


def parser() -> ArgumentParser:
    made = ArgumentParser(prog="python -m x")
    add_config_flags(made)
    made.add_argument("--workers", type=int)
    made.add_argument("--size", type=parse_size)
    return made


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--wrokers", "2"], "unknown argument '--wrokers'; did you mean '--workers'? (see --help)"),
        (["--wrokers=2"], "unknown argument '--wrokers'; did you mean '--workers'? (see --help)"),
        (["--zzz"], "unknown argument '--zzz' (see --help)"),
        (["--work", "2"], "unknown argument '--work'; did you mean '--workers'? (see --help)"),  # no abbreviations
        (["--workers", "two"], "argument --workers: invalid int value: 'two' (see --help)"),
        (["--workers"], "argument --workers: expected one argument (see --help)"),
        (["--size", "64"], "argument --size: '64' is not HxW, such as 512x1024 (height first) (see --help)"),
    ],
)
def test_a_wrong_flag_is_a_users_error_that_offers_the_nearest(argv, message):
    with pytest.raises(UserError) as caught:
        parser().parse_args(argv)
    assert str(caught.value) == message


def test_known_flags_are_parsed_and_set_may_be_repeated():
    parsed = parser().parse_args(["--config", "a.yaml", "--set", "a=1", "--set", "b=2", "--workers", "3"])
    assert (parsed.config, parsed.overrides, parsed.workers) == (Path("a.yaml"), ["a=1", "b=2"], 3)
    assert {"--config", "--set", "--workers", "--help"} <= set(parser().flags())


@pytest.mark.parametrize("text", ["48x64", "48X64"])
def test_a_size_is_height_first(text):
    assert parse_size(text) == (48, 64)


@pytest.mark.parametrize("text", ["", "48", "48x", "48x64x3", "0x64", "-1x64", "4.5x6", "axb", "48 x 64"])
def test_what_is_no_size_is_refused_with_the_text(text):
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(f"'{text}' is not HxW")):
        parse_size(text)


def test_did_you_mean_is_empty_when_nothing_is_near():
    assert did_you_mean("raod", ["sky", "road"]) == "; did you mean 'road'?"
    assert did_you_mean("zebra", ["sky", "road"]) == ""


def test_say_writes_one_line_to_standard_output(capsys):
    say("three images")
    assert capsys.readouterr() == ("three images\n", "")


def test_a_progress_bar_is_written_to_standard_error(capsys):
    bar = progress_bar(2, "image", "drawing")
    bar.update(2)
    bar.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert "drawing: 100%" in err
    assert "2/2" in err


def test_native_output_goes_to_the_log_and_pythons_own_stays(tmp_path, capfd):
    log = tmp_path / "native.log"
    log.write_text("before\n")
    with native_stderr_to(log):
        os.write(2, b"from C++\n")
        sys.stderr.write("for the person\n")
    os.write(2, b"after\n")
    assert log.read_text() == "before\nfrom C++\n"
    assert "from C++" not in capfd.readouterr().err


def test_the_descriptor_comes_back_after_an_error(tmp_path, capfd):
    with pytest.raises(ValueError, match="x"), native_stderr_to(tmp_path / "log"):
        raise ValueError("x")
    os.write(2, b"visible\n")
    assert "visible" in capfd.readouterr().err


@pytest.mark.parametrize(("error", "shown"), [(UserError("x"), False), (RunError("x"), False), (OSError("x"), True)])
def test_start_up_lines_are_shown_only_after_an_unforeseen_error(error, shown, capfd):
    def start() -> None:
        with quiet_start():
            os.write(2, b"cuda lines\n")
            raise error

    with pytest.raises(type(error)):
        start()
    assert ("cuda lines" in capfd.readouterr().err) == shown
