"""Where an encoder's ImageNet weights come from: a path, the cache, or the release of the library that trained them.

A download is checked against the library's own MD5 and takes its name in the cache only then. Environment:

STREETMASK_CACHE            the folder that keeps downloads; ~/.cache/streetmask else
STREETMASK_WEIGHTS_MIRROR   an address under which the same file names are found, asked in place of the releases
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Literal, NamedTuple

from configs.commands import UserError, progress_bar
from pipelines.files import AtomicFile

Source = Literal["image_classifiers", "keras_applications"]
IMAGENET = "imagenet"
TIMEOUT_S = 30.0
_PIECE = 1 << 20

_ADDRESSES: dict[Source, str] = {
    "image_classifiers": "https://github.com/qubvel/classification_models/releases/download/0.0.1",
    "keras_applications": "https://storage.googleapis.com/tensorflow/keras-applications/resnet",
}
_FILES: dict[Source, dict[str, tuple[str, str]]] = {
    "image_classifiers": {
        "resnet18": ("resnet18_imagenet_1000_no_top.h5", "318e3ac0cd98d51e917526c9f62f0b50"),
        "resnet34": ("resnet34_imagenet_1000_no_top.h5", "8caaa0ad39d927cb8ba5385bf945d582"),
        "resnet50": ("resnet50_imagenet_1000_no_top.h5", "db3b217156506944570ac220086f09b6"),
        "resnet101": ("resnet101_imagenet_1000_no_top.h5", "1016e7663980d5597a4e224d915c342d"),
    },
    "keras_applications": {
        "resnet50": ("resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", "4d473c1dd8becc155b73f8504c6f6626"),
        "resnet101": ("resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5", "88cf7a10940856eca736dc7b7e228a21"),
    },
}


class WeightFile(NamedTuple):
    """A published file: its name, its MD5 in hex, and its address."""

    name: str
    md5: str
    address: str


def encoder_weights_path(
    backbone: str, encoder_weights: str | Path | None, source: Source = "image_classifiers"
) -> Path | None:
    """The file that an encoder's weights are read from, downloaded if need be.

    Args:
      backbone: ``resnet18``, ``resnet34``, ``resnet50`` or ``resnet101``.
      encoder_weights: None, ``"imagenet"``, or the path of a file.
      source: whose ImageNet weights: those of image-classifiers (pre-activation ResNets) or of Keras Applications.

    Raises:
      UserError: no such file, none for this backbone, or it cannot be downloaded; it says how to bring it.
    """
    if encoder_weights is None:
        return None
    if str(encoder_weights) != IMAGENET:
        path = Path(encoder_weights)
        if not path.is_file():
            raise UserError(f"encoder_weights {path}: there is no such file; it is a path, '{IMAGENET}' or nothing")
        return path
    if backbone not in _FILES[source]:
        known = ", ".join(_FILES[source])
        raise UserError(f"encoder_weights '{IMAGENET}': {source} has none for '{backbone}', only for {known}")
    return fetch(weight_file(backbone, source))


def weight_file(backbone: str, source: Source) -> WeightFile:
    """The published ImageNet weights of a backbone; the address is the mirror's where there is one."""
    name, md5 = _FILES[source][backbone]
    base = os.environ.get("STREETMASK_WEIGHTS_MIRROR") or _ADDRESSES[source]
    return WeightFile(name, md5, f"{base.rstrip('/')}/{name}")


def cache_folder() -> Path:
    """The folder that keeps downloads."""
    return Path(os.environ.get("STREETMASK_CACHE") or Path.home() / ".cache" / "streetmask")


def fetch(wanted: WeightFile) -> Path:
    """The cached file, downloaded first if it is not there.

    Raises:
      UserError: the download failed, or the file that is there or came is another one.
    """
    path = cache_folder() / wanted.name
    if path.is_file():
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != wanted.md5:
            raise UserError(f"{path}: its md5 is {found}, that of the published file {wanted.md5}; remove it")
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(wanted, path)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UserError(
            f"cannot download the ImageNet weights {wanted.address} ({_reason(error)}); "
            f"put that file (md5 {wanted.md5}) at {path}, or name its path as encoder_weights"
        ) from error
    return path


def _download(wanted: WeightFile, path: Path) -> None:
    """Bring the file to the path; it takes its name only when it is whole and the right one."""
    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(wanted.address, timeout=TIMEOUT_S) as response, AtomicFile(path) as file:
        size = int(response.headers.get("Content-Length") or 0)
        with progress_bar(-(-size // _PIECE) or None, "MiB", wanted.name) as bar:
            while piece := response.read(_PIECE):
                file.write(piece)
                digest.update(piece)
                bar.update()
        if size and file.size != size:
            raise OSError(f"it ends after {file.size} of {size} bytes")
        if digest.hexdigest() != wanted.md5:
            raise OSError(f"what came has md5 {digest.hexdigest()}")


def _reason(error: Exception) -> str:
    """A failed request in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    words = str(getattr(error, "reason", None) or error).split()
    return " ".join(words) or type(error).__name__
