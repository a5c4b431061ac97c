from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from bench import schema
from bench.data import Data, Raw, load, text
from bench.errors import UserError

TRAIN = """text,label
"Don't go, it's DULL",bad

"A fine, fine
film",good
"""
TEST = "label,text\ngood,a fine plot\nbad,?!\n"


def configured(root: Path, validation: float = 0, **fields: Any) -> schema.Dataset:
    options = schema.Text(**{"length": 5, "vocabulary": 9} | fields)
    reader = "bench.data.text:read"
    return schema.Dataset(
        name="words", title="Words", reader=reader, root=str(root), validation=validation, text=options
    )


def read(root: Path, **fields: Any) -> Raw:
    return text.read(configured(root, **fields))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").write_text(TRAIN, encoding="utf-8-sig")
    (tmp_path / "test.csv").write_text(TEST)
    return tmp_path


def test_texts_become_lower_case_words_of_one_length(folder: Path) -> None:
    raw = read(folder)
    words = ["a", "don't", "dull", "film", "fine", "go", "it's", "plot"]
    ids = {word: place for place, word in enumerate(words, start=2)}
    expected = [[ids[w] for w in line.split()] for line in ("don't go it's dull", "a fine fine film")]
    assert raw.train.inputs.tolist() == [[*row, 0] for row in expected]
    assert raw.test.inputs.tolist() == [[ids["a"], ids["fine"], ids["plot"], 0, 0], [1, 0, 0, 0, 0]]
    assert (raw.train.targets.tolist(), raw.test.targets.tolist(), raw.num_classes) == ([0, 1], [1, 0], 2)
    assert read(folder, length=2).train.inputs.tolist() == [[3, 5], [2, 4]]  # of: a, don't, fine, go


def test_ids_are_by_frequency_in_the_training_part_without_validation(tmp_path: Path) -> None:
    words = [f"w{number:02d}" for number in range(30)]
    rows = [f"{' '.join(words[: 1 + row % 30])},{row % 3}" for row in range(300)]
    (tmp_path / "all.csv").write_text("\n".join(["text,label", *rows]))
    raw: Raw = read(tmp_path / "all.csv", length=30)
    assert (len(raw.train), len(raw.test)) == (240, 60)
    assert raw.test.targets.bincount().tolist() == [20, 20, 20]
    data: Data = load(configured(tmp_path / "all.csv", validation=0.25, length=30, vocabulary=12), torch.device("cpu"))
    assert (len(data.train), len(data.validation), len(data.test)) == (180, 60, 60)
    counts = Counter(data.train.inputs[data.train.inputs > 1].tolist())
    assert sorted(counts) == list(range(2, 12))
    assert sorted(counts.values(), reverse=True) == [counts[word] for word in range(2, 12)]
    assert data.train.inputs.dtype == torch.int64
    assert (data.input_shape, data.num_classes, data.measure) == ((30,), 3, "top1")
    for split in (data.validation, data.test):
        assert set(split.inputs.unique().tolist()) <= set(range(12))


@pytest.mark.parametrize("labels", [[10, 9, -1], ["10", "9", "-1"]])
def test_integer_labels_are_ordered_by_size_in_csv_and_parquet_alike(tmp_path: Path, labels: list[Any]) -> None:
    frame = pd.DataFrame({"said": ["one", "two", "three"], "stars": labels, "else": [None, 1.5, "x"]}).astype(
        {"else": str}
    )
    columns = {"column": "said", "label": "stars"}
    frame.to_parquet(tmp_path / "train.parquet")
    frame.to_csv(tmp_path / "all.csv", index=False)
    for path in (tmp_path / "train.parquet", tmp_path / "all.csv"):
        raw = read(path, **columns)
        found = torch.cat([raw.train.targets, raw.test.targets]).sort().values
        assert found.tolist() == [0, 1, 2]
    (tmp_path / "test.parquet").write_bytes((tmp_path / "train.parquet").read_bytes())
    assert read(tmp_path, **columns).train.targets.tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("txt,label\na,1\nb,2\n", TEST, r"train\.csv has no column 'text'; did you mean txt\?.*dataset\.text\.column="),
        (TRAIN, "text,lab\n", r"test\.csv has no column 'label'; did you mean lab\?"),
        ("", TEST, r"train\.csv is empty"),
        ("text,label\n", TEST, r"train\.csv holds no texts"),
        ("text,label\na,b,good\n", TEST, r"train\.csv cannot be read as CSV.*row 1 has 3 values for 2 columns.*quotes"),
        ('text,label\n"a"b,good\n', TEST, r"train\.csv cannot be read as CSV in UTF-8: ',' expected after"),
        (b"text,label\n\xff,good\n", TEST, r"train\.csv cannot be read as CSV in UTF-8: 'utf-8' codec"),
        ("text,label\na,good\nb,\n", TEST, r"train\.csv: row 2: column 'label' must hold a string or an integer"),
        ("text,label\na,good\nb,good\n", TEST, r"train\.csv has but one label, 'good'"),
        (TRAIN, "text,label\na,bad\nb,ugly\n", r"test\.csv: row 2: label 'ugly' is not in the training.*'bad', 'good'"),
    ],
)
def test_what_is_wrong_with_the_files(tmp_path: Path, train: str | bytes, test: str, message: str) -> None:
    (tmp_path / "train.csv").write_bytes(train if isinstance(train, bytes) else train.encode())
    (tmp_path / "test.csv").write_text(test)
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"text": ["a", None], "label": [0, 1]}, r"row 2: column 'text' must hold text, not"),
        (
            {"text": ["a", "b"], "label": [0.5, 1.5]},
            r"row 1: column 'label' must hold a string or an integer, not 0\.5",
        ),
        (
            {"text": ["a", "b"], "label": pd.array([1, None], dtype="Int64")},
            r"row 2: column 'label' must hold a string or an integer",
        ),
    ],
)
def test_what_is_wrong_with_values_of_parquet(tmp_path: Path, column: dict[str, Any], message: str) -> None:
    pd.DataFrame(column).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(UserError, match=rf"train\.parquet: {message}"):
        read(tmp_path)


def test_a_file_that_is_no_parquet_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"words is not there: put train\.csv or train\.parquet"):
        read(tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match=r"train\.parquet cannot be read as parquet"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"words needs dataset\.text"):
        text.read(configured(tmp_path).model_copy(update={"text": None}))
