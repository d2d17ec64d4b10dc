"""One build or training at a time in one folder: a lock file beside it that names its owner.

The lock itself is the operating system's (`fcntl.flock`), so it ends with its owner, however that ends; a
file that was left behind is recognised because nobody holds it.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.commands import UserError, say

try:
    import fcntl
except ImportError:  # Windows: two at once are not noticed there
    fcntl = None  # type: ignore[assignment]


def lock_path(folder: Path) -> Path:
    """The lock file of a folder; beside it, so that the folder may be renamed."""
    folder = Path(os.path.abspath(folder))  # `.` has no name
    return folder.with_name(f"{folder.name}.lock")


def is_held(folder: Path) -> bool:
    """Whether somebody holds the lock now; what was left behind is held by nobody."""
    try:
        descriptor = os.open(lock_path(folder), os.O_RDWR)
    except OSError:
        return False
    try:
        return not _lock_if_free(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path, flag: str, doing: str) -> Iterator[None]:
    """Hold the lock of a folder that the user named, or could have named, by ``flag``.

    Raises:
      UserError: another process is ``doing`` that there, with its name and since when; or the place is not writable.
    """
    path = lock_path(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _take(path, flag, doing)
    except OSError as error:
        raise UserError(f"{flag} {folder}: cannot be written ({error.strerror})") from None
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


def _take(path: Path, flag: str, doing: str) -> int:
    """An open descriptor of the locked file. Raises `UserError` when somebody else holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if not _lock_if_free(descriptor):
            owner = _read_owner(descriptor) or "another process"
            os.close(descriptor)
            raise UserError(f"{path}: {owner} is {doing} there; wait for it, or choose another {flag}")
        # The owner before may have removed the file between our opening and locking it.
        try:
            same = os.path.samestat(os.fstat(descriptor), os.stat(path))
        except FileNotFoundError:
            same = False
        if same:
            return descriptor
        os.close(descriptor)


def _lock_if_free(descriptor: int) -> bool:
    """Lock an open file unless somebody else has; True also where the file system has no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return True


def _read_owner(descriptor: int) -> str:
    """``process 12 on host since …``, or an empty text."""
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {owner['pid']} on {owner['host']} (since {owner['since']})"
    except (ValueError, KeyError, TypeError):
        return ""
