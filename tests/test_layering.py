"""Tests of the layers: who imports whom, and that the builder's side starts without TensorFlow."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, cli_environment

OURS = ("configs", "pipelines", "beam_jobs", "model", "tests")
SOURCES = sorted(path for package in OURS[:-1] for path in (REPOSITORY / package).rglob("*.py"))
SHARED_WITH_BEAM = {"records", "manifest", "files", "pictures", "fitting"}
EXCEPTIONS = {"configs/taxonomy_command.py": {"beam_jobs.labels", "beam_jobs.labels.count_labels"}}
"""Allowed against the arrows, inside a function only: ``configs.taxonomy --from`` counts labels with the readers."""
TEST_TOOLS = {"pytest", "hypothesis", "_pytest", "unittest", "tests"}


def imported(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, anywhere in it: ``from a import b`` gives a and a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_arrows_point_one_way(path):
    allowed = {
        "configs": {"configs"},
        "pipelines": {"configs", "pipelines"},
        "beam_jobs": {"configs", "pipelines", "beam_jobs"},
        "model": {"configs", "pipelines", "model"},
    }
    ours = {name for name in imported(path) if name.partition(".")[0] in OURS} - EXCEPTIONS.get(name_of(path), set())
    assert {name.partition(".")[0] for name in ours} <= allowed[path.relative_to(REPOSITORY).parts[0]]
    assert not {name.partition(".")[0] for name in imported(path)} & TEST_TOOLS


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_import_against_the_arrows_waits_until_it_is_needed(name):
    tree = ast.parse((REPOSITORY / name).read_text(encoding="utf-8"))
    at_import_time = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert not EXCEPTIONS[name] & set(at_import_time)
    assert EXCEPTIONS[name] <= imported(REPOSITORY / name)


@pytest.mark.parametrize("path", [path for path in SOURCES if "beam_jobs" in path.parts], ids=name_of)
def test_the_builder_takes_only_the_light_parts_of_pipelines(path):
    parts = {name.split(".")[1] for name in imported(path) if name.startswith("pipelines.")}
    assert parts <= SHARED_WITH_BEAM


def test_importing_the_builder_does_not_load_tensorflow():
    program = (
        "import sys, beam_jobs.build_records, beam_jobs.sample_data, pipelines.records, pipelines.manifest,"
        "pipelines.files, pipelines.pictures, pipelines.fitting, configs.taxonomy;"
        "sys.exit(','.join({'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=cli_environment(), capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name == "__init__.py"], ids=name_of)
def test_every_package_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_file_says_what_it_is_for_and_library_code_raises_instead_of_asserting(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]


def test_tests_are_flat_and_each_says_what_it_tests():
    files = sorted((REPOSITORY / "tests").rglob("*.py"))
    # tests/data holds golden files with the scripts that made them, and no tests.
    assert {path.parent for path in files} - {REPOSITORY / "tests" / "data"} == {REPOSITORY / "tests"}
    assert not list((REPOSITORY / "tests" / "data").rglob("test_*.py"))
    assert [path.name for path in files if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))] == []
