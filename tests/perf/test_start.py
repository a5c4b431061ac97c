"""How quickly the command line answers: help imports nothing that takes long."""

import json
import subprocess
import sys
import time

import pytest

from tests.perf.timing import race

SLOW = ("torch", "torchvision", "hydra", "omegaconf", "pandas", "numpy", "pydantic", "sklearn", "matplotlib", "wandb")


def loaded(*arguments: str) -> set[str]:
    """Return the top-level modules that a call of the command line has imported at its end."""
    code = (
        "import contextlib, io, json, sys; from bench.__main__ import main\n"
        f"with contextlib.redirect_stdout(io.StringIO()): status = main({list(arguments)})\n"
        "assert status == 0, status\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    return set(json.loads(subprocess.check_output([sys.executable, "-c", code], text=True)))


@pytest.mark.parametrize("arguments", [["--help"], [], ["list"]])
def test_help_and_list_import_nothing_slow(arguments: list[str]) -> None:
    assert not loaded(*arguments) & set(SLOW)


def test_planning_imports_neither_torch_nor_what_reads_data() -> None:
    code = "import bench.verbs.run, sys; print(*sys.modules)"
    modules = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert "hydra" in modules
    assert not {"torch", "torchvision", "sklearn"} & set(modules)


@pytest.mark.perf
def test_help_starts_as_fast_as_python() -> None:
    def call(*arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    seconds = race(
        15,
        time.perf_counter,
        python=lambda: call("-c", "pass"),
        help=lambda: call("-m", "bench", "--help"),
    )
    print(f"help / python {seconds['help'] / seconds['python']:.2f}, bound 10")
    assert seconds["help"] <= 10 * seconds["python"]
