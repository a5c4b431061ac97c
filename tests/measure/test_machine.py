"""What a record says of the machine and of the code."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from bench.measure import machine


def test_columns_of_a_cpu() -> None:
    columns = machine.describe(torch.device("cpu"))
    assert columns.keys() == {"cpu", "gpu", "git"}
    assert columns["gpu"] is None
    assert isinstance(columns["cpu"], str)
    assert columns["cpu"].endswith(f" ({torch.backends.cpu.get_cpu_capability()})")


def test_cpu_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert machine._cpu() == "arm64 (DEFAULT)"


def test_instruction_sets_of_one_processor_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for capability in ("AVX2", "AVX512"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda capability=capability: capability)
        names.append(machine._cpu())
    assert len(set(names)) == 2


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_commit_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "bench" / "measure" / "machine.py"))
    assert machine._git() is None  # an installed package

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
        return subprocess.check_output(["git", "-C", tmp_path, *identity, *arguments], text=True, stderr=-3).strip()

    git("init")
    assert machine._git() is None  # no commit yet
    (tmp_path / "file.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "one")
    commit = git("rev-parse", "HEAD")[:12]
    assert machine._git() == commit
    (tmp_path / "results").write_text("new files are no change of the code")
    assert machine._git() == commit
    (tmp_path / "file.py").write_text("2")
    assert machine._git() == f"{commit}+"


def test_no_git_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "bench" / "measure" / "machine.py"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine._git() is None
