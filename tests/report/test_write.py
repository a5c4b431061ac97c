from pathlib import Path

from bench.report import tables
from bench.report.write import write
from tests.report.conftest import Out


def test_five_files_the_same_for_the_same_records(out: Out, tmp_path: Path) -> None:
    out.plan(*out.dense(98.0, 98.0), *out.seeds("taylor", 0.5, 97.0, 96.0), *out.seeds("taylor", 0.9, 90.0, 91.0))
    results = out.results()
    first = write(results, tmp_path / "one")
    second = write(out.results(), tmp_path / "two")
    assert [path.name for path in first] == [f"accuracy.{kind}" for kind in ("md", "csv", "tex", "pdf", "png")]
    assert sorted((tmp_path / "one").iterdir()) == sorted(first)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert first[0].read_text(encoding="utf-8") == tables.markdown(results)
    assert first[2].read_text(encoding="utf-8") == tables.latex(results)
