"""ImageNet weights from a server on loopback that has the right file, a wrong one, half of one, or none."""

from __future__ import annotations

import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from configs.commands import UserError
from model import downloads
from model.downloads import encoder_weights_path, weight_file

GOOD = bytes(range(256)) * 9000  # more than two pieces
NAME = "resnet34_imagenet_1000_no_top.h5"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A mirror; ``server.answer`` decides what it does with a request, ``server.asked`` lists the paths."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            http.asked.append(self.path)
            http.answer(self)

        def log_message(self, *arguments):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.asked, http.answer = [], send(GOOD)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("STREETMASK_WEIGHTS_MIRROR", f"http://127.0.0.1:{http.server_port}/weights/")
    monkeypatch.setenv("STREETMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(downloads._FILES["image_classifiers"], "resnet34", (NAME, hashlib.md5(GOOD).hexdigest()))
    yield http
    http.shutdown()
    thread.join()
    http.server_close()


def send(body, announced=None, status=200):
    def answer(request):
        request.send_response(status)
        request.send_header("Content-Length", str(announced or len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def cached(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").glob("*"))


def test_a_download_is_kept_and_asked_for_once(server, tmp_path):
    path = encoder_weights_path("resnet34", "imagenet")
    assert path == tmp_path / "cache" / NAME
    assert path.read_bytes() == GOOD
    assert encoder_weights_path("resnet34", "imagenet") == path
    assert server.asked == [f"/weights/{NAME}"]
    assert cached(tmp_path) == [NAME]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (send(GOOD[:-1] + b"?"), "what came has md5 [0-9a-f]{32}"),
        (send(b""), "what came has md5 d41d8cd98f00b204e9800998ecf8427e"),
        (send(GOOD[:1_500_000], announced=len(GOOD)), "it ends after 1500000 of 2304000 bytes|IncompleteRead"),
        (send(b"gone", status=404), "HTTP 404 Not Found"),
        (lambda request: request.wfile.write(b"no HTTP at all\r\n\r\n"), "no HTTP at all"),
        (lambda request: None, "closed connection without response"),
    ],
    ids=["wrong", "empty", "truncated", "404", "garbage", "hangs up"],
)
def test_a_bad_download_leaves_nothing_and_says_how_to_bring_the_file(server, tmp_path, answer, reason):
    server.answer = answer
    with pytest.raises(UserError, match=reason) as caught:
        encoder_weights_path("resnet34", "imagenet")
    message = str(caught.value)
    assert "\n" not in message
    assert f":{server.server_port}/weights/{NAME} (" in message
    assert f"put that file (md5 {hashlib.md5(GOOD).hexdigest()}) at {tmp_path / 'cache' / NAME}, or name" in message
    assert cached(tmp_path) == []
    server.answer = send(GOOD)
    assert encoder_weights_path("resnet34", "imagenet").read_bytes() == GOOD


def test_a_server_that_is_not_there_is_one_line(server, tmp_path, monkeypatch):
    monkeypatch.setenv("STREETMASK_WEIGHTS_MIRROR", f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(UserError, match=f"cannot download .*{NAME} .*refused.*put that file"):
        encoder_weights_path("resnet34", "imagenet")
    assert cached(tmp_path) == []


def closed_port():
    """A port that nobody listens on."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    http.server_close()
    return http.server_port


def test_a_silent_server_ends_after_the_time_limit(server, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.05)
    server.answer = lambda request: released.wait(10)
    with pytest.raises(UserError, match="timed out"):
        encoder_weights_path("resnet34", "imagenet")
    released.set()


def test_a_wrong_file_in_the_cache_is_not_taken(server, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / NAME).write_bytes(b"half")
    with pytest.raises(
        UserError, match=rf"cache/{NAME}: its md5 is [0-9a-f]+, that of the published file .*; remove it"
    ):
        encoder_weights_path("resnet34", "imagenet")
    assert server.asked == []


def test_a_cache_that_cannot_be_made_is_one_line(server, tmp_path):
    (tmp_path / "cache").write_text("a file in its place")
    with pytest.raises(UserError, match=r"cannot download .* File exists.*put that file"):
        encoder_weights_path("resnet34", "imagenet")


def test_paths_are_taken_as_they_are(tmp_path):
    (tmp_path / "x.h5").touch()
    assert encoder_weights_path("resnet34", tmp_path / "x.h5") == tmp_path / "x.h5"
    assert encoder_weights_path("resnet34", None) is None
    with pytest.raises(UserError, match=r"y\.h5: there is no such file; it is a path, 'imagenet' or nothing"):
        encoder_weights_path("resnet34", str(tmp_path / "y.h5"))
    with pytest.raises(UserError, match="keras_applications has none for 'resnet34', only for resnet50, resnet101"):
        encoder_weights_path("resnet34", "imagenet", "keras_applications")


def test_addresses_and_checksums_are_the_publishers(monkeypatch):
    monkeypatch.delenv("STREETMASK_WEIGHTS_MIRROR", raising=False)
    wanted = weight_file("resnet34", "image_classifiers")
    release = "https://github.com/qubvel/classification_models/releases/download/0.0.1"
    assert wanted == (NAME, "8caaa0ad39d927cb8ba5385bf945d582", f"{release}/{NAME}")


def test_checksums_of_keras_applications_are_those_of_keras(tensorflow_ready, monkeypatch):
    from keras.src.applications.resnet import BASE_WEIGHTS_PATH, WEIGHTS_HASHES

    monkeypatch.delenv("STREETMASK_WEIGHTS_MIRROR", raising=False)
    for backbone in ("resnet50", "resnet101"):
        wanted = weight_file(backbone, "keras_applications")
        assert wanted.md5 == WEIGHTS_HASHES[backbone][1]
        assert wanted.address == f"{BASE_WEIGHTS_PATH}{wanted.name}"


@pytest.mark.skipif(os.name == "nt", reason="the home folder has another name there")
def test_the_cache_is_in_the_home_folder_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("STREETMASK_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert downloads.cache_folder() == tmp_path / ".cache" / "streetmask"
