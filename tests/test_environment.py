"""What a run notes of where it was made."""

import os
from importlib import metadata

import pytest


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


def test_versions_machine_and_command_line_are_there(monkeypatch):
    from model import environment

    monkeypatch.setattr(environment.sys, "argv", ["model/train.py", "--set", "train.loss=[{name: dice}]"])
    noted = environment.environment()
    for package in ("tensorflow", "keras", "keras-cv", "apache-beam", "numpy", "pillow"):
        assert noted[package] == metadata.version(package)
    assert noted["cpus"] == os.cpu_count()
    assert 1 <= noted["usable_cpus"] <= noted["cpus"]
    assert noted["memory_gib"] > 0
    assert len(noted["devices"]) >= 2  # the tests' two logical CPU devices
    assert noted["command_line"] == "model/train.py --set 'train.loss=[{name: dice}]'"  # as a shell takes it


def test_a_package_that_is_not_installed_has_no_version():
    from model.environment import package_versions

    assert package_versions(("no-such-package-of-ours",)) == {"no-such-package-of-ours": None}


def test_the_processors_name_is_read_where_linux_tells_it(tmp_path):
    from model.environment import processor_name

    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Fast CPU @ 3.00GHz: two\nprocessor\t: 1\nmodel name\t: other\n")
    assert processor_name(cpuinfo) == "Fast CPU @ 3.00GHz: two"
