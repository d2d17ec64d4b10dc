"""Packaging: the base install has no TensorFlow and builds records; the lists of packages are whole."""

import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def test_every_folder_with_modules_is_a_listed_package():
    listed = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        ".".join(path.parent.relative_to(REPOSITORY).parts)
        for top in ("beam_jobs", "configs", "model", "pipelines")
        for path in (REPOSITORY / top).rglob("__init__.py")
    }
    assert set(listed) == found


@pytest.mark.slow
def test_the_base_install_builds_records_without_tensorflow(make_street_folder, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"

    def run(*command, **settings):
        return subprocess.run(
            [str(python), *map(str, command)], capture_output=True, text=True, check=False, **settings
        )

    constraints = REPOSITORY / "constraints.txt"
    installed = run("-m", "pip", "install", "--quiet", "--constraint", constraints, REPOSITORY)
    assert installed.returncode == 0, installed.stderr
    assert run("-c", "import tensorflow").returncode != 0
    streets = make_street_folder(tmp_path / "streets", splits={"train": 3, "val": 2})
    command = ["-m", "beam_jobs.build_records", "--input", streets, "--output", "records", "--set", "taxonomy=camvid11"]
    built = run(*command, "--workers", 1, cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "records" / "manifest.json").is_file()
