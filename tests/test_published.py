"""What is published is what its records give: every table, and every figure of the pinned matplotlib, byte for byte."""

from pathlib import Path

from bench.report.places import published
from bench.report.write import folder_files
from bench.store import RECORDS

ROOT = Path(__file__).parents[1] / "results" / "published"
DATA = {RECORDS, "plan.json", "latency.json"}


def test_a_published_folder_is_made_again_from_its_records() -> None:
    folder = ROOT / "digits"
    made = folder_files(folder)
    assert {path.name for path in folder.iterdir()} - DATA == set(made)
    assert [name for name, content in made.items() if (folder / name).read_bytes() != content] == []


def test_a_folder_of_published_ones_is_known_by_what_they_hold(tmp_path: Path) -> None:
    for name, file in (("b", RECORDS), ("a", "units.csv"), ("runs", "other")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    assert published(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert published(tmp_path / "a") == [tmp_path / "a"]
    assert published(tmp_path / "runs") == []
