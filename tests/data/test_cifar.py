"""CIFAR against a small archive in the published layout, served from this machine, with checksums to match."""

import hashlib
import http.server
import io
import pickle
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from bench import catalogue
from bench.data import cifar, download, fetch
from bench.errors import UserError
from bench.schema import Dataset

READERS = {"cifar10": "bench.data.cifar:cifar10", "cifar100": "bench.data.cifar:cifar100"}
KINDS = {"cifar10": CIFAR10, "cifar100": CIFAR100}
PER_FILE = 6


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def published_members(name: str) -> dict[str, bytes]:
    """Return file name -> pickle as the publisher's: rows of 3,072 bytes (all red, all green, all blue), labels."""
    archive = catalogue.ARCHIVES[READERS[name]]
    generator, members = np.random.default_rng(0), {}
    for member in archive.members:
        if "meta" in member:
            key = "label_names" if name == "cifar10" else "fine_label_names"
            content: dict[str, Any] = {key: [str(label) for label in range(10 if name == "cifar10" else 100)]}
        else:
            labels = generator.integers(0, 10, PER_FILE).tolist()
            content = {"data": generator.integers(0, 256, (PER_FILE, 3072), dtype=np.uint8)}
            content |= {"labels": labels} if name == "cifar10" else {"fine_labels": [10 * label for label in labels]}
        members[member] = pickle.dumps(content)
    return members


