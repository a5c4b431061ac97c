"""Combinations that are not defined: one rule, one line, and its neighbours that are defined."""

from typing import Any

import pytest

import criteria
from bench.axes import Filter, Gradual, Iterative, Layer, Low, OneShot, Regrow, Rewound, Scope
from bench.cell import Cell
from bench.refusals import refusal
from tests.helpers import cell, dataset, recipe

ONE_SHOT = OneShot(name="one_shot")
ITERATIVE = Iterative(name="iterative", steps=2)
GRADUAL, REGROW = Gradual(name="gradual"), Regrow(name="regrow")
THRESHOLD = Scope(name="threshold", value=0.1)
STOP = Iterative(name="iterative", stop=1.0)
REWIND = {"when": "rewind", "rewind_to": 0.02}
TRAINED = {"when": "trained", "finetune": Low(name="low"), "finetune_epochs": 2}
WHOLE = {"when": "trained", "finetune": Rewound(name="rewound"), "finetune_epochs": 3}  # the recipe has 3 epochs
PUBLISHED = {"model": cell().model.model_copy(update={"weights": "net.pt"}), "recipe": recipe(epochs=0)}
FILTER: dict[str, Any] = {"granularity": Filter(name="filter"), "target_kind": "filters"}
LAYER: dict[str, Any] = {"granularity": Layer(name="layer")}
SUM, L2 = Filter(name="filter", reduce="sum"), Filter(name="filter", reduce="l2")


