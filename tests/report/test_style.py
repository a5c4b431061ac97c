"""Colours of criteria that are compared with each other, and names in the room that they have."""

from collections import Counter
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from bench.report import oracle
from bench.report.style import COLOURS, KNOWN, SHARING, Look, apart, broken, colours_and_markers, looks, over_seeds

PLUGINS = ("mine", "yours", "theirs", "other", "alpha", "beta", "first", "second")

SIGHT = {
    "usual": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Linear RGB as it is seen: Machado, Oliveira and Fernandes (2009), severity 1.0."""
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
"""Linear sRGB to XYZ; its rows sum to white, D65."""


def lab(colours: tuple[str, ...], sight: str) -> np.ndarray:
    """CIELAB of colours as somebody sees them: [colours, 3], lightness first."""
    rgb = mpl.colors.to_rgba_array(colours)[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(SIGHT[sight]), 0, 1) @ XYZ.T / XYZ.sum(axis=1)
    x, y, z = np.where(seen > (6 / 29) ** 3, np.cbrt(seen), seen * (29 / 6) ** 2 / 3 + 4 / 29).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def looks_of(*names: str) -> dict[str, Look]:
    return looks(pd.DataFrame({"row": names, "criterion": names, "control": False}))


@pytest.mark.parametrize("sight", SIGHT)
def test_the_colour_blind_tell_all_colours_apart(sight: str) -> None:
    seen = lab(COLOURS, sight)
    # 2 is a difference that is just seen; ours are 16 (tritan) and more.
    assert min(np.linalg.norm(one - other) for one, other in combinations(seen, 2)) > 15


def test_in_grey_no_two_criteria_look_alike_and_no_colour_is_lost_on_white() -> None:
    found = looks_of(*KNOWN)
    assert len({(found[name]["marker"], str(found[name]["linestyle"])) for name in KNOWN}) == len(KNOWN)
    assert lab(COLOURS, "usual")[:, 0].max() < 75  # of 100, white


def test_other_criteria_change_no_look_of_the_known() -> None:
    alone, together = looks_of(*KNOWN), looks_of(*KNOWN, *PLUGINS)
    assert {name: together[name] for name in KNOWN} == alone


@pytest.mark.parametrize(("one", "two"), [*combinations(sorted(PLUGINS), 2)])
def test_others_look_as_their_names_say_but_the_later_of_two_of_one_colour(one: str, two: str) -> None:
    alone = looks_of(one) | looks_of(two)
    both = looks_of(one, two)
    assert both == looks_of(two, one)
    assert both[one] == alone[one]
    assert (both[two] == alone[two]) == (alone[one]["color"] != alone[two]["color"])
    assert both[one]["color"] != both[two]["color"]


def test_the_look_of_a_name_is_the_same_in_each_process() -> None:
    # Not of a hash that Python seeds anew in each.
    look = looks_of("mine")["mine"]
    assert (look["color"], look["marker"], look["linestyle"]) == ("#666633", "^", "-")


@pytest.mark.parametrize("count", [8, 18, 40])
def test_many_others_share_colours_before_they_share_all(count: int) -> None:
    found = looks_of(*KNOWN, *(f"plugin_{number}" for number in range(count)))
    alike = Counter((look["marker"], str(look["linestyle"])) for look in found.values())
    assert max(alike.values()) == (1 if count <= 18 else 3)


def test_a_plugin_without_scores_changes_no_colour_of_the_oracle() -> None:
    rows = [
        {"layer": "a", "unit": unit, "change": unit / 8, "criterion": name, "score": float(unit), "reason": None}
        for name in ("beta", "mine")
        for unit in range(1, 5)
    ]
    units = pd.DataFrame(rows).assign(**dict.fromkeys(oracle.NET, "one"), seed=0, images=9)
    beta = units["criterion"] == "beta"
    lacking = units.assign(score=units["score"].mask(beta), reason=units["reason"].mask(beta, "it fails"))
    for shown in (units, lacking):
        own = next(axes for axes in oracle.figure(shown).axes if axes.get_title().startswith("mine"))
        assert own.collections[0].get_facecolor()[0, :3] == pytest.approx(
            mpl.colors.to_rgb(looks_of("beta", "mine")["mine"]["color"])
        )


@pytest.mark.parametrize(
    ("counts", "said"), [([1, 1], "one seed"), ([3, 3], "means over 3 seeds"), ([3, 1, 2], "means over 1 to 3 seeds")]
)
def test_the_number_of_seeds_is_that_of_the_points(counts: list[int], said: str) -> None:
    assert over_seeds("means", pd.Series(counts)) == said


@pytest.mark.parametrize(
    "together",
    [
        "random magnitude gradient taylor fisher obd movement lamp",
        "random magnitude gradient taylor wanda lamp",
        "random magnitude gradient taylor snip grasp",
        "random magnitude snip grasp synflow",
        "random l1_norm taylor fpgm bn_scale",
        "random l2_norm bn_scale taylor",
        "l1_norm l2_norm fpgm bn_scale hrank",
        "random magnitude taylor mine",
    ],
)
def test_criteria_that_are_often_compared_have_colours_of_their_own(together: str) -> None:
    names = together.split()
    looks = colours_and_markers({*names})
    assert len({looks[name]["color"] for name in names}) == len(names)


def test_criteria_that_share_a_colour_differ_in_marker_and_line() -> None:
    names = " ".join(SHARING).split()
    found = looks(pd.DataFrame({"row": names, "criterion": names, "control": False}))
    for colour, team in zip(COLOURS, SHARING, strict=True):
        own = [found[name] for name in team.split()]
        assert {look["color"] for look in own} == {colour}
        assert len({look["marker"] for look in own}) == len({str(look["linestyle"]) for look in own}) == len(own)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("snip", ["snip"]),
        ("iterative steps=100 curve=exponential", ["iterative steps=100", "curve=exponential"]),
        ("snip (schedule=iterative steps=5)", ["snip", "(schedule=iterative", "steps=5)"]),
        ("a (granularity=exponential)", ["a", "(granularity=", "exponential)"]),
        (23 * "x", [20 * "x", "xxx"]),
    ],
)
def test_a_name_breaks_inside_a_word_only_where_that_alone_is_too_long(name: str, lines: list[str]) -> None:
    assert broken(name, 20).split("\n") == lines


@pytest.mark.parametrize(
    ("names", "shared", "rest"),
    [
        (["snip (schedule=one_shot)", "snip (schedule=iterative steps=5)"], "snip (schedule=…)", None),
        (["m (finetune=slow x=1)", "m (finetune=low x=1)"], "m (finetune=… x=1)", ["slow", "low"]),
        (["m (when=init)", "s (when=init)"], "… (when=init)", ["m", "s"]),
        (["m (steps=5)", "m (steps=15)"], "m (steps=…)", ["5", "15"]),
        (["m (x=1, when=init)", "s (y=2, when=init)"], "", ["m (x=1, when=init)", "s (y=2, when=init)"]),
        (["l1_norm", "l2_norm"], "", ["l1_norm", "l2_norm"]),
        (["grasp", "grasp (t=1)"], "", ["grasp", "grasp (t=1)"]),
        (["f ()", "f (a)"], "", ["f ()", "f (a)"]),
        (["snip (when=init)"], "", ["snip (when=init)"]),
    ],
)
def test_what_names_share_is_said_once(names: list[str], shared: str, rest: list[str] | None) -> None:
    assert apart(names) == (shared, rest or ["one_shot", "iterative steps=5"])


def test_controls_that_were_trained_in_several_ways_have_lines_of_their_own() -> None:
    names = ["dense", "dense_longer (finetune=low)", "dense_longer (finetune=rewound)"]
    criteria = [name.split()[0] for name in names]
    found = looks(pd.DataFrame({"row": names, "criterion": criteria, "control": True}))
    assert [found[name]["linestyle"] for name in names] == ["-", "--", "-."]
