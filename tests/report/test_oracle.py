"""Correlations with the true change of the loss: against scipy, by layer, over seeds, and where there are none."""

import io
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from scipy import stats

from bench.errors import UserError
from bench.report import oracle
from bench.report.style import COLOURS, KNOWN, STYLE
from tests.report import legible

NET = {"dataset": "digits", "model": "m", "recipe": "r", "precision": "fp32", "granularity": "filter"}


def units(scores: dict[str, list[float]], change: list[float], seed: int = 0, **columns: object) -> pd.DataFrame:
    """A network of two layers, of which the first has four units."""
    rows = [
        {"seed": seed, "images": 500, "layer": "a" if n < 4 else "b", "unit": n, "change": loss, "criterion": name}
        | {"score": score, "reason": None}
        for name, own in scores.items()
        for n, (score, loss) in enumerate(zip(own, change, strict=True))
    ]
    return pd.DataFrame(rows).assign(**NET | columns)


def random_units(seed: int = 0, count: int = 12, **columns: object) -> pd.DataFrame:
    chance = np.random.default_rng(seed)
    change = chance.normal(size=count)
    scores = {"taylor": change**2 + chance.normal(size=count) / 5, "mine (k=1)": chance.random(count)}
    return units({name: list(values) for name, values in scores.items()}, list(change), seed, **columns)


def test_correlations_are_those_of_scipy_by_layer_and_overall() -> None:
    frame = random_units()
    rows = oracle.correlations(frame).set_index(["criterion", "layer"])
    assert list(rows.index) == [(c, part) for c in ("taylor", "mine (k=1)") for part in ("all", "a", "b")]
    for (criterion, layer), row in rows.iterrows():
        own = frame[(frame.criterion == criterion) & ((frame.layer == layer) | (layer == "all"))]
        squared = own.change**2
        assert row.n == len(own)
        assert row.pearson_squared == pytest.approx(stats.pearsonr(own.score, squared).statistic)
        assert row.spearman_squared == pytest.approx(stats.spearmanr(own.score, squared).statistic)
        assert row.spearman_signed == pytest.approx(stats.spearmanr(own.score, own.change).statistic)


def test_where_there_is_no_correlation_there_is_a_reason_and_no_warning() -> None:
    nan = float("nan")
    change = [0.1, -0.2, 0.3, 0.4, 0.5, 0.6, float("inf")]
    scores = {
        "equal": [1 / 3] * 7,
        "rounded": [1 + 1e-16 * n for n in range(7)],
        "some": [1.0, 2.0, 3.0, 5.0, nan, nan, nan],
        "none": [nan] * 7,
    }
    frame = units(scores, change)
    frame.loc[frame.criterion == "none", "reason"] = "it refuses"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = oracle.correlations(frame).set_index(["criterion", "layer"])
        text = oracle.markdown(frame)
        oracle.figure(frame)
    assert {at: reason if isinstance(reason, str) else None for at, reason in rows.reason.items()} == {
        **{("equal", part): "all scores are equal" for part in ("all", "a")},
        **{("rounded", part): "all scores are equal" for part in ("all", "a")},
        **{("some", part): None for part in ("all", "a")},
        **{(name, "b"): "fewer than 3 units" for name in ("equal", "rounded")},
        ("some", "b"): "not scored",
        **{("none", part): "it refuses" for part in ("all", "a", "b")},
    }
    assert (rows.spearman_squared.isna() == rows.reason.notna()).all()
    assert rows.n["some"].to_list() == [4, 4, 0]
    assert rows.n["equal"].to_list() == [6, 4, 2]
    assert "- none (seed 0): it refuses" in text
    assert "nan" not in text