def packed(folder: str, members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@dataclass
class Site:
    """What the server sends, and what it was asked for."""

    url: str = ""
    body: bytes = b""
    sent: int | None = None
    """Bytes of the body after which the connection breaks off; None = all."""
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(b"")

        def do_GET(self) -> None:
            self._answer(state.body[: state.sent])

        def _answer(self, content: bytes) -> None:
            state.requests.append(self.command)
            self.send_response(200)
            self.send_header("Content-Length", str(len(state.body)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=["cifar10", "cifar100"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def members(name: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Publish a small archive in the real one's place."""
    content = published_members(name)
    archive = catalogue.ARCHIVES[READERS[name]]
    site.body = packed(archive.folder, content)
    small = replace(archive, url=f"{site.url}/{archive.file}", md5=md5(site.body))
    monkeypatch.setitem(catalogue.ARCHIVES, READERS[name], small)
    kind = KINDS[name]
    for attribute in ("train_list", "test_list"):
        listed = [[member, md5(content[member])] for member, _ in getattr(kind, attribute)]
        monkeypatch.setattr(kind, attribute, listed)
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5(content[kind.meta["filename"]])})
    return content


@pytest.fixture
def dataset(name: str, members: dict[str, bytes], make_dataset: Callable[..., Dataset], tmp_path: Path) -> Dataset:
    return make_dataset(name=name, reader=READERS[name], root=str(tmp_path / "data ä"))


def read(dataset: Dataset) -> Any:
    return getattr(cifar, dataset.name)(dataset)


@pytest.mark.parametrize("of", ["cifar10", "cifar100"])
def test_the_published_archives_are_torchvisions(of: str) -> None:
    archive, kind = catalogue.ARCHIVES[READERS[of]], KINDS[of]
    assert (archive.url, archive.file, archive.md5) == (kind.url, kind.filename, kind.tgz_md5)
    listed = [*kind.train_list, *kind.test_list, [kind.meta["filename"]]]
    assert archive.folder == kind.base_folder
    assert archive.members == tuple(entry[0] for entry in listed)


def test_what_is_published_is_downloaded_once_and_read(
    dataset: Dataset, members: dict[str, bytes], site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    assert not catalogue.is_present(dataset)
    fetch(dataset)
    asked = len(site.requests)
    fetch(dataset)
    assert len(site.requests) == asked > 0
    raw = read(dataset)
    assert capfd.readouterr().out == ""
    for split, listed in ((raw.train, KINDS[dataset.name].train_list), (raw.test, KINDS[dataset.name].test_list)):
        contents = [pickle.loads(members[member]) for member, _ in listed]
        pixels = np.concatenate([content["data"] for content in contents])
        labels = [label for content in contents for label in content.get("labels", content.get("fine_labels"))]
        assert split.inputs.shape == (PER_FILE * len(contents), 3, 32, 32)
        assert torch.equal(split.inputs.reshape(len(labels), -1), torch.from_numpy(pixels))
        assert split.targets.tolist() == labels
    assert raw.num_classes == (10 if dataset.name == "cifar10" else 100)


def test_another_address(dataset: Dataset, site: Site) -> None:
    with pytest.raises(UserError, match="nowhere"):
        fetch(dataset.model_copy(update={"url": "file:///nowhere/archive.tar.gz"}))
    fetch(dataset.model_copy(update={"url": f"{site.url}/mirror/any-name.bin"}))
    read(dataset)


def test_an_archive_put_there_by_hand_is_unpacked_without_network(dataset: Dataset, site: Site) -> None:
    root = catalogue.folder(dataset)
    root.mkdir()
    (root / catalogue.ARCHIVES[dataset.reader].file).write_bytes(site.body)
    fetch(dataset)
    assert site.requests == []
    read(dataset)


def test_absent_data_are_never_downloaded_by_reading(dataset: Dataset, site: Site) -> None:
    with pytest.raises(UserError, match=f"{dataset.name} is not there: put cifar-.*gz .md5 .* into the") as error:
        read(dataset)
    assert "data ä" in str(error.value)
    assert site.requests == []


def test_offline_one_line_names_the_file_its_checksum_and_the_folder(dataset: Dataset) -> None:
    with socket.socket() as taken:  # bound, not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/archive.tar.gz"
        with pytest.raises(UserError) as error:
            fetch(dataset.model_copy(update={"url": url}))
    message, archive = str(error.value), catalogue.ARCHIVES[dataset.reader]
    for part in (dataset.name, url, archive.file, archive.md5, str(catalogue.folder(dataset)), "dataset.url=URL"):
        assert part in message
    assert "\n" not in message
    assert not catalogue.is_present(dataset)


def test_a_server_that_sends_nothing_is_given_up(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/archive.tar.gz"
        with pytest.raises(UserError, match=r"cannot be fetched from .*timed out"):
            fetch(dataset.model_copy(update={"url": url}))
    assert socket.getdefaulttimeout() is None


def test_a_broken_off_download_is_not_taken_and_the_next_try_mends_it(dataset: Dataset, site: Site) -> None:
    site.sent = len(site.body) // 2
    with pytest.raises(UserError, match=r"cifar-.*gz is incomplete or corrupt, its md5 is .*: put cifar-"):
        fetch(dataset)
    assert not catalogue.is_present(dataset)
    site.sent = None
    fetch(dataset)
    read(dataset)


def test_the_wrong_archive_is_refused(dataset: Dataset, site: Site) -> None:
    site.body = b"<html>Please log in</html>"
    with pytest.raises(UserError, match="is incomplete or corrupt, its md5 is " + md5(site.body)):
        fetch(dataset)
    assert not catalogue.is_present(dataset)


def test_a_kill_while_unpacking_leaves_nothing_that_counts(
    dataset: Dataset, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(archive: Path, scratch: Path) -> None:
        folder = scratch / catalogue.ARCHIVES[dataset.reader].folder
        folder.mkdir(parents=True)
        (folder / "half").write_bytes(b"half")
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(download, "extract_archive", killed)
        with pytest.raises(Killed):
            fetch(dataset)
    assert not catalogue.is_present(dataset)
    asked = len(site.requests)
    fetch(dataset)
    assert len(site.requests) == asked > 0
    archive = catalogue.ARCHIVES[dataset.reader]
    assert {path.name for path in catalogue.folder(dataset).iterdir()} == {archive.file, archive.folder, "locks"}
    read(dataset)


def test_a_file_with_another_checksum_is_named(dataset: Dataset, members: dict[str, bytes]) -> None:
    fetch(dataset)
    for path in catalogue.files(dataset):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + b"?")
        with pytest.raises(UserError, match=f"{path.name} is corrupt: remove the folder .* and run again") as error:
            read(dataset)
        assert "\n" not in str(error.value)
        path.write_bytes(whole)
    read(dataset)


def test_two_runs_side_by_side_download_once(dataset: Dataset, site: Site) -> None:
    fetch(dataset.model_copy(update={"root": f"{dataset.root} alone"}))
    alone = len(site.requests)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            download.fetch(dataset)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(site.requests) == 2 * alone
    read(dataset)
