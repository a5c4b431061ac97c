"""Weights & Biases beside a run and never in its way.

The run puts small messages on a queue and goes on; a thread writes them, one JSON line each, to one process that turns
every cell into a W&B run. That process is this file, run as a script: it loads no torch, runs at low priority, prints
nothing, asks nothing and leaves with its parent. What goes wrong in it costs W&B's copy of the curves and no cell.
Nothing is ever read back: records are the truth.

- run id, group, directory: the cell's id, the experiment, `OUT/wandb`; config: the cell's resolved configuration
- history, a row an epoch: `epoch` (from 1, within its stage), `stage`, `lr`, `train/loss`, `val/loss`, `val/top1` (%)
- summary: the columns of the cell's record; exit code 1 where its `status` is not ok, or the benchmark was stopped
- a run of job type `table`: one plan's accuracy table, under the key `accuracy`

The mode is decided once a run: the user's (`WANDB_MODE`, `wandb offline`) where there is one, else online if a key is
present and the server accepts it in time, else offline (`wandb sync OUT/wandb/offline-run-*` uploads it later).
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import wandb

Kind = Literal["wandb", "none"]
PROJECT = "pruning-bench"
PROBE_S = 5.0  # the longest the probe of the W&B server may take
INIT_S = 20.0  # the longest the opening of an online run may take; wandb itself would wait 90 s
GRACE_S = 5.0  # how long the serving process may still flush after its parent was killed
MAX_WAITING = 10_000  # messages kept for a process that does not read; what comes on top is dropped and counted


class Logger:
    """What a run may log. This one logs nothing (`logger=none`); no method raises, and none but `close` waits."""

    def __init__(self, warning: str | None = None) -> None:
        """Keep the line that `close` is to return."""
        self._warning = warning

    def start(self, cell: str, config: Mapping[str, object]) -> None:
        """Open the run of a cell with its resolved configuration."""
        self._put("start", cell, config)

    def epoch(self, cell: str, metrics: Mapping[str, object]) -> None:
        """Add one row to the cell's curves, named as in the module's docstring."""
        self._put("epoch", cell, metrics)

    def finish(self, cell: str, summary: Mapping[str, object]) -> None:
        """Close the run of a cell with its record's columns, `status` among them."""
        self._put("finish", cell, summary)

    def table(self, plan: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Log the accuracy table of the plan with this id, in a run of its own."""
        self._put("table", plan, {"columns": columns, "data": rows})

    def close(self, timeout_s: float = 10.0) -> str | None:
        """Flush for at most `timeout_s` seconds; return one line on what went wrong, or None. Called once, last."""
        return self._warning

    def _put(self, verb: str, key: str, payload: Mapping[str, object]) -> None:
        """Pass one message on."""


def open_logger(kind: Kind, experiment: str, folder: Path) -> Logger:
    """Return the logger of one run of `experiment`, whose results lie in `folder`: W&B's files go to `folder`/wandb.

    `WANDB_MODE=disabled` is `none`; `WANDB_PROJECT` beats PROJECT. A machine that cannot start W&B still runs.
    """
    if kind == "none" or os.environ.get("WANDB_MODE") == "disabled":
        return Logger()
    try:
        return WandbLogger(experiment, folder)
    except (OSError, RuntimeError) as error:
        return Logger(f"W&B did not start ({error}); the records are not affected.")


class WandbLogger(Logger):
    """Sends each message to the serving process, by a thread that alone may wait for it."""

    def __init__(self, experiment: str, folder: Path) -> None:
        """Start the process and the thread; raises OSError or RuntimeError where the system refuses one."""
        super().__init__()
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._dropped = 0
        self._process = subprocess.Popen(
            # -P: the modules beside this file must not hide libraries of the same name.
            [sys.executable, "-P", __file__, str(os.getpid()), experiment, str(folder.absolute())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,  # a buffer held by the thread could stop the interpreter from exiting
            env=_environment(folder.absolute() / "wandb"),
            start_new_session=True,  # Ctrl-C is the run's business
        )
        threading.Thread(target=self._feed, name="wandb-feed", daemon=True).start()

    def close(self, timeout_s: float = 10.0) -> str | None:
        """Flush for at most `timeout_s` seconds, then end the process; return the first failure's line, or None."""
        self._queue.put(None)
        try:
            code = self._process.wait(timeout_s)
            end = f"its process ended with code {code}" if code else ""
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            end = f"stopped after {timeout_s:g} s"
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            failure = pipe.read().decode(errors="replace").strip()
        dropped = f"{self._dropped} messages dropped" if self._dropped else ""
        reasons = "; ".join(filter(None, [failure, end, dropped]))
        return f"W&B is incomplete ({reasons}); the records are not affected." if reasons else None

    def _put(self, verb: str, key: str, payload: Mapping[str, object]) -> None:
        """Queue one message as a JSON line, whatever it holds and whatever has become of the process."""
        try:
            if self._queue.qsize() >= MAX_WAITING:
                raise BufferError
            text = json.dumps([verb, key, payload], default=lambda x: x.item() if hasattr(x, "item") else str(x))
            self._queue.put(text.encode() + b"\n")
        except Exception:
            self._dropped += 1

    def _feed(self) -> None:
        """Write the queue to the process until None comes; a dead process ends it early, and `close` says so."""
        pipe = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(OSError), pipe:
            for line in iter(self._queue.get, None):
                rest = memoryview(line)
                while rest:
                    rest = rest[pipe.write(rest) :]


def _environment(folder: Path) -> dict[str, str]:
    """Return the serving process's environment: files in `folder`, no telemetry, no git, no other run's service."""
    defaults = {"WANDB_PROJECT": PROJECT, "WANDB_ERROR_REPORTING": "false", "WANDB_DISABLE_GIT": "true"}
    places = {"WANDB_CACHE_DIR": str(folder / "cache"), "WANDB_DATA_DIR": str(folder / "cache")}
    inherited = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}
    return defaults | inherited | places


