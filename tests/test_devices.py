"""Which device a run uses: what one worker says is kept, but not that a driver has no GPU."""

from pathlib import Path
from typing import Any, cast

import pytest

from bench import devices
from bench.errors import UserError
from bench.launch import Pool


class Asked:
    """Stands in for the workers: sees so many GPUs, and counts how often it was asked."""

    def __init__(self, gpus: int) -> None:
        self.gpus, self.times = gpus, 0

    def ask(self, verb: str, facts: Any) -> int:
        self.times += 1
        return self.gpus


def resolved(device: str, root: Path, pool: Asked) -> tuple[str, int]:
    return devices.resolve(device, root, cast(Pool, pool))


@pytest.fixture
def nvidia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the devices of a driver would lie."""
    monkeypatch.setattr(devices, "DEVICES", tmp_path / "dev")
    (tmp_path / "dev").mkdir()
    return tmp_path / "dev" / "nvidia0"


@pytest.mark.parametrize(("driver", "gpus", "times"), [(False, 0, 1), (True, 2, 1), (True, 0, 2)])
def test_an_answer_is_kept_unless_a_driver_has_no_gpu(
    tmp_path: Path, nvidia: Path, driver: bool, gpus: int, times: int
) -> None:
    if driver:
        nvidia.touch()
    pool = Asked(gpus)
    for _ in range(2):
        assert resolved("auto", tmp_path, pool) == ("cuda" if gpus else "cpu", gpus)
    assert pool.times == times


def test_a_gpu_that_appears_is_asked_for_again(tmp_path: Path, nvidia: Path) -> None:
    assert resolved("auto", tmp_path, Asked(0)) == ("cpu", 0)
    nvidia.touch()
    assert resolved("auto", tmp_path, Asked(1)) == ("cuda", 1)


def test_a_broken_cache_is_made_again(tmp_path: Path, nvidia: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "gpus.json").write_text("[1")
    assert resolved("auto", tmp_path, Asked(0)) == ("cpu", 0)


def test_the_cpu_is_asked_for_nothing_and_cuda_is_refused_where_there_is_none(tmp_path: Path, nvidia: Path) -> None:
    pool = Asked(0)
    assert resolved("cpu", tmp_path, pool) == ("cpu", 0)
    assert pool.times == 0
    with pytest.raises(UserError, match="torch sees no CUDA device"):
        resolved("cuda", tmp_path, pool)
