"""Building from and to an object store, against an in-memory implementation of Beam's FileSystem interface."""

import fnmatch
import io
from typing import ClassVar

import pytest
from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem, MatchResult

from beam_jobs.build_records import build
from beam_jobs.options import BuildOptions
from beam_jobs.storage import RemotePath, as_location
from configs.commands import UserError
from pipelines.files import AtomicFile
from pipelines.manifest import read_manifest
from tests.streets import make_streets, shard_hashes


class Buffer(io.BytesIO):
    """A file that is published when it is closed, cut short when the store is told to."""

    def __init__(self, store, path):
        super().__init__()
        self._store, self._path = store, path

    def close(self):
        if not self.closed:
            data = self.getvalue()
            self._store.files[self._path] = data[:-1] if self._store.cuts else data
        super().close()


class FakeStore(FileSystem):
    """``fake://`` URLs in a dictionary; counts the listings."""

    files: ClassVar[dict[str, bytes]] = {}
    cuts = False
    listings = 0

    @classmethod
    def scheme(cls):
        return "fake"

    def join(self, base, *paths):
        return "/".join([base, *paths])

    def split(self, path):
        return tuple(path.rsplit("/", 1))

    def mkdirs(self, path):
        raise NotImplementedError("stores have no folders")

    def has_dirs(self):
        return False

    def match(self, patterns, limits=None):
        type(self).listings += 1
        results = []
        for pattern, limit in zip(patterns, limits or [None] * len(patterns), strict=True):
            found = [path for path in sorted(self.files) if fnmatch.fnmatchcase(path, pattern)]
            entries = [FileMetadata(path, len(self.files[path]), 1.5) for path in found[:limit]]
            results.append(MatchResult(pattern, entries))
        return results

    def _list(self, dir_or_prefix):
        return (FileMetadata(p, len(data), 1.5) for p, data in self.files.items() if p.startswith(dir_or_prefix))

    def create(self, path, mime_type="application/octet-stream", compression_type=None):
        return Buffer(type(self), path)

    def open(self, path, mime_type="application/octet-stream", compression_type=None):
        if path not in self.files:
            raise BeamIOError("not found", {path: FileNotFoundError(path)})
        return io.BytesIO(self.files[path])

    def copy(self, source_file_names, destination_file_names):
        for source, target in zip(source_file_names, destination_file_names, strict=True):
            self.files[target] = self.files[source]

    def rename(self, source_file_names, destination_file_names):
        self.copy(source_file_names, destination_file_names)
        self.delete(source_file_names)

    def exists(self, path):
        return path in self.files

    def size(self, path):
        return len(self.files[path])

    def last_updated(self, path):
        return 1.5

    def checksum(self, path):
        return str(hash(self.files[path]))

    def delete(self, paths):
        for path in paths:
            del self.files[path]

    def metadata(self, path):
        return FileMetadata(path, len(self.files[path]), 1.5)


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(FakeStore, "files", {})
    monkeypatch.setattr(FakeStore, "cuts", False)
    monkeypatch.setattr(FakeStore, "listings", 0)
    return FakeStore


def options(given, **more):
    return BuildOptions(taxonomy="camvid11", name="tiny", shards=2, workers=1, **given, **more)


@pytest.fixture
def streets(tmp_path):
    return make_streets(tmp_path / "streets", splits={"train": 5, "val": 2})


def upload(store, folder, url):
    for path in folder.rglob("*"):
        if path.is_file():
            store.files[f"{url}/{path.relative_to(folder)}"] = path.read_bytes()


def test_a_build_from_and_to_a_store_gives_the_bytes_of_one_on_disk(store, streets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where a store's log goes
    build(options({"input": streets, "output": tmp_path / "disk"}))
    upload(store, streets, "fake://bucket/in")
    outcome = build(options({"input": "fake://bucket/in", "output": "fake://bucket/out"}))
    assert outcome.manifest.planned == 7
    written = {path.removeprefix("fake://bucket/out/") for path in store.files if path.startswith("fake://bucket/out/")}
    assert written == {path.name for path in (tmp_path / "disk").iterdir()}
    for name, sha256 in shard_hashes(tmp_path / "disk").items():
        (tmp_path / "copy").write_bytes(store.files[f"fake://bucket/out/{name}"])
        from pipelines.files import sha256_file

        assert sha256_file(tmp_path / "copy") == sha256
    assert read_manifest(RemotePath("fake://bucket/out")).splits == read_manifest(tmp_path / "disk").splits


def test_a_second_build_finds_it_done_and_another_one_is_refused(store, streets, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    out = {"input": streets, "output": "fake://bucket/out"}
    build(options(out))
    assert build(options(out)) is None
    assert "fake://bucket/out already holds these records" in capsys.readouterr().out
    with pytest.raises(UserError, match="fake://bucket/out: holds records of another input"):
        build(options(out, salt="other"))
    with pytest.raises(UserError, match="--overwrite fake://bucket/out: a store cannot exchange folders at once"):
        build(options(out, overwrite=True))


def test_an_object_that_arrived_cut_never_gets_its_name(store):
    store.cuts = True
    with pytest.raises(OSError, match="4 bytes were written, 3 arrived"), AtomicFile(RemotePath("fake://b/x")) as file:
        file.write(b"data")
    assert store.files == {}


def test_a_folder_is_listed_once_and_not_asked_file_by_file(store, streets):
    from beam_jobs.scan import scan

    upload(store, streets, "fake://bucket/in")
    store.listings = 0
    assert len(scan(RemotePath("fake://bucket/in")).pairs) == 7
    assert store.listings <= 4


def test_paths_of_a_store_behave_as_paths():
    path = as_location("gs://bucket/a/b.json")
    assert isinstance(path, RemotePath)
    assert (path.name, path.suffix, str(path.with_name("c"))) == ("b.json", ".json", "gs://bucket/a/c")
    assert str(as_location("s3://bucket/a/") / "x") == "s3://bucket/a/x"
    assert (as_location("gs://b/a") / "x").is_relative_to(as_location("gs://b/a"))
    assert not as_location("gs://b/ab").is_relative_to(as_location("gs://b/a"))
    assert not isinstance(as_location("data/records"), RemotePath)


def test_what_is_not_there_is_a_file_system_error(store):
    with pytest.raises(FileNotFoundError):
        RemotePath("fake://b/none").read_bytes()
    with pytest.raises(FileNotFoundError):
        RemotePath("fake://b/none").stat()
    with pytest.raises(UserError, match="no records here"):
        read_manifest(RemotePath("fake://b/none"))
    with pytest.raises(UserError, match="--input fake://b/none: no such folder"):
        build(options({"input": "fake://b/none", "output": "fake://b/out"}))
