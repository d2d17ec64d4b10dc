"""What all benchmarks write: a section of docs/performance.md, and one line per bar."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import NamedTuple


class Bar(NamedTuple):
    """A figure and what it should reach: at least the target, or at most."""

    name: str
    value: float
    target: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.value <= self.target if self.at_most else self.value >= self.target

    def line(self) -> str:
        """``bar <name> <value> <target> met|short``."""
        return f"bar {self.name} {self.value:.3g} {self.target:g} {'met' if self.met else 'short'}"


class Report:
    """A table of one benchmark and its bars."""

    def __init__(self, title: str, command: str) -> None:
        self._title, self._command = title, command
        self._rows: list[tuple[str, str, str]] = []
        self._bars: list[Bar] = []

    def row(self, what: str, per_second: str, ratio: str) -> None:
        """Append a line of the table."""
        self._rows.append((what, per_second, ratio))

    def bar(self, bar: Bar) -> None:
        """Append a bar."""
        self._bars.append(bar)

    def lines(self) -> list[str]:
        """The table for a terminal, the bars last."""
        width = max(len(row[0]) for row in self._rows)
        table = [f"{what:<{width}}  {figure:>9}  {ratio:>6}" for what, figure, ratio in self._rows]
        return [f"{'':<{width}}  {'per s':>9}  {'ratio':>6}", *table, *(bar.line() for bar in self._bars)]

    def write(self, path: Path) -> None:
        """Put the table in the place of the section with this title, or at the file's end."""
        machine = f"{os.cpu_count()} cores of {platform.machine()}, Python {platform.python_version()}"
        table = [f"| {what} | {figure} | {ratio} |" for what, figure, ratio in self._rows]
        section = "\n".join(
            [
                f"## {self._title}",
                "",
                f"`{self._command}, on {machine}.",
                "",
                "| | per second | ratio |",
                "|---|---|---|",
                *table,
                "",
                *(f"    {bar.line()}" for bar in self._bars),
                "",
            ]
        )
        text = path.read_text() if path.is_file() else "# Performance\n\n"
        old = re.compile(rf"^## {re.escape(self._title)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
        path.parent.mkdir(exist_ok=True)
        text = old.sub(lambda _: section + "\n", text) if old.search(text) else f"{text.rstrip()}\n\n{section}"
        path.write_text(text.rstrip("\n") + "\n")
