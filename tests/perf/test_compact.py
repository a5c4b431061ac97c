"""Fine-tuning what is left of a network after filters are gone, against training it under their masks."""

import pytest
import torch

from bench.models.resnet import resnet
from bench.schedule import training_rates
from bench.train import Trainer
from tests.helpers import data, recipe
from tests.perf.timing import one_thread, race
from tests.structures import structure

RECIPE = recipe(epochs=99, batch_size=128, momentum=0.9, nesterov=True, weight_decay=5e-4, crop_padding=4, flip=True)
SAMPLES = data(train=2000, validation=0, test=1, shape=(3, 32, 32), classes=10)
STEPS = 16
"""An epoch."""


class Epochs:
    """ResNet-20 without a share of the filters of each layer; each call is an epoch."""

    def __init__(self, share: float, compacted: bool) -> None:
        model = resnet((3, 32, 32), 10, depth=20).to(memory_format=torch.channels_last)
        rates = training_rates(RECIPE, STEPS)
        self.trainer = Trainer(model, SAMPLES, RECIPE, rates, seed=0, stream="finetune", precision="fp32")
        whole = structure(model, torch.zeros(1, 3, 32, 32))
        kept = {units.name: torch.arange(units.count) >= round(share * units.count) for units in whole.groups}
        self.trainer.mask(whole.masks(model, kept))
        self.small = whole.compacted(model, self.trainer.masks) if compacted else None

    def __call__(self) -> None:
        until = self.trainer.step + STEPS
        if self.small is None:
            self.trainer.run(until, lambda row: None)
        else:
            self.trainer.run_compacted(self.small, until, lambda row: None)


@pytest.mark.perf
def test_the_compacted_network_trains_faster_than_the_masked_one() -> None:
    with one_thread():
        masked, *small = Epochs(0.5, compacted=False), *(Epochs(share, compacted=True) for share in (0.5, 0.7))
        seconds = race(3, masked=masked, half=small[0], seven_tenths=small[1])
    print(f"half the filters / masked {seconds['half'] / seconds['masked']:.3f}, bound 1")
    print(f"three tenths of the filters / masked {seconds['seven_tenths'] / seconds['masked']:.3f}")
    assert seconds["half"] < seconds["masked"]
    assert seconds["seven_tenths"] < seconds["half"]
