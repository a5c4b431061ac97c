"""`compare` through main(argv): what it writes where, and each mistake in one line."""

from pathlib import Path

import pandas as pd
import pytest

from bench import store
from bench.__main__ import main
from tests.report.conftest import controls, pruned, record, write_plan

ORACLE = Path(__file__).parents[2] / "results" / "published" / "cifar10_oracle" / "units.csv"


def run_of_liu(root: Path, *done: int) -> None:
    """Write a plan of liu2019 in small, and the records of these seeds."""
    columns = {"granularity": "filter", "target_kind": "filters", "model": "resnet56"}
    cells = [pruned("l1_norm", 0.115, seed, **columns) for seed in range(3)]
    dense = [cell for cell in controls(0, 1, 2, model="resnet56") if cell["criterion"] == "dense"]
    write_plan(root, [*dense, *cells], experiment="liu2019")
    for cell in (*dense, *cells):
        if cell["seed"] in done:
            record(root, cell, 93.0 + 0.1 * cell["seed"])


def test_a_run_is_set_beside_its_paper(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_of_liu(tmp_path, 0, 1, 2)
    assert main(["compare", "liu2019", f"out={tmp_path}"]) == 0
    (folder,) = (tmp_path / "compare").iterdir()
    assert folder.name.startswith("liu2019-")
    printed = capsys.readouterr().out
    assert (folder / "compare.md").read_text() in printed
    table = pd.read_csv(folder / "compare.csv")
    assert list(table["theirs"]) == [93.14]
    assert list(table["verdict"]) == ["no difference shown"]
    assert "93.10 ± 0.10 (n = 3)" in printed
    assert "93.14 ± 0.12 (n = 5)" in printed


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_of_liu(tmp_path)
    assert main(["compare", "liu2019", f"out={tmp_path}"]) == 0
    assert capsys.readouterr().out.count("**cannot be said** (3 missing)") == 1
    run_of_liu(tmp_path, 0)
    assert main(["compare", "liu2019", f"out={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert "(n = 1) of 3" in printed
    assert "fewer than 3 seeds" in printed


def test_a_published_folder_is_its_own_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, folder = tmp_path / "runs", tmp_path / "published"
    run_of_liu(runs, 0, 1, 2)
    folder.mkdir()
    records = store.load(runs)
    store.with_details(records.frame, records.details).to_parquet(folder / store.RECORDS, index=False)
    plan = store.load_plan(runs) | {
        "records_sha256": store.hashlib.sha256((folder / store.RECORDS).read_bytes()).hexdigest()
    }
    store.write(folder / "plan.json", store.json.dumps(plan).encode())
    assert main(["compare", "liu2019", f"out={folder}"]) == 0
    assert str(folder / "compare.md") in capsys.readouterr().out


def test_the_oracles_correlations_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "oracle" / "molchanov2019-0123"
    folder.mkdir(parents=True)
    units = pd.read_csv(ORACLE)
    units.to_csv(folder / "units.csv", index=False)
    assert main(["compare", "molchanov2019", f"out={tmp_path}"]) == 0
    assert capsys.readouterr().out.count("(no such cell)") == 2  # ResNet-20, and the paper's is ResNet-101
    units.assign(model="resnet101").to_csv(folder / "units.csv", index=False)
    assert main(["compare", "molchanov2019", f"out={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    # results/published/cifar10_oracle/oracle.md: .88 (Pearson), .86 (Spearman), of three epochs on CIFAR-10.
    assert "| 0.881 |" in printed
    assert "| 0.863 |" in printed
    assert (folder / "compare.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "compare takes an experiment's name"),
        (["liu2019", "wang2023"], "compare takes an experiment's name"),
        (["liu2019", "sparsity=0.5"], "compare takes an experiment's name"),
        (["liu2018"], "unknown experiment 'liu2018'; did you mean liu2019"),
        (["../../x"], "unknown experiment '../../x'"),
        (["digits"], "experiment 'digits' has no published figures; these have: frankle2021"),
        (["liu2019"], "no plan of experiment 'liu2019'"),
        (["molchanov2019"], "no oracle of molchanov2019"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *arguments, *([f"out={tmp_path}"] if arguments else [])]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line


def test_the_oracle_of_another_experiment_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "molchanov2019", f"out={ORACLE.parent}"]) == 2
    assert "no oracle of molchanov2019" in capsys.readouterr().err
    assert not (ORACLE.parent / "compare.md").exists()
