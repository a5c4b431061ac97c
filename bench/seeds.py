"""One root seed; every use of chance has its own stream, so that no use can disturb another."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derived_seed(seed: int, *use: str | int) -> int:
    """Return a 63-bit seed that depends on `seed` and every word of `use`: `derived_seed(0, "order", epoch)`."""
    text = "/".join(map(str, (seed, *use)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *use: str | int) -> torch.Generator:
    """Return a CPU generator for one use; the same on every device, so CPU and GPU runs see the same data order."""
    return torch.Generator().manual_seed(derived_seed(seed, *use))


@contextmanager
def global_stream(seed: int, *use: str | int) -> Iterator[None]:
    """Seed the global CPU generator inside the block (for `nn.Module` constructors) and restore it afterwards."""
    with restored_generators(torch.device("cpu")):
        torch.manual_seed(derived_seed(seed, *use))
        yield


@contextmanager
def restored_generators(device: torch.device) -> Iterator[None]:
    """Give the global generators (CPU and `device`) back as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