# Everything below runs in the serving process.


def decide_mode(timeout_s: float = PROBE_S) -> str:
    """Return the user's mode where `WANDB_MODE` or wandb's settings say one; else online if wandb finds a key that its
    server accepts within `timeout_s`, else offline. Without a key nothing is sent.
    """
    import wandb

    mode = wandb.setup().settings.mode
    if "WANDB_MODE" in os.environ or mode != "online":
        return mode
    accepted = threading.Event()

    def probe() -> None:
        with contextlib.suppress(Exception):
            if wandb.Api().viewer:
                accepted.set()

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(timeout_s)  # wandb tries again for minutes
    return "online" if accepted.is_set() else "offline"


class _Server:
    """Turns messages into W&B runs, several open at once; reports the first failure and drops the rest of its run."""

    def __init__(self, experiment: str, folder: Path, report: IO[str]) -> None:
        self._experiment, self._folder, self._report = experiment, folder, report
        self._mode: str | None = None
        self._runs: dict[str, wandb.Run] = {}

    def handle(self, verb: str, key: str, payload: dict[str, Any]) -> None:
        """Serve one message (one of the four methods below); never raises."""
        try:
            getattr(self, verb)(key, payload)
        except Exception as error:
            self._runs.pop(key, None)
            self._warn(error)

    def finish_all(self) -> None:
        """Close the runs that nobody finished: the benchmark was stopped or killed."""
        for cell in list(self._runs):
            self.handle("finish", cell, {"status": "interrupted"})

    def start(self, cell: str, config: dict[str, Any]) -> None:
        self._runs[cell] = self._open(id=cell, config=config)

    def epoch(self, cell: str, metrics: dict[str, Any]) -> None:
        if cell in self._runs:
            self._runs[cell].log(metrics)

    def finish(self, cell: str, summary: dict[str, Any]) -> None:
        if run := self._runs.pop(cell, None):
            run.summary.update(summary)
            run.finish(exit_code=int(summary.get("status") != "ok"))

    def table(self, plan: str, content: dict[str, Any]) -> None:
        import wandb

        run = self._open(id=f"{self._experiment}-{plan}", job_type="table")
        run.log({"accuracy": wandb.Table(**content, allow_mixed_types=True)})
        run.finish()

    def _open(self, **what: Any) -> "wandb.Run":
        import wandb

        self._mode = self._mode or decide_mode()
        (self._folder / "wandb").mkdir(parents=True, exist_ok=True)  # else wandb would write to the temporary folder
        return wandb.init(
            **what,
            name=what["id"],
            group=self._experiment,
            dir=self._folder,
            mode=self._mode,  # type: ignore[arg-type]
            resume="allow",  # a killed cell's run goes on
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=INIT_S,
                symlink=False,
                disable_code=True,
                x_disable_stats=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
        )

    def _warn(self, error: Exception) -> None:
        """Report the first failure in one short line."""
        if not self._report.closed:
            with contextlib.suppress(OSError), self._report:
                self._report.write(" ".join(f"{type(error).__name__}: {error}".split())[:300])


def _leave_with(parent: int) -> None:
    """End this process soon after its parent, even when wandb hangs; wandb's own service process then ends, too."""
    while os.getppid() == parent:
        time.sleep(0.5)
    time.sleep(GRACE_S)
    os._exit(1)


def _serve(parent: str, experiment: str, folder: str) -> None:
    """Serve the messages on standard input until the parent closes it; the first failure goes to standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(10)
    threading.Thread(target=_leave_with, args=(int(parent),), daemon=True).start()
    with (
        os.fdopen(os.dup(0)) as messages,
        os.fdopen(os.dup(1), "w", errors="replace") as report,
        open(os.devnull, "r+") as nothing,
    ):
        os.dup2(nothing.fileno(), 0)  # wandb may neither read the messages, nor write to the report, nor hand them on
        os.dup2(nothing.fileno(), 1)
        server = _Server(experiment, Path(folder), report)
        for message in messages:
            with contextlib.suppress(ValueError):  # a line that its writer was killed in
                server.handle(*json.loads(message))
        server.finish_all()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
