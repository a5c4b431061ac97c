"""Models of torchvision and timm by name; published weights, served from this machine."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from bench import identity
from bench.errors import UserError
from bench.models import build
from bench.schema import Model
from tests.helpers import same

SHAPE = (3, 32, 32)
CLASSES = 1000
NET, TIMM = "squeezenet1_1", "vit_tiny_patch16_224"
SMALL = {"depth": 1, "embed_dim": 12, "num_heads": 3}


def model(library: str = "torchvision", name: str = NET, weights: str | None = None, **options: object) -> Model:
    factory = f"bench.models.zoo:{library}_model"
    return Model(name=name, factory=factory, options={"name": name, **options}, weights=weights)


class Site(NamedTuple):
    folder: Path
    url: str

    def publish(self, state: dict[str, Any], stem: str) -> str:
        """Serve a state dict under a name that carries its hash, and return the address."""
        file = self.folder / "file"
        torch.save(state, file)
        name = f"{stem}-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth"
        file.rename(self.folder / name)
        return f"{self.url}/{name}"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A folder that is served; torch hub's cache is elsewhere and empty."""
    (tmp_path / "site").mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    monkeypatch.setattr(handler.func, "log_message", lambda *_: None)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    yield Site(tmp_path / "site", f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


@pytest.fixture
def squeezenet(site: Site, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """What is published as torchvision's SqueezeNet."""
    state = build(model(), SHAPE, CLASSES, seed=7).state_dict()
    weights = models.SqueezeNet1_1_Weights.IMAGENET1K_V1.value
    monkeypatch.setattr(weights, "url", site.publish(state, NET))
    return state


@pytest.mark.parametrize(
    ("library", "name", "parameters"),
    [  # of the papers, in millions, with 1000 classes
        ("torchvision", "resnet18", 11.69),
        ("torchvision", "mobilenet_v2", 3.50),
        ("torchvision", "convnext_tiny", 28.59),
        ("timm", "deit_small_patch16_224", 22.05),
    ],
)
def test_sizes_are_those_of_the_papers(library: str, name: str, parameters: float) -> None:
    shape = (3, 224, 224) if library == "timm" else SHAPE
    with torch.device("meta"):
        network = build(model(library, name), shape, CLASSES, seed=0)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == parameters


def test_a_seed_decides_all_and_no_global_generator_moves() -> None:
    before = torch.get_rng_state()
    one, again, other = (build(model(), SHAPE, 10, seed).state_dict() for seed in (0, 0, 1))
    assert same(one, again)
    assert not same(one, other)
    assert torch.equal(torch.get_rng_state(), before)
    assert build(model(), SHAPE, 10, 0).eval()(torch.zeros(1, *SHAPE)).shape == (1, 10)


def test_vision_transformers_are_built_for_the_inputs_size() -> None:
    for library, name, options in (("timm", TIMM, SMALL), ("torchvision", "vit_b_16", {})):
        with torch.device("meta"):
            network = build(model(library, name, **options), SHAPE, 10, 0)
            assert network.eval()(torch.zeros(1, *SHAPE)).shape == (1, 10)


def test_published_weights_whatever_the_seed_and_a_fresh_head_for_other_classes(squeezenet: dict[str, Tensor]) -> None:
    given = model(weights="IMAGENET1K_V1")
    assert same(build(given, SHAPE, CLASSES, 0).state_dict(), squeezenet)
    one, other = (build(given, SHAPE, 10, seed).state_dict() for seed in (0, 1))
    fresh = build(model(), SHAPE, 10, 0).state_dict()
    for key, tensor in one.items():
        head = key.startswith("classifier")
        assert torch.equal(tensor, fresh[key] if head else squeezenet[key])
        assert torch.equal(tensor, other[key]) == (not head or key.endswith("bias"))
    assert identity.weights_hash(given) == "IMAGENET1K_V1"


def test_a_file_that_is_not_the_pinned_one_is_refused(squeezenet: dict[str, Tensor], tmp_path: Path) -> None:
    given = model(weights="IMAGENET1K_V1")
    with pytest.raises(UserError, match=r"cannot be fetched from .*invalid hash value"):
        build(given.model_copy(update={"options": given.options | {"sha256": 64 * "0"}}), SHAPE, 10, 0)
    build(given, SHAPE, 10, 0)
    (cached,) = (tmp_path / "hub" / "checkpoints").iterdir()
    cached.write_bytes(cached.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"squeezenet1_1-\w{8}\.pth is damaged or another file.*remove it"):
        build(given, SHAPE, 10, 0)


def test_without_the_network_one_line_says_which_file_to_put_where(
    site: Site, squeezenet: dict[str, Tensor], tmp_path: Path
) -> None:
    for path in site.folder.iterdir():
        path.rename(tmp_path / path.name)
    with pytest.raises(UserError) as error:
        build(model(weights="IMAGENET1K_V1"), SHAPE, 10, 0)
    message = str(error.value)
    assert "\n" not in message
    assert str(tmp_path / "hub" / "checkpoints") in message
    assert "HTTP Error 404" in message
    assert "model.weights=FILE" in message
    (file,) = tmp_path.glob("*.pth")
    assert f"put {file.name} (sha256 {file.stem[-8:]}...)" in message
    file.rename(tmp_path / "hub" / "checkpoints" / file.name)
    build(model(weights="IMAGENET1K_V1"), SHAPE, 10, 0)


def test_timms_weights_by_tag(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = timm.models.get_pretrained_cfg("deit_tiny_patch16_224.fb_in1k")
    state = build(model("timm", "deit_tiny_patch16_224", depth=1), (3, 224, 224), CLASSES, 7).state_dict()
    serving = replace(fixed, url=site.publish({"model": state}, "deit"))
    monkeypatch.setattr(timm.models, "get_pretrained_cfg", lambda name: serving)
    given = model("timm", "deit_tiny_patch16_224", "fb_in1k", depth=1)
    loaded = build(given, (3, 224, 224), 10, 0).state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state if not key.startswith("head"))
    assert loaded["head.weight"].shape == (10, 192)
    assert build(given, SHAPE, 10, 0).state_dict()["pos_embed"].shape == (1, 5, 192)  # interpolated


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (model(name="resnet51"), r"torchvision has no model 'resnet51'; .*resnet50"),
        (model("timm", "vit_tiny_patch16_223"), r"timm has no model .*vit_tiny_patch16_224"),
        (model(weights="IMAGENET1K_V2"), r"squeezenet1_1 has no weights 'IMAGENET1K_V2'; .*IMAGENET1K_V1"),
        (model("timm", TIMM, "fb_in1k"), r"vit_tiny_patch16_224 has no weights 'fb_in1k'; .*augreg"),
        (model("timm", TIMM, "augreg_in21k_ft_in1k"), r"normalised with mean \(0\.5, 0\.5, 0\.5\)"),
        (model("timm", "convnext_tiny", "fb_in1k"), r"no sha256 in its name: pin .*\+model\.options\.sha256=HEX"),
        (model(weights="nosuch.pt"), r"nosuch\.pt"),
    ],
)
def test_users_mistakes(given: Model, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        build(given, SHAPE, 10, 0)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="colour images"):
        build(model(), (1, 8, 8), 10, 0)


def test_a_users_file_of_another_architecture(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"w\.pt is of another architecture"):
        build(model(weights=str(tmp_path / "w.pt")), SHAPE, 10, 0)
