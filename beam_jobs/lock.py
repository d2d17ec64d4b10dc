"""One build at a time on one output: a lock file beside the folder that names its owner.

The lock itself is the operating system's (`fcntl.flock`), so it ends with its owner, however that ends; a
file that was left behind is recognised because nobody holds it.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from beam_jobs.storage import is_remote
from configs.commands import UserError, say

try:
    import fcntl
except ImportError:  # Windows: two builds at once are not noticed there
    fcntl = None  # type: ignore[assignment]


def lock_path(output: Path) -> Path:
    """The lock file of an output folder; beside it, so that the folder may be renamed."""
    return output.with_name(f"{output.name}.lock")


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Hold the lock of an output folder. Object stores have no locks: two builds at once are not noticed there.

    Raises:
      UserError: another process builds there, with its name and since when; or the place is not writable.
    """
    if is_remote(output):
        yield
        return
    path = lock_path(output)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _take(path)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({error.strerror})") from None
    try:
        left_by = _read_owner(descriptor)
        if left_by:
            say(f"{path}: left behind by {left_by}, which is gone; going on")
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _take(path: Path) -> int:
    """An open descriptor of the locked file. Raises `UserError` when somebody else holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if fcntl is None:
            return descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _read_owner(descriptor) or "another process"
            os.close(descriptor)
            raise UserError(f"{path}: {owner} is building there; wait for it, or choose another --output") from None
        # The owner before may have removed the file between our opening and locking it.
        try:
            same = os.path.samestat(os.fstat(descriptor), os.stat(path))
        except FileNotFoundError:
            same = False
        if same:
            return descriptor
        os.close(descriptor)


def _read_owner(descriptor: int) -> str:
    """``process 12 on host since …``, or an empty text."""
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {owner['pid']} on {owner['host']} (since {owner['since']})"
    except (ValueError, KeyError, TypeError):
        return ""
