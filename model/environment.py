"""Where a run was made: versions, machine, devices and command line, for ``environment.json``."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf

from configs import __version__

PACKAGES = ("tensorflow", "keras", "keras-cv", "tensorflow-addons", "apache-beam", "numpy", "pillow", "tensorboard")


def environment() -> dict[str, Any]:
    """What may differ when the same recipe gives other figures elsewhere; what cannot be found out is None."""
    return {
        "streetmask": __version__,
        "python": platform.python_version(),
        **package_versions(PACKAGES),
        "platform": platform.platform(),
        "processor": processor_name(),
        "cpus": os.cpu_count(),
        "usable_cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": memory_gib(),
        "devices": [device.name for device in tf.config.list_logical_devices()],
        "gpus": [
            tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
            for gpu in tf.config.list_physical_devices("GPU")
        ],
        "command_line": shlex.join(sys.argv),
    }


def package_versions(names: tuple[str, ...]) -> dict[str, str | None]:
    """Version of each package, None where it is not installed."""
    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """The processor as its maker calls it: Linux tells it here alone."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or None


def memory_gib() -> float | None:
    """The machine's main memory in GiB."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):  # names that this system does not have
        return None
