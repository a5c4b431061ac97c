"""ImageNet's way through the command line, on a small folder."""

import subprocess
from pathlib import Path

from bench.store import load_records
from tests.helpers import call
from tests.images import image_folder, spoil

NET = """
from torch import nn
def net(shape, classes):
    layers = nn.Conv2d(shape[0], 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(8, classes))
"""


def run(folder: Path, out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    tiny = "size=32 resize=36 validation=8".split()
    short = "epochs=1 milestones=[] finetune_epochs=1 batch_size=16 lr=0.01".split()
    words = ["dataset=imagenet", f"dataset.root={folder}", *(f"dataset.{word}" for word in tiny)]
    words += ["recipe=imagenet", *(f"recipe.{word}" for word in short), "criterion=magnitude", "sparsity=0.5", "seed=0"]
    return call("run", *words, f"out={out}", "logger=none", "workers=1", *arguments)


def test_a_run_on_image_files_with_a_known_model_and_ones_own(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    models = f"model=[torchvision:squeezenet1_1,{tmp_path / 'net.py'}:net]"
    done = run(image_folder(tmp_path / "set"), tmp_path / "out", models)
    assert done.returncode == 0, done.stderr
    frame = load_records(tmp_path / "out")
    assert set(frame.model) == {"squeezenet1_1", "net.net"}
    assert frame.criterion.value_counts().to_dict() == {"magnitude": 2, "dense": 2, "dense_longer": 2}
    assert (frame.status == "ok").all()
    assert frame.dataset_hash.nunique() == 1
    assert (frame[frame.criterion == "magnitude"].sparsity.sub(0.5).abs() < 1e-3).all()


def test_unreadable_images_refuse_the_run_before_any_training(tmp_path: Path) -> None:
    spoil(image_folder(tmp_path / "set") / "train" / "n02" / "3.JPEG")
    refused = run(tmp_path / "set", tmp_path / "out", "model=resnet18")
    assert refused.returncode != 0
    (line,) = refused.stderr.splitlines()
    assert "1 of 52 images are unreadable" in line
    assert "n02/3.JPEG" in line
    assert not list((tmp_path / "out").glob("cells/*"))
