"""Files on object stores (``gs://…``, ``s3://…``) through Beam's FileSystems, with the names of `pathlib.Path`.

`as_location` gives a Path for a local path and a `RemotePath` for a URL; the builder uses what both have.
The stores need Beam's extras: ``pip install 'apache-beam[gcp]'`` for gs://, ``'apache-beam[aws]'`` for s3://.

A rename there is a copy and a deletion, and a file is visible only after it was closed; so what is written
has a temporary name first, its size is checked, and the manifest comes last, as on a disk.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from pydantic import PlainSerializer, PlainValidator

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class Status(NamedTuple):
    """What `os.stat_result` tells, as far as a store knows it."""

    st_size: int
    st_mtime_ns: int
    st_mode: int = stat.S_IFREG


class RemotePath:
    """A path on an object store. Folders are there as soon as something is below them."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def __str__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return f"RemotePath({self._url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self._url}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return self._url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The name's last dot and what follows it."""
        return os.path.splitext(self.name)[1]

    def with_name(self, name: str) -> RemotePath:
        """The path beside this one."""
        return RemotePath(f"{self._url.rpartition('/')[0]}/{name}")

    def resolve(self) -> RemotePath:
        """Itself: a URL is absolute."""
        return self

    def is_relative_to(self, other: object) -> bool:
        """Whether it lies below another remote path, or is it."""
        return isinstance(other, RemotePath) and f"{self._url}/".startswith(f"{other._url}/")

    def open(self, mode: str = "rb") -> BinaryIO:
        """A binary file to read (``rb``) or to write (``wb``)."""
        if mode == "wb":
            return FileSystems.create(self._url, compression_type=CompressionTypes.UNCOMPRESSED)
        return FileSystems.open(self._url, compression_type=CompressionTypes.UNCOMPRESSED)

    def read_bytes(self) -> bytes:
        """The whole file. Raises FileNotFoundError, or OSError for other faults of the store."""
        try:
            with self.open() as file:
                return file.read()
        except BeamIOError as error:
            if not self.is_file():
                raise FileNotFoundError(2, "No such file", self._url) from None
            raise OSError(5, str(error), self._url) from None

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole file as text."""
        return self.read_bytes().decode(encoding)

    def exists(self) -> bool:
        """Whether a file has this name or something is below it."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether a file has this name."""
        return FileSystems.exists(self._url)

    def is_dir(self) -> bool:
        """Whether something is below it."""
        return next(self._below(limit=1), None) is not None

    def stat(self) -> Status:
        """Size and time of a file. Raises FileNotFoundError."""
        for path, status in self._matches(self._url, limit=1):
            if path == self._url:
                return status
        raise FileNotFoundError(2, "No such file", self._url)

    def walk(self) -> dict[str, Status]:
        """All files below, by their path relative to this one: one listing, not a question for each file."""
        return {path[len(self._url) + 1 :]: status for path, status in self._below()}

    def iterdir(self) -> Iterator[RemotePath]:
        """What is directly below."""
        return (self / name for name in sorted({path.split("/")[0] for path in self.walk()}))

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """Files directly below whose names match."""
        return (
            path for path in self.iterdir() if re.fullmatch(pattern.replace(".", r"\.").replace("*", ".*"), path.name)
        )

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing to do: a store has no empty folders."""

    def replace(self, target: RemotePath) -> None:
        """Take another name, over what had it."""
        if target.is_file():
            FileSystems.delete([str(target)])
        FileSystems.rename([self._url], [str(target)])

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file. Raises FileNotFoundError unless ``missing_ok``."""
        if self.is_file():
            FileSystems.delete([self._url])
        elif not missing_ok:
            raise FileNotFoundError(2, "No such file", self._url)

    def remove_tree(self) -> None:
        """Remove all that is below."""
        FileSystems.delete([f"{self._url}/{path}" for path in self.walk()])

    def _below(self, limit: int | None = None) -> Iterator[tuple[str, Status]]:
        return self._matches(f"{self._url}/**", limit)

    @staticmethod
    def _matches(pattern: str, limit: int | None = None) -> Iterator[tuple[str, Status]]:
        (found,) = FileSystems.match([pattern], None if limit is None else [limit])
        for entry in found.metadata_list:
            yield entry.path, Status(entry.size_in_bytes, int((entry.last_updated_in_seconds or 0) * 1e9))


def as_location(value: Any) -> Any:
    """A `RemotePath` for a URL, a Path for anything else."""
    if isinstance(value, (Path, RemotePath)):
        return value
    if not isinstance(value, str):
        raise ValueError("expected a path")
    return RemotePath(value) if _URL.match(value) else Path(value)


def is_remote(location: Path) -> bool:
    """Whether a location is on an object store."""
    return isinstance(location, RemotePath)


# To type checkers a location is a Path: a RemotePath has all that the builder uses of one.
Location = Annotated[Path, PlainValidator(as_location), PlainSerializer(str)]
