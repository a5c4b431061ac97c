"""What `run` tries before any training."""

from pathlib import Path
from typing import Any

from bench.axes import Filter
from bench.cell import Cell
from bench.errors import UserError
from bench.schema import Model
from bench.verbs.run import _tried
from tests.helpers import cell, plugin

NORMED, PLAIN = (Model(name=name, factory="bench.models.mlp:mlp") for name in ("normed", "plain"))


class Answers:
    """A pool whose worker refuses one criterion on one network, or with one option."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Cell]] = []

    def ask(self, verb: str, one: Cell) -> None:
        self.asked.append((verb, one))
        if verb == "check_criterion" and (one.model == PLAIN or one.criterion_options):
            raise UserError("not here")


def tried(*cells: Cell, broken: dict[str, str] | None = None) -> tuple[dict[str, str], Any]:
    pool: Any = Answers()
    return _tried(pool, [*cells], broken or {}), pool.asked


def test_a_refusal_is_of_this_network_and_these_options_alone() -> None:
    filters = {"criterion": "bn_scale", "granularity": Filter(name="filter")}
    nets = [cell(model=net, seed=seed, **filters) for net in (NORMED, PLAIN) for seed in (0, 1)]
    options = [cell(model=NORMED, criterion="fisher", criterion_options=given) for given in ({}, {"chunk": 0})]
    problems, asked = tried(*nets, *options)
    assert problems == {
        nets[2].id: "criterion bn_scale: not here",
        nets[3].id: "criterion bn_scale: not here",
        options[1].id: "criterion fisher: not here",
    }
    # Once for all seeds; targets once for each cell of the first seed whose criterion is not refused.
    assert [one for verb, one in asked if verb == "check_criterion"] == [nets[0], nets[2], *options]
    assert [one for verb, one in asked if verb == "check_target"] == [nets[0], options[0]]


def test_controls_have_no_criterion_and_what_cannot_be_imported_is_not_asked(tmp_path: Path) -> None:
    dense, bad = cell(criterion="dense"), cell(**plugin(tmp_path, "return {}"))
    problems, asked = tried(dense, bad, broken={"mine": "mine.py, line 3: invalid syntax"})
    assert problems == {bad.id: "mine.py, line 3: invalid syntax"}
    assert asked == [("check", dense)]
