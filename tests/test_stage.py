"""Work that cells share."""

from pathlib import Path

import torch
from torch import Tensor

from bench.stage import Made
from tests.helpers import workbench


def test_who_makes_a_stage_gets_it_as_who_reads_it(tmp_path: Path) -> None:
    """Sums over tensors of another memory format differ in the last bits."""
    made: list[Tensor] = []

    def make() -> Made:
        made.append(torch.rand(4, 3, 5, 5).to(memory_format=torch.channels_last))
        return {"n": len(made)}, {"a": made[0]}

    first, second = (workbench(tmp_path).stage("key", make) for _ in range(2))
    assert len(made) == 1
    assert first[0]["n"] == second[0]["n"] == 1
    assert torch.equal(first[1]["a"], second[1]["a"])
    assert torch.equal(first[1]["a"], made[0])
    assert first[1]["a"].stride() == second[1]["a"].stride()
