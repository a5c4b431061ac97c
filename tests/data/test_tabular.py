from pathlib import Path

import pytest
import torch
from sklearn import datasets

from bench import catalogue, schema
from bench.data import Data, load, tabular
from bench.errors import UserError
from tests.helpers import scoring_batches

CPU = torch.device("cpu")


def configured(name: str, validation: int = 0) -> schema.Dataset:
    return schema.Dataset(name=name, title=name, reader=f"bench.data.tabular:{name}", validation=validation)


def sorted_rows(inputs: torch.Tensor, targets: torch.Tensor) -> list[tuple[float, ...]]:
    return sorted(map(tuple, torch.cat([inputs, targets[:, None].float()], dim=1).tolist()))


@pytest.mark.parametrize("name", ["breast_cancer", "diabetes"])
def test_the_rows_are_scikit_learns(name: str) -> None:
    options = {"scaled": False} if name == "diabetes" else {}
    inputs, targets = getattr(datasets, f"load_{name}")(return_X_y=True, **options)
    raw = getattr(tabular, name)(configured(name))
    ours = sorted_rows(torch.cat([raw.train.inputs, raw.test.inputs]), torch.cat([raw.train.targets, raw.test.targets]))
    assert ours == sorted_rows(torch.tensor(inputs).float(), torch.tensor(targets))
    assert len(raw.test) == round(len(inputs) / 5)
    assert torch.equal(raw.test.inputs, getattr(tabular, name)(configured(name, 9)).test.inputs)


def test_breast_cancer_has_two_classes_in_every_split_and_a_balanced_scoring_set() -> None:
    data = load(configured("breast_cancer", 57), CPU)
    assert (data.num_classes, data.input_shape, data.measure) == (2, (30,), "top1")
    for split in (data.train, data.validation, data.test):
        assert split.targets.dtype == torch.int64
        assert abs(float(split.targets.double().mean()) - 357 / 569) < 1 / 57
    targets = torch.cat([targets for _, targets in scoring_batches(data, 0, 128, 32)])
    assert targets.bincount().tolist() == [64, 64]


def test_diabetes_is_a_regression_with_a_random_scoring_set() -> None:
    data: Data = load(configured("diabetes", 44), CPU)
    assert (data.num_classes, data.input_shape, data.measure) == (None, (10,), "r2")
    assert abs(float(data.train.targets.mean())) < 1e-5
    assert float(data.train.targets.std(correction=0)) == pytest.approx(1, abs=1e-5)
    first, again, other = (scoring_batches(data, seed, None, 32) for seed in (0, 0, 1))
    assert [len(targets) for _, targets in first] == [32] * 9  # of 310
    assert torch.equal(first[0][0], again[0][0])
    assert not torch.equal(first[0][0], other[0][0])


def test_a_broken_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "breast_cancer.csv").write_text("569,30\n1,none\n")
    monkeypatch.setattr(catalogue, "sklearn_folder", lambda: tmp_path)
    with pytest.raises(UserError, match=r"cannot be read from .*breast_cancer\.csv.*install scikit-learn"):
        tabular.breast_cancer(configured("breast_cancer"))


def test_only_images_have_a_mean_that_is_given() -> None:
    with pytest.raises(UserError, match=r"diabetes has 0 channels: dataset\.mean"):
        load(configured("diabetes").model_copy(update={"mean": (0.5,), "std": (0.5,)}), CPU)