def test_the_table_gives_mean_and_deviation_over_seeds_for_each_network() -> None:
    both = pd.concat([random_units(0), random_units(1), random_units(2, model="other")])
    text = oracle.markdown(both)
    values = [stats.spearmanr(own.score, own.change**2).statistic for own in _of(both, "taylor")]
    assert f" {np.mean(values[:2]):.2f} ± {np.std(values[:2], ddof=1):.2f} |" in text
    assert f" {values[2]:.2f} |" in text
    assert text.index("## digits, m, recipe r") < text.index("over 2 seeds") < text.index("## digits, other")
    assert "12 filters (coupled ones together)" in text
    assert "over 500 training samples" in text


def _of(frame: pd.DataFrame, criterion: str) -> list[pd.DataFrame]:
    return [own for _, own in frame[frame.criterion == criterion].groupby(["model", "seed"])]


def test_the_files_are_the_same_again_and_the_figure_has_a_panel_a_criterion() -> None:
    frame = random_units()
    frame.loc[0, "change"] = 0.0
    first = oracle.files(frame)
    assert oracle.files(frame) == first
    assert imread(io.BytesIO(first["oracle.png"])).std() > 0.05
    drawn = oracle.figure(frame)
    panels = [axes for axes in drawn.axes if axes.get_title()]
    assert [axes.get_title().split(":")[0] for axes in panels] == ["taylor", "mine (k=1)"]
    for axes in panels:
        assert len(axes.collections[0].get_offsets()) == 12
        assert axes.get_yscale() == "log"
    face = panels[0].collections[0].get_facecolor()[0]
    assert (
        "#{:02x}{:02x}{:02x}".format(*(round(255 * part) for part in face[:3])).upper()
        == COLOURS[KNOWN.index("taylor")]
    )


def test_units_are_read_as_they_were_written_and_give_the_same_files(tmp_path: Path) -> None:
    frame = random_units()
    frame.loc[frame.index[:2], "score"] = float("nan")
    frame.loc[frame.index[:2], "reason"] = "it refuses"
    frame["layer"] = frame["layer"].map({"a": "0", "b": "NA"})
    (tmp_path / "units.csv").write_bytes(oracle.stored(frame))
    again = oracle.read(tmp_path / "units.csv")
    pd.testing.assert_frame_equal(again.astype(object), frame.astype(object), check_dtype=False)
    assert again["reason"].isna().sum() == len(frame) - 2
    assert oracle.files(again) == oracle.files(frame)


@pytest.mark.parametrize("column", ["cpu", "gpu", "torch", "dataset_hash"])
def test_a_mean_over_seeds_mixes_no_environments(column: str) -> None:
    both = pd.concat([random_units(seed, **{column: f"{column} {seed}"}) for seed in (0, 1)])
    with pytest.raises(UserError, match=rf"m taylor would mix {column} '{column} 0' \(seed 0\) and '{column} 1'"):
        oracle.files(both)
    networks = [random_units(seed, model=f"m{seed}", **{column: f"{column} {seed}"}) for seed in (0, 1)]
    assert len(oracle.correlations(pd.concat(networks))) == 2 * len(oracle.correlations(networks[0]))


def test_units_without_an_environment_are_read_as_before(tmp_path: Path) -> None:
    known = {"cpu": "A CPU", "gpu": None, "torch": "2.11.0", "threads": 1}
    old, new = random_units(), random_units(**known)
    for name, frame in (("old", old), ("new", new)):
        (tmp_path / name).write_bytes(oracle.stored(frame))
    again = {name: oracle.read(tmp_path / name) for name in ("old", "new")}
    assert {*known} & {*again["old"]} == set()
    assert again["new"]["cpu"].unique() == ["A CPU"]
    assert oracle.files(again["old"]) == oracle.files(again["new"]) == oracle.files(new)


def test_the_figure_is_legible() -> None:
    both = pd.concat([random_units(0), random_units(2, model="other")])
    both["score"] -= 0.5
    with mpl.rc_context(STYLE):
        legible.check(oracle.figure(random_units()))
        legible.check(oracle.figure(both))


def test_no_number_is_minus_zero() -> None:
    frame = units({"a": [1.0, 2.0, 3.0, 4.0]}, [1.0, -2.0, 1.0, -2.0])
    assert "-0.00" not in oracle.markdown(frame)
