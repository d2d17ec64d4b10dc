"""Files that are either whole or not there: atomic writes, hashes, and the records' write-then-rename."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

TEMPORARY_SUFFIX = ".tmp"
_numbers = itertools.count()


class AtomicFile:
    """A binary file that takes its name only when it was written to its end.

    Used as a context manager. Counts and hashes what is written, so that nothing is read twice. An
    exception inside the block removes the temporary file and leaves what had the name before.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        # Of two writers of one name each has a file of its own; the last to end wins.
        self._temporary = path.with_name(f"{path.name}.{os.getpid()}-{next(_numbers)}{TEMPORARY_SUFFIX}")
        self._hash = hashlib.sha256()
        self._file: BinaryIO

    def __enter__(self) -> AtomicFile:
        self._file = self._temporary.open("wb")
        return self

    def write(self, data: bytes) -> None:
        """Append bytes. Raises OSError that names the file, which a full disk's own error does not."""
        try:
            self._file.write(data)
        except OSError as error:
            error.filename = error.filename or str(self.path)
            raise
        self._hash.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        """Hex digest of what was written so far."""
        return self._hash.hexdigest()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
            self._file.close()
            if kind is None:
                self._check_size()
                self._temporary.replace(self.path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def _flush(self) -> None:
        self._file.flush()
        try:
            os.fsync(self._file.fileno())
        except (AttributeError, io.UnsupportedOperation):
            return  # an object store's file: closing it is what makes it durable

    def _check_size(self) -> None:
        """An object store may publish what it got before the connection broke. Raises OSError."""
        size = self._temporary.stat().st_size
        if size != self.size:
            raise OSError(5, f"{self.size} bytes were written, {size} arrived", str(self._temporary))


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a whole file under a temporary name, then rename it."""
    with AtomicFile(path) as file:
        # A lone surrogate, of a file name that is not UTF-8 or of a hostile label, is written as \\udc80 is in JSON.
        file.write(data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, keys in the order given, with a newline at the end."""
    write_atomically(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def remove_tree(folder: Path) -> None:
    """Remove a folder and all below it, on a disk or on an object store."""
    if isinstance(folder, Path):
        shutil.rmtree(folder)
    else:
        folder.remove_tree()


def remove_temporary_files(folder: Path) -> None:
    """Remove what a killed writer left behind. Nobody else may be writing to the folder."""
    for path in folder.glob(f"*{TEMPORARY_SUFFIX}"):
        path.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
