"""Which device a run uses, without importing torch here: one worker is asked, and its answer is kept."""

import json
import os
from importlib.metadata import version
from pathlib import Path

from bench import store
from bench.errors import UserError
from bench.launch import Pool

DEVICES = Path("/dev")


def resolve(device: str, root: Path, pool: Pool) -> tuple[str, int]:
    """Return ("cpu" or "cuda", number of GPUs) for auto, cpu or cuda; UserError for cuda where there is none."""
    gpus = 0 if device == "cpu" else _gpus(root / "cache" / "gpus.json", pool)
    if device == "cuda" and not gpus:
        raise UserError("device=cuda, but torch sees no CUDA device; use device=cpu, or install a CUDA build of torch")
    return ("cuda" if gpus else "cpu"), gpus


def _gpus(cache: Path, pool: Pool) -> int:
    nvidia = sorted(str(path) for path in DEVICES.glob("nvidia*"))
    key = store.digest([version("torch"), os.environ.get("CUDA_VISIBLE_DEVICES"), nvidia])
    try:
        known = dict(json.loads(cache.read_text()))
    except (OSError, ValueError, TypeError):
        known = {}
    if key in known:
        return int(known[key])
    found = int(pool.ask("gpus", None))
    if found or not nvidia:  # a driver that does not answer may be repaired
        store.write(cache, json.dumps({key: found}).encode())
    return found
