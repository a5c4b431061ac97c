"""What the W&B logger writes (read back from wandb's own offline log), and that nothing it meets reaches the run."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench import logger as module
from bench.logger import open_logger
from tests.wandb_reader import LoggedRun, read_run, read_runs

ROOT = Path(module.__file__).parents[1]
HANG_S = 600
"""How long the fake wandb hangs: far beyond every bound asserted here."""
BOUND_S = 60
"""What counts as not hanging, however busy the machine."""


@pytest.fixture(autouse=True)
def _nothing_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _forget_user(tmp_path / "home", monkeypatch)


def _forget_user(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no key, setting or proxy of whoever runs the tests play a part."""
    for name in [name for name in os.environ if name.startswith("WANDB") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("NETRC", raising=False)
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))


# ---- What wandb writes ----


@dataclass
class Logged:
    folder: Path
    home: Path
    warning: str | None
    runs: dict[str, LoggedRun]
    torch_imported: bool


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """Two interleaved cells, one that fails, one never finished and a table, through the real wandb, without a key."""
    folder, home, shim = (tmp_path_factory.mktemp("logged") / name for name in ("out", "home", "shim"))
    (shim / "torch").mkdir(parents=True)
    (shim / "torch" / "__init__.py").write_text(f"open({str(shim / 'imported')!r}, 'w')")
    with pytest.MonkeyPatch.context() as patch:
        _forget_user(home, patch)
        patch.setenv("PYTHONPATH", str(shim))
        log = open_logger("wandb", "digits", folder)
        log.start("aaaa", {"criterion": "snip", "recipe": {"epochs": 3, "lr": 0.1}, "note": "x" * 100_000})
        log.start("bbbb", {"criterion": "taylor"})
        for epoch in (1, 2, 3):
            log.epoch("aaaa", {"epoch": epoch, "stage": "dense", "train/loss": 1 / epoch, "val/top1": 90.0 + epoch})
            log.epoch("bbbb", {"epoch": epoch, "stage": "finetune", "train/loss": float("nan"), "lr": float("inf")})
        log.finish("bbbb", {"status": "failed", "reason": "non-finite loss", "top1": float("nan")})
        log.finish("aaaa", {"status": "ok", "top1": 97.5, "sparsity": 0.9})
        log.start("cccc", {"criterion": "grasp"})
        log.table("plan1", ["criterion", "top1"], [["snip", 97.5], ["taylor", float("nan")], ["grasp", None]])
        warning = log.close(BOUND_S)
    return Logged(folder, home, warning, read_runs(folder), (shim / "imported").exists())


def test_every_cell_and_the_table_is_one_run_of_the_experiment(logged: Logged) -> None:
    assert logged.warning is None
    assert set(logged.runs) == {"aaaa", "bbbb", "cccc", "digits-plan1"}
    assert {run.group for run in logged.runs.values()} == {"digits"}
    assert {run.project for run in logged.runs.values()} == {"pruning-bench"}
    assert {id_: run.job_type for id_, run in logged.runs.items() if run.job_type} == {"digits-plan1": "table"}


def test_config_is_the_cells(logged: Logged) -> None:
    config = logged.runs["aaaa"].config
    assert config == {"criterion": "snip", "recipe": {"epochs": 3, "lr": 0.1}, "note": "x" * 100_000}
    assert logged.runs["bbbb"].config == {"criterion": "taylor"}


def test_history_has_a_row_an_epoch_in_order(logged: Logged) -> None:
    assert logged.runs["aaaa"].history == [
        {"epoch": epoch, "stage": "dense", "train/loss": pytest.approx(1 / epoch), "val/top1": 90 + epoch}
        for epoch in (1, 2, 3)
    ]
    assert [(row["epoch"], row["stage"]) for row in logged.runs["bbbb"].history] == [
        (epoch, "finetune") for epoch in (1, 2, 3)
    ]


def test_summary_and_exit_code_tell_how_the_cell_ended(logged: Logged) -> None:
    ok, failed, interrupted = (logged.runs[cell] for cell in ("aaaa", "bbbb", "cccc"))
    assert ok.summary.items() >= {"status": "ok", "top1": 97.5, "sparsity": 0.9}.items()
    assert failed.summary.items() >= {"status": "failed", "reason": "non-finite loss"}.items()
    assert (ok.exit_code, failed.exit_code, interrupted.exit_code) == (0, 1, 1)


def test_table_holds_the_rows(logged: Logged) -> None:
    (path,) = logged.folder.glob("wandb/offline-run-*-digits-plan1/files/media/table/accuracy_*.table.json")
    table = json.loads(path.read_text())
    assert table["columns"] == ["criterion", "top1"]
    assert [row[0] for row in table["data"]] == ["snip", "taylor", "grasp"]
    assert table["data"][0][1] == 97.5
    assert table["data"][2][1] is None


def test_files_stay_in_the_results_folder_and_torch_stays_out(logged: Logged) -> None:
    assert [path.name for path in logged.folder.iterdir()] == ["wandb"]
    assert list(logged.home.rglob("*")) == []
    assert not logged.torch_imported


