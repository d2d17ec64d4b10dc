"""Fixtures of all tests: tiny street folders, a built record folder, commands in a process, TensorFlow.

TensorFlow is imported only by the fixtures that need it: most tests of the builder must run without it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.streets import make_streets

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def make_street_folder() -> Callable[..., Path]:
    """`make_streets`: writes a folder of tiny streets and returns it."""
    return make_streets


@pytest.fixture(scope="session")
def camvid() -> Path:
    """The real CamVid images, or a skip."""
    given = os.environ.get("STREETMASK_CAMVID")
    if not given:
        pytest.skip("STREETMASK_CAMVID is not set: it names the folder with CamVid's leftImg8bit, gtFine and masks")
    folder = Path(given)
    if not (folder / "leftImg8bit").is_dir():
        pytest.skip(f"STREETMASK_CAMVID={given}: there is no leftImg8bit in it")
    return folder


@pytest.fixture(scope="session")
def tiny_records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built folder of records: 10 train and 5 val streets of 48x64, taxonomy camvid11, two train shards."""
    from beam_jobs.build_records import build
    from beam_jobs.options import BuildOptions

    base = tmp_path_factory.mktemp("tiny")
    streets = make_streets(base / "streets", splits={"train": 10, "val": 5}, seed=11)
    output = base / "records"
    build(BuildOptions(input=streets, output=output, taxonomy="camvid11", name="tiny", shards=2, workers=1))
    return output


@pytest.fixture(scope="session")
def run_cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """``run_cli(module, *args, cwd=folder)`` runs ``python -m module args`` with our packages on its path."""

    def run(
        module: str, *args: object, cwd: Path, env: Mapping[str, str] | None = None, timeout_s: float = 300.0
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *map(str, args)],
            cwd=cwd,
            env=cli_environment(env),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run


def cli_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a command that runs in another folder."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2", **(extra or {})}


def setup_tensorflow() -> Any:
    """TensorFlow with two logical CPU devices, as every test must find it; they can be made only once a process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import tensorflow as tf

    (cpu, *_) = tf.config.list_physical_devices("CPU")
    if tf.config.get_logical_device_configuration(cpu) is None:
        try:
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        except RuntimeError as error:
            raise RuntimeError("a test used TensorFlow before it asked for the fixture tensorflow_ready") from error
    return tf


@pytest.fixture(scope="session")
def tensorflow_ready() -> Any:
    """The tensorflow module, set up; every test that touches TensorFlow asks for it."""
    return setup_tensorflow()


@pytest.fixture(scope="session")
def two_cpu_devices(tensorflow_ready: Any) -> list[str]:
    """The names of two logical CPU devices, for tests with two replicas."""
    return [device.name for device in tensorflow_ready.config.list_logical_devices("CPU")]
