"""A user's own weights: taken as they are, refused in one line where damaged or of another architecture."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bench.errors import UserError
from bench.models import build
from bench.schema import Model

LENET = Model(name="lenet", factory="bench.models.lenet:lenet300_100")


def lenet(seed: int, weights: Path | None = None) -> torch.nn.Module:
    file = str(weights) if weights else None
    return build(LENET.model_copy(update={"weights": file}), (1, 4, 4), 3, seed)


@pytest.mark.parametrize("kind", ["safetensors", "pt", "nested"])
def test_the_files_weights_are_those_of_the_network_whatever_the_seed(tmp_path: Path, kind: str) -> None:
    state = lenet(7).state_dict()
    file = tmp_path / f"my weights.{'safetensors' if kind == 'safetensors' else 'pt'}"
    if kind == "safetensors":
        save_file(state, file)
    else:
        torch.save({"state_dict": state} if kind == "nested" else state, file)
    loaded = lenet(0, file).state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_damaged_and_unfit_files_are_one_line(tmp_path: Path) -> None:
    good = tmp_path / "w.safetensors"
    save_file(lenet(0).state_dict(), good)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[:-7])
    text = tmp_path / "text.pt"
    text.write_text("no weights")
    other = tmp_path / "other.pt"
    torch.save(build(LENET, (1, 8, 8), 3, 0).state_dict(), other)
    fewer = tmp_path / "fewer.pt"
    torch.save(dict(list(lenet(0).state_dict().items())[1:]), fewer)
    cases = (
        (cut, "cannot be read"),
        (text, "cannot be read"),
        (other, "another architecture"),
        (fewer, "1 tensors missing"),
    )
    for file, words in cases:
        with pytest.raises(UserError, match=words) as caught:
            lenet(0, file)
        assert "\n" not in str(caught.value)
        assert file.name in str(caught.value)