def test_reader_sees_a_flipped_byte(logged: Logged, tmp_path: Path) -> None:
    (log,) = logged.folder.glob("wandb/*/run-aaaa.wandb")
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "run-aaaa.wandb").write_bytes(data)
    with pytest.raises(AssertionError, match="wrong checksum"):
        read_run(tmp_path / "run-aaaa.wandb")


# ---- What may go wrong: a fake wandb, which notes what it is told in the file $NOTES ----

FAKE = """
import os, signal, sys, time, types
def note(*what): print(*what, file=open(os.environ["NOTES"], "a"))
class Run:
    def __init__(self, id): self.id, self.summary = id, {}
    def log(self, metrics): note("log", self.id, metrics["epoch"])
    def finish(self, exit_code): note("finish", self.id, exit_code)
def setup(): return types.SimpleNamespace(settings=types.SimpleNamespace(mode="offline"))
def Settings(**settings): return settings
def init(id, **settings):
    BEHAVIOUR
    return Run(id)
"""

Fake = Callable[[str], Path]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Return a function that makes the logger find a wandb whose init does something first, and returns its notes."""

    def install(behaviour: str, source: str = FAKE) -> Path:
        (tmp_path / "lib" / "wandb").mkdir(parents=True)
        (tmp_path / "lib" / "wandb" / "__init__.py").write_text(source.replace("BEHAVIOUR", behaviour))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
        monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
        (tmp_path / "notes").touch()
        return tmp_path / "notes"

    return install


def _log_two_cells(folder: Path) -> str | None:
    log = open_logger("wandb", "digits", folder)
    for cell in ("aaaa", "bbbb"):
        log.start(cell, {})
        log.epoch(cell, {"epoch": 1})
        log.finish(cell, {"status": "ok"})
    return log.close(BOUND_S)


BOTH_CELLS = ["log aaaa 1", "finish aaaa 0", "log bbbb 1", "finish bbbb 0"]


def _assert_one_line(warning: str | None, about: str) -> None:
    assert warning is not None
    assert about in warning
    assert "\n" not in warning


def test_wandb_that_cannot_be_imported(fake: Fake, tmp_path: Path) -> None:
    fake("", source="raise ImportError('no such\\nlibrary')")
    _assert_one_line(_log_two_cells(tmp_path), "ImportError: no such library")


def test_failure_of_one_cell_leaves_the_others(fake: Fake, tmp_path: Path) -> None:
    notes = fake("if id == 'aaaa': raise RuntimeError('not\\nlogged in')")
    _assert_one_line(_log_two_cells(tmp_path), "RuntimeError: not logged in")
    assert notes.read_text().splitlines() == ["log bbbb 1", "finish bbbb 0"]


def test_wandb_that_hangs_costs_the_bound_and_no_more(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(f"time.sleep({HANG_S})")
    monkeypatch.setattr(module, "MAX_WAITING", 300)
    start = time.monotonic()
    log = open_logger("wandb", "digits", tmp_path)
    for cell in range(1000):
        log.start(f"cell{cell}", {"note": "x" * 1000})  # a pipe holds 64 KiB
    _assert_one_line(warning := log.close(0.2), "stopped after 0.2 s")
    assert "messages dropped" in str(warning)
    assert time.monotonic() - start < BOUND_S


def test_process_that_is_killed(fake: Fake, tmp_path: Path) -> None:
    fake("os.kill(os.getpid(), signal.SIGKILL)")
    _assert_one_line(_log_two_cells(tmp_path), "code -9")


def test_results_folder_that_cannot_be_written(fake: Fake, tmp_path: Path) -> None:
    fake("")
    (tmp_path / "file").touch()
    _assert_one_line(_log_two_cells(tmp_path / "file"), "Error")


def test_process_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    _assert_one_line(_log_two_cells(tmp_path), "absent")


def test_message_that_no_json_holds(fake: Fake, tmp_path: Path) -> None:
    notes = fake("")
    endless: dict[str, object] = {}
    endless["self"] = endless
    log = open_logger("wandb", "digits", tmp_path)
    log.start("aaaa", {"path": tmp_path, "object": object()})
    log.epoch("aaaa", endless)
    log.epoch("aaaa", {"epoch": 2})
    _assert_one_line(log.close(BOUND_S), "1 messages dropped")
    assert notes.read_text().splitlines() == ["log aaaa 2", "finish aaaa 1"]


def test_wandb_that_asks_gets_no_answer_and_no_message(fake: Fake, tmp_path: Path) -> None:
    notes = fake("note('asks', sys.stdin.read() == '')")
    assert _log_two_cells(tmp_path) is None
    assert [line for line in notes.read_text().splitlines() if "asks" not in line] == BOTH_CELLS
    assert notes.read_text().count("asks True") == 2


def test_wandb_that_prints_is_not_heard(fake: Fake, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    notes = fake("print('noise' * 99999, flush=True); print('noise', file=sys.stderr); os.system('echo noise')")
    assert _log_two_cells(tmp_path) is None
    assert notes.read_text().splitlines() == BOTH_CELLS
    assert capfd.readouterr() == ("", "")


def test_process_yields_to_training_and_leaves_ctrl_c_to_the_run(fake: Fake, tmp_path: Path) -> None:
    notes = fake("os.kill(os.getpid(), signal.SIGINT); note(os.nice(0), os.getsid(0) == os.getpid())")
    assert _log_two_cells(tmp_path) is None
    assert notes.read_text().splitlines()[0] == f"{min(os.nice(0) + 10, 19)} True"
    assert [line for line in notes.read_text().splitlines() if "True" not in line] == BOTH_CELLS


def test_only_the_users_project_and_no_foreign_service_is_inherited(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = fake("note(*(os.environ.get(name) for name in ('WANDB_PROJECT', 'WANDB_SERVICE')))")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("WANDB_SERVICE", "3-of-another-process")
    assert _log_two_cells(tmp_path) is None
    assert notes.read_text().splitlines()[0] == "mine None"


@pytest.mark.parametrize(("kind", "mode"), [("none", None), ("wandb", "disabled")])
def test_no_logger_starts_and_writes_nothing(
    kind: str, mode: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setattr(subprocess, "Popen", None)
    log = open_logger(kind, "digits", tmp_path / "out")  # type: ignore[arg-type]
    log.start("aaaa", {})
    log.epoch("aaaa", {"epoch": 1})
    log.finish("aaaa", {"status": "ok"})
    log.table("plan1", ["top1"], [[1.0]])
    assert log.close() is None
    assert not (tmp_path / "out").exists()


# ---- Online or offline ----


class Answer(BaseHTTPRequestHandler):
    """A W&B server that knows one user, if its key is GOOD, and counts the requests."""

    GOOD = "0" * 40
    VIEWER: dict[str, object] = dict.fromkeys(("name", "email", "deletedAt"), "") | {
        "id": "VXNlcjox",
        "entity": "someone",
        "username": "someone",
        "admin": False,
        "flags": "{}",
        "apiKeys": {"edges": []},
        "teams": {"edges": []},
    }

    def do_POST(self) -> None:
        self.server.requests += 1  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers["Content-Length"]))
        known = self.headers["Authorization"] == "Basic " + b64encode(f"api:{self.GOOD}".encode()).decode()
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(json.dumps({"data": {"viewer": self.VIEWER if known else None}}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """A W&B server on this machine, which wandb is told to use."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.requests = 0  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
        yield server
        server.shutdown()


