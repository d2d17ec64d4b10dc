"""A build killed with SIGKILL five times at random moments and started again ends with the same bytes (slow)."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from beam_jobs.verify_records import verify
from tests.builds import arguments_for
from tests.conftest import cli_environment
from tests.streets import make_streets, shard_hashes

pytestmark = pytest.mark.slow

IMAGES = 1500


def command(streets, output):
    arguments = [*arguments_for(streets, output), "--workers", 2, "--shards", 40]
    return [sys.executable, "-m", "beam_jobs.build_records", *map(str, arguments)]


def progress(output):
    """Images that the running workers have done, and shards that are finished."""
    running = sum(path.stat().st_size for path in (output / "plan").glob("*.progress"))
    return running, len(list(output.glob("*.tfrecord-*.json")))


def test_five_kills_at_random_moments_change_no_byte_and_leave_nothing(tmp_path):
    streets = make_streets(tmp_path / "streets", splits={"train": IMAGES, "val": 40}, drives=20)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path, "env": cli_environment()}
    subprocess.run(command(streets, tmp_path / "whole"), check=True, **quiet)
    output, moments, seen = tmp_path / "broken", random.Random(5), []
    for kill in range(5):
        process = subprocess.Popen(command(streets, output), start_new_session=True, **quiet)
        done = progress(output)[0] if output.exists() else 0
        goal = done + moments.randrange(1, IMAGES // 8)
        while process.poll() is None and progress(output)[0] < goal:
            time.sleep(0.005)
        if process.poll() is None:
            # In turn the command alone, whose workers live on for a moment, and all of it, as in a power cut.
            (os.killpg if kill % 2 else os.kill)(process.pid, signal.SIGKILL)
            process.wait()
            seen.append(progress(output))
    assert len(seen) >= 3, "the build was done before it could be killed"
    finished = subprocess.run(
        command(streets, output), capture_output=True, text=True, cwd=tmp_path, env=cli_environment(), check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert shard_hashes(output) == shard_hashes(tmp_path / "whole")
    assert {path.name for path in output.iterdir()} == {path.name for path in (tmp_path / "whole").iterdir()}
    assert verify(output, workers=1) == []
