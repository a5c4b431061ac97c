"""What a record says of the machine and the code that made it."""

import functools
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import torch


@functools.cache
def describe(device: torch.device) -> dict[str, Any]:
    """Return the columns cpu, gpu and git (null where unknown)."""
    return {"cpu": _cpu(), "gpu": _gpu(device) if device.type == "cuda" else None, "git": _git()}


def _cpu() -> str:
    try:
        match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        match = None
    name = match[1] if match else platform.processor() or platform.machine()
    # Virtual machines of one name may have different instructions, on which kernels, last bits and seconds depend.
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def _gpu(device: torch.device) -> str:
    # The same GPU computes other bits, and takes other times, by other libraries.
    libraries = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"  # type: ignore[no-untyped-call]
    return f"{torch.cuda.get_device_name(device)} ({libraries})"


def _git() -> str | None:
    """Return the commit of the checkout that holds this code, marked `+` where files differ from it."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        return subprocess.check_output(["git", "-C", root, *arguments], text=True, stderr=subprocess.DEVNULL).strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        changes = git("status", "--porcelain", "-uno")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changes else "")
