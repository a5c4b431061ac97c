"""Peak memory of one cell."""

import gc
import re
from pathlib import Path

import torch


class PeakMemory:
    """Measures from its creation on: of tensors on CUDA, of the whole process on Linux."""

    def __init__(self, device: torch.device) -> None:
        gc.collect()  # what ran before may be held by cycles of references, and is no part of this
        self.device = device
        self.measurable = True
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            self.measurable = False

    def mb(self) -> float | None:
        """Return the peak in MB (10^6 bytes), or null where the system does not let it be reset."""
        if not self.measurable:
            return None
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e6
        match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(match[1]) * 1.024e-3 if match else None
