from pathlib import Path

from bench.report.write import accuracy_files, report_files, write
from tests.report.conftest import Out

RENDERED = ("md", "csv", "tex", "html")


def test_the_files_are_the_same_for_the_same_records(out: Out, tmp_path: Path) -> None:
    cells = [*out.seeds("taylor", 0.5, 97.0, 96.0), *out.seeds("random", 0.5, 90.0, 91.0)]
    out.plan(*out.dense(98.0, 98.0), *cells)
    results = out.results()
    files = report_files(out.root, results)
    assert files == report_files(out.root, out.results())
    written = write(files, tmp_path / "report")
    assert {path.name: path.read_bytes() for path in written} == files
    assert sorted((tmp_path / "report").iterdir()) == sorted(written)
    assert {*accuracy_files(results)} == {f"accuracy.{kind}" for kind in (*RENDERED, "pdf", "png")}
    assert {f"comparisons.{kind}" for kind in RENDERED} | {"tradeoff.tex"} < {*files}
