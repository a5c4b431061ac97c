"""What the verb `oracle` writes of its units."""

from bench.axes import Filter
from bench.report.frame import ENVIRONMENT
from bench.verbs.oracle import Net, _rows
from tests.helpers import cell


def test_a_unit_says_in_which_environment_its_network_was_made() -> None:
    own = cell(granularity=Filter(name="filter"))
    changes = {0: {"change": 0.5, "cpu": "A CPU"}, 1: {"change": -0.5, "cpu": "B"}}
    net = Net({"taylor": own}, [("a", 0), ("a", 1)], 9, changes, {"taylor": [1.0, 2.0]})
    rows = [*_rows(net)]
    assert [(row["unit"], row["change"], row["score"]) for row in rows] == [(0, 0.5, 1.0), (1, -0.5, 2.0)]
    known = {name: value for name, value in own.columns().items() if name in ENVIRONMENT}
    assert known.keys() == {"torch", "numerics", "threads", "recipe_hash", "dataset_hash"}
    assert all(row.items() >= known.items() for row in rows)
    assert [row["cpu"] for row in rows] == ["A CPU", "B"]
