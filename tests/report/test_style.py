"""Colours of criteria that are compared with each other, and names in the room that they have."""

import pandas as pd
import pytest

from bench.report.style import COLOURS, SHARING, apart, broken, colours_and_markers, looks


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
