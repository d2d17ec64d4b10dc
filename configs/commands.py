"""What every command shares: flags that suggest the nearest right one, one-line errors, exit codes.

Exit codes: 0 done; 1 it ran and failed; 2 the user's mistake, found before any work; 75 stopped by a
signal, can be resumed (``EX_TEMPFAIL`` of sysexits.h).
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USER_ERROR = 2
EXIT_STOPPED = 75


class UserError(Exception):
    """The user's mistake: the message names the place, the value and the way out. Exit code 2."""


class RunError(Exception):
    """The command ran and failed. Exit code 1."""


class Stopped(Exception):
    """A signal ended the command; what was done is kept and can be resumed. Exit code 75."""


class ArgumentParser(argparse.ArgumentParser):
    """argparse without abbreviations, whose errors are `UserError`s that offer the nearest right flag."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **kwargs,  # type: ignore[arg-type]
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")

    def flags(self) -> list[str]:
        """All option strings of this parser, such as ``--config``."""
        return [flag for action in self._actions for flag in action.option_strings]

    def parse_args(self, args: Sequence[str] | None = None, namespace: object = None) -> argparse.Namespace:  # type: ignore[override]
        parsed: argparse.Namespace
        parsed, unknown = self.parse_known_args(args, namespace)  # type: ignore[call-overload, arg-type]
        if unknown:
            refuse_unknown(unknown, self.flags())
        return parsed


def refuse_unknown(unknown: Sequence[str], known: Iterable[str]) -> NoReturn:
    """Raise a `UserError` for the first of the unknown arguments, with the nearest known flag."""
    flag = unknown[0].split("=")[0]
    raise UserError(f"unknown argument '{flag}'{did_you_mean(flag, known)} (see --help)")


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """``"; did you mean 'X'?"`` for the nearest choice, or an empty string when none is near."""
    nearest = difflib.get_close_matches(word, [str(choice) for choice in choices], n=1)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""


def parse_size(text: str) -> tuple[int, int]:
    """``"512x1024"`` to (height, width) = (512, 1024); for use as an argparse type."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"'{text}' is not HxW, such as 512x1024 (height first)")
    return int(parts[0]), int(parts[1])


def parse_steps(text: str) -> tuple[int, int]:
    """``"10:20"`` to the steps (10, 20), first and last, the run's first step being 1; for use as an argparse type."""
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"'{text}' is not FIRST:LAST, such as 10:20 (steps count from 1)")
    return int(first), int(last)


def add_config_flags(parser: argparse.ArgumentParser, default: str = "none") -> None:
    """The two flags by which every configurable command is configured; ``default`` tells the recipe without them."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="YAML",
        help=f"recipe (default: {default}); what it does not name keeps its own default",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="set any key of the recipe (dotted, repeatable); the value is read as YAML",
    )


def say(text: str = "") -> None:
    """Write one line for the person at the terminal to standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def progress_bar(
    total: int | None, unit: str, description: str = "", initial: int = 0, bar_format: str | None = None
) -> tqdm:
    """A tqdm bar on standard error: lively on a terminal, a line every ten seconds in a log.

    Args:
      initial: where the bar starts; what was done before does not count into the rate.
      bar_format: tqdm's, of another line than its own.
    """
    lively = sys.stderr.isatty()
    return tqdm(
        total=total,
        unit=unit,
        desc=description,
        initial=initial,
        bar_format=bar_format,
        mininterval=0.1 if lively else 10.0,
        maxinterval=10.0 if lively else 30.0,
        dynamic_ncols=lively,
        smoothing=0.1,
        file=sys.stderr,
    )


@contextmanager
def native_stderr_to(log: Path) -> Iterator[None]:
    """Append to a file what native libraries and child processes write to standard error.

    They write to file descriptor 2, and children inherit it, so the descriptor itself is exchanged;
    Python's own `sys.stderr`, and with it bars and error lines, stays where it was.
    """
    sys.stderr.flush()
    terminal, python_stderr = os.dup(2), sys.stderr
    try:
        own = python_stderr.fileno() == 2
    except (OSError, ValueError):
        own = False
    if own:
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        if own:
            sys.stderr.close()
            sys.stderr = python_stderr


@contextmanager
def quiet_start() -> Iterator[None]:
    """Hold back what TensorFlow writes to standard error while it loads and looks for devices.

    It writes a dozen lines before its own switch for them is read. When the block raises something
    unforeseen, they are shown after all.
    """
    with tempfile.NamedTemporaryFile() as held:
        try:
            with native_stderr_to(Path(held.name)):
                yield
        except (UserError, RunError):
            raise
        except Exception:
            sys.stderr.write(held.read().decode(errors="replace"))
            raise


def run_command(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None) -> int:
    """Run ``main(argv)`` and turn what it raises into one line on standard error and an exit code.

    An exception that is none of ours is a defect or a broken machine: its traceback goes to a file that
    the line names.
    """
    try:
        return main(argv) or EXIT_DONE
    except UserError as error:
        _report(f"error: {error}")
        return EXIT_USER_ERROR
    except RunError as error:
        _report(f"failed: {error}")
        return EXIT_FAILED
    except (Stopped, KeyboardInterrupt) as error:
        _report(f"stopped: {error}" if str(error) else "stopped by a signal")
        return EXIT_STOPPED
    except BrokenPipeError:
        # The reader of our output went away (``| head``): nothing is left to tell it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:
        _report(f"failed: {one_line(error)}; details in {log_traceback()}")
        return EXIT_FAILED


def one_line(error: BaseException) -> str:
    """``"ValueError: first line of the message"``."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def log_traceback() -> Path:
    """Write the traceback of the exception that is being handled to a new file and return its path."""
    with tempfile.NamedTemporaryFile("w", prefix="streetmask-", suffix=".log", delete=False) as log:
        log.write(" ".join(sys.argv) + "\n" + traceback.format_exc())
    return Path(log.name)


def _report(line: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(line.replace("\n", " ") + "\n")
    sys.stderr.flush()
