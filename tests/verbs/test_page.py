import hashlib
import json
from pathlib import Path

import pytest

from bench import store
from bench.errors import UserError
from bench.report import frame
from bench.verbs.page import main
from tests.report.conftest import Out


def runs(root: Path, experiment: str, top1: float) -> None:
    out = Out(root)
    cells = [*out.dense(99.0), *out.seeds(experiment, 0.9, top1)]
    out.plan(*cells, experiment=experiment)


def overview(root: Path) -> str:
    """Return what the page shows at first, as JSON."""
    html = (root / "page.html").read_text(encoding="utf-8")
    return html.split('id="overview">')[1].split("</script>")[0]


def test_a_folder_of_runs_becomes_one_page_of_all_its_experiments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs(tmp_path, "first", 91.25)
    runs(tmp_path, "second", 92.25)
    assert main([f"out={tmp_path}"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'page.html'}\n"
    assert '"value":91.25' in overview(tmp_path)
    assert '"value":92.25' in overview(tmp_path)
    main([f"out={tmp_path}", "experiment=second"])
    assert '"value":91.25' not in overview(tmp_path)
    assert '"value":92.25' in overview(tmp_path)


def test_published_folders_become_a_page_alone_or_together(tmp_path: Path) -> None:
    for name, top1 in (("one", 91.25), ("two", 92.25)):
        runs(tmp_path / "runs" / name, name, top1)
        results = frame.tabulate(tmp_path / "runs" / name)
        published = tmp_path / "published" / name
        published.mkdir(parents=True)
        store.with_details(results.frame, results.details).to_parquet(published / store.RECORDS, index=False)
        sha256 = hashlib.sha256((published / store.RECORDS).read_bytes()).hexdigest()
        store.write(published / "plan.json", json.dumps(results.plan | {"records_sha256": sha256}).encode())
    main([f"out={tmp_path / 'published'}"])
    assert all(f'"value":{top1}' in overview(tmp_path / "published") for top1 in (91.25, 92.25))
    main([f"out={tmp_path / 'published' / 'one'}"])
    assert '"value":91.25' in overview(tmp_path / "published" / "one")
    with pytest.raises(UserError, match="no plan of experiment 'three'"):
        main([f"out={tmp_path / 'published'}", "experiment=three"])


def test_a_folder_without_results_and_an_unknown_key_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no plan in .*run `make bench OUT="):
        main([f"out={tmp_path}"])
    with pytest.raises(UserError, match=r"page: unknown key 'dir'"):
        main(["dir=x"])
