from pathlib import Path

from bench.report import comparisons, tables
from bench.report.write import write
from tests.report.conftest import Out


def test_the_files_are_the_same_for_the_same_records(out: Out, tmp_path: Path) -> None:
    out.plan(*out.dense(98.0, 98.0), *out.seeds("taylor", 0.5, 97.0, 96.0), *out.seeds("taylor", 0.9, 90.0, 91.0))
    results = out.results()
    first = write(results, tmp_path / "one")
    second = write(out.results(), tmp_path / "two")
    texts = ["accuracy.md", "accuracy.csv", "accuracy.tex", "comparisons.md", "comparisons.csv"]
    assert [path.name for path in first] == [*texts, "accuracy.pdf", "accuracy.png"]
    assert sorted((tmp_path / "one").iterdir()) == sorted(first)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert first[0].read_text(encoding="utf-8") == tables.markdown(results)
    assert first[2].read_text(encoding="utf-8") == tables.latex(results)
    assert first[3].read_text(encoding="utf-8") == comparisons.markdown(results)