def line(one: Cell) -> str | None:
    return refusal(one, criteria.describe(one.criterion_file))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"criterion": "taylor", "score_mode": "train"}, "score_mode=train is not defined where the unit is the batch"),
        ({"criterion": "movement"}, "it gathers during training, and before any there is nothing"),
        ({"criterion": "movement", "schedule": ITERATIVE}, "it gathers during training"),
        (REWIND | {"schedule": GRADUAL}, "when=rewind prunes after training, schedule=gradual during it"),
        (REWIND | {"schedule": REGROW}, "when=rewind prunes after training, schedule=regrow during it"),
        ({"scope": THRESHOLD, "sparsity": None, "schedule": ITERATIVE}, "no path of sparsities for schedule=iterative"),
        ({"scope": THRESHOLD, "sparsity": None, "schedule": GRADUAL}, "no path of sparsities for schedule=gradual"),
        ({"scope": THRESHOLD, "sparsity": None, "schedule": REGROW}, "no path of sparsities for schedule=regrow"),
        ({"schedule": STOP}, "schedule stop at when=init"),
        (REWIND | {"schedule": STOP}, "schedule stop at when=rewind"),
        (TRAINED | {"schedule": STOP, "dataset": dataset(validation=0)}, "set dataset.validation above 0"),
        (PUBLISHED, "nothing would train after pruning; use when=trained"),
        (WHOLE | {"finetune_epochs": 4}, "finetune_epochs=4 is more than recipe.epochs=3"),
        ({"ablation": "shuffle", "schedule": GRADUAL}, "ablation=shuffle needs a mask that is final"),
        ({"ablation": "invert", "schedule": REGROW}, "ablation=invert needs a mask that is final"),
        (TRAINED | {"ablation": "reinit"}, "schedule=one_shot finetune=rewound finetune_epochs=3"),
        (WHOLE | {"ablation": "shuffle", "finetune_epochs": 2}, "the whole recipe after pruning"),
        (WHOLE | {"ablation": "shuffle", "schedule": ITERATIVE}, "the whole recipe after pruning"),
        (REWIND | {"ablation": "reinit"}, "ablation=reinit at when=rewind would draw anew what is rewound"),
        ({"ablation": "invert", "scope": THRESHOLD, "sparsity": None}, "ablation=invert at scope=threshold"),
        (FILTER | {"granularity": L2, "ablation": "invert"}, "turns the signs of scores, and reduce=l2 leaves none"),
        *(
            ({"criterion": "lamp", "scope": Scope.model_validate({"name": name})}, f"at scope={name} its masks are")
            for name in ("layer", "erk", "row", "lamp")
        ),
        ({"scope": Scope(name="lamp")}, "those of criterion lamp at scope=global"),
        # granularity filter and layer
        (LAYER | {"ablation": "shuffle"}, "at granularity=layer the layer is the unit"),
        (LAYER | {"scope": Scope(name="layer")}, "ranks residual blocks at scope global or threshold, not layer"),
        (LAYER | {"target_kind": "filters"}, "give target_kind=weights, params or flops"),
        (LAYER | {"schedule": REGROW}, "schedule=regrow moves single weights: it is not defined at granularity=layer"),
        (FILTER | {"schedule": REGROW}, "schedule=regrow moves single weights"),
        (FILTER | {"scope": Scope(name="erk")}, "ranks filters at scope global, layer or threshold, not erk"),
        (FILTER | {"scope": Scope(name="global", min_keep=0)}, "at granularity=filter min_keep is at least 1"),
        (FILTER | {"criterion": "taylor", "granularity": SUM}, "which reduce=sum does not change; leave reduce out"),
        (FILTER | {"criterion": "movement", "schedule": GRADUAL, "granularity": L2}, "reduce"),
        (FILTER | {"criterion": "l1_norm"}, "give granularity={name: filter, normalise: layer_mean}"),
        (FILTER | {"granularity": SUM}, "reduced by sum its masks are those of criterion l1_norm"),
        (FILTER | {"granularity": L2}, "reduced by l2 its masks are those of criterion l2_norm"),
        (FILTER | {"criterion": "bn_scale"}, "at initialisation all scales of batch norm are 1; use when=trained"),
        (FILTER | {"criterion_options": {"granularity": "weight"}}, "give granularity=weight"),
        ({"criterion": "l1_norm"}, "granularity=weight is not defined; use granularity=filter"),
        (LAYER | {"criterion": "fpgm"}, "granularity=layer is not defined; use granularity=filter"),
        ({"target_kind": "filters"}, "target_kind=filters is for what is removed whole"),
        ({"target_kind": "flops"}, "granularity=weight takes target_kind=weights"),
    ],
)
def test_it_is_refused_in_one_line_that_names_the_criterion(changes: dict[str, Any], words: str) -> None:
    one = cell(**changes)
    said = line(one)
    assert said is not None
    assert said.startswith(f"{one.criterion}: ")
    assert words in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "changes",
    [
        {},
        PUBLISHED | TRAINED,
        PUBLISHED | {"finetune": Low(name="low"), "finetune_epochs": 2},
        {"recipe": recipe(epochs=0)},
        {"criterion": "snip", "score_mode": "train"},
        {"criterion": "movement", "schedule": GRADUAL},
        {"criterion": "movement", "schedule": REGROW},
        TRAINED | {"criterion": "movement"},
        *(TRAINED | {"schedule": schedule} for schedule in (ITERATIVE, GRADUAL, REGROW, STOP)),
        *(REWIND | {"schedule": schedule} for schedule in (ONE_SHOT, ITERATIVE)),
        {"scope": THRESHOLD, "sparsity": None},
        REWIND | {"scope": THRESHOLD, "sparsity": None},
        *(WHOLE | {"ablation": ablation} for ablation in ("shuffle", "reinit", "invert")),
        *({"ablation": ablation, "schedule": ITERATIVE} for ablation in ("shuffle", "reinit", "invert")),
        *(REWIND | {"ablation": ablation} for ablation in ("shuffle", "invert")),
        {"criterion": "lamp"},
        {"criterion": "snip", "scope": Scope(name="lamp")},
        *(FILTER | {"target_kind": kind} for kind in ("filters", "weights", "params", "flops")),
        *(LAYER | {"target_kind": kind} for kind in ("weights", "params", "flops")),
        *(FILTER | {"scope": scope} for scope in (Scope(name="layer"), Scope(name="global", min_keep=0.1), THRESHOLD)),
        *(FILTER | {"criterion": "snip", "granularity": grain} for grain in (SUM, L2)),
        FILTER | {"criterion": "l1_norm", "granularity": Filter(name="filter", normalise="layer_mean")},
        FILTER | {"criterion": "fpgm", "scope": Scope(name="layer")},
        TRAINED | FILTER | {"criterion": "bn_scale"},
        *(FILTER | {"ablation": ablation} for ablation in ("shuffle", "reinit", "invert")),
        *(LAYER | {"ablation": ablation} for ablation in ("reinit", "invert")),
    ],
)
def test_its_neighbours_are_defined(changes: dict[str, Any]) -> None:
    assert line(cell(**changes)) is None