def _decided(tmp_path: Path, timeout_s: float = BOUND_S) -> str:
    """Return the mode that a fresh process decides on."""
    code = f"import os; from bench.logger import decide_mode; print(decide_mode({timeout_s}), flush=True); os._exit(0)"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_SILENT": "true"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=BOUND_S)
    return done.stdout.strip()


def test_no_key_is_offline_without_a_request(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    assert _decided(tmp_path) == "offline"
    assert server.requests == 0  # type: ignore[attr-defined]


def test_key_that_the_server_knows_is_online(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1:{server.server_port} login user password {Answer.GOOD}")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert _decided(tmp_path) == "online"


def test_key_that_the_server_refuses_is_offline(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "1" * 40)
    assert _decided(tmp_path) == "offline"
    assert server.requests > 0  # type: ignore[attr-defined]


def test_dead_server_is_offline_within_the_bound(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", Answer.GOOD)
    server.shutdown()
    server.server_close()
    assert _decided(tmp_path, timeout_s=0.5) == "offline"


def test_users_mode_beats_key_and_server(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", Answer.GOOD)
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text("[default]\nmode = offline\n")  # what `wandb offline` writes
    assert _decided(tmp_path) == "offline"
    assert server.requests == 0  # type: ignore[attr-defined]


# ---- A killed parent ----

PARENT = """
import sys, time
from pathlib import Path
from bench.logger import open_logger
log = open_logger("wandb", "digits", Path(sys.argv[1]))
log.start("aaaa", {})
log.epoch("aaaa", {"epoch": 1})
time.sleep(600)
"""


def _marked(mark: str) -> list[int]:
    """Return the processes whose environment holds the mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def _wait_for(done: Callable[[], bool]) -> None:
    end = time.monotonic() + BOUND_S
    while not done() and time.monotonic() < end:
        time.sleep(0.05)
    assert done()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
def test_killed_parent_leaves_no_process(fake: Fake, tmp_path: Path) -> None:
    """One parent uses the real wandb, which still ends its run; the other's wandb hangs and is ended."""
    notes = fake(f"note('hangs'); time.sleep({HANG_S})")
    libraries = {"real": f"{ROOT}", "hanging": f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}"}
    parents = []
    for kind, path in libraries.items():
        environment = {**os.environ, "PYTHONPATH": path, "MARK": f"{tmp_path}/{kind}"}
        parents.append(subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / kind)], env=environment))
    _wait_for(lambda: list(tmp_path.glob("real/wandb/*/run-aaaa.wandb")) != [] and notes.read_text() == "hangs\n")
    for parent in parents:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    _wait_for(lambda: not any(_marked(f"MARK={tmp_path}/{kind}") for kind in libraries))
    assert read_runs(tmp_path / "real")["aaaa"].exit_code == 1
