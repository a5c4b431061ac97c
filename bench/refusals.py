"""Which combinations of a criterion and the axes are not defined, each with one line that says why. No torch."""

from bench.axes import NM, Block, Filter, Gradual, Layer, Regrow, Rewound, Weight
from bench.cell import Cell, spelled
from criteria import Description


def refusal(cell: Cell, description: Description) -> str | None:
    """Return why a cell is not defined, None where it is."""
    rules = (_granularity, _filters, _target, _scoring, _schedule, _retraining, _finetune, _ablation, _equal_masks)
    lines = (rule(cell, description) for rule in rules)
    return next((f"{cell.criterion}: {line}" for line in lines if line), None)


def _granularity(cell: Cell, _: Description) -> str | None:
    schedule, grain = cell.schedule, cell.granularity
    assert schedule is not None
    if isinstance(grain, NM) and cell.scope is not None:
        return f"granularity=nm fixes its own counts in every group: it has no scope={cell.scope.name}; leave scope out"
    if isinstance(grain, NM) and schedule.name != "one_shot":
        return f"granularity=nm reaches its one sparsity in one step: schedule={schedule.name} is not defined"
    if isinstance(grain, Block) and cell.scope and cell.scope.name in ("erk", "lamp", "row"):
        return f"granularity=block ranks blocks at scope global, layer or threshold, not {cell.scope.name}"
    if isinstance(grain, NM | Block) and (isinstance(schedule, Regrow) or cell.ablation == "shuffle"):
        return f"moving single weights (regrow, shuffle) would break the pattern of granularity={grain.name}"
    if isinstance(grain, Layer) and cell.ablation == "shuffle":
        return "ablation=shuffle moves units within a layer, and at granularity=layer the layer is the unit"
    if isinstance(grain, Layer) and cell.scope and cell.scope.name not in ("global", "threshold"):
        return f"granularity=layer ranks residual blocks at scope global or threshold, not {cell.scope.name}"
    if cell.structured and isinstance(schedule, Regrow):
        return f"schedule=regrow moves single weights: it is not defined at granularity={spelled(grain)}"
    return None


def _filters(cell: Cell, description: Description) -> str | None:
    grain, scope, forms = cell.granularity, cell.scope, description.forms
    assert grain is not None
    if "granularity" in cell.criterion_options:
        return f"granularity is an axis of the run, no option: give granularity={cell.criterion_options['granularity']}"
    if not isinstance(grain, Filter):
        only = f"it scores filters, not weights: granularity={grain.name} is not defined; use granularity=filter"
        return None if "weight" in forms else only
    assert scope is not None
    if scope.name in ("erk", "lamp", "row"):
        return f"granularity=filter ranks filters at scope global, layer or threshold, not {scope.name}"
    if scope.min_keep == 0:
        return "a layer without filters cannot be built: at granularity=filter min_keep is at least 1"
    if "filter" in forms and grain.reduce != "mean":
        return f"it has a filter form of its own, which reduce={grain.reduce} does not change; leave reduce out"
    if grain.reduce == "l2" and description.facts["SIGNED"]:
        return "its scores have a sign, which granularity reduce=l2 would lose; use mean or sum"
    if scope.name == "global" and description.facts["SCALE"] == "layer" and grain.normalise == "none":
        return (
            "its scores have the scale of their layer: at scope=global give "
            "granularity={name: filter, normalise: layer_mean}"
        )
    return None


def _target(cell: Cell, _: Description) -> str | None:
    kind, grain = cell.target_kind, cell.granularity
    assert grain is not None
    if not cell.structured and kind != "weights":
        return f"target_kind={kind} is for what is removed whole: granularity={grain.name} takes target_kind=weights"
    if isinstance(grain, Layer) and kind == "filters":
        return "granularity=layer removes residual blocks: give target_kind=weights, params or flops"
    return None


def _scoring(cell: Cell, description: Description) -> str | None:
    unit = description.facts["UNIT"]
    if cell.score_mode == "train" and unit != "mean":
        return f"score_mode=train is not defined where the unit is the {unit}; use eval"
    if cell.criterion == "bn_scale" and cell.when == "init":
        return "at initialisation all scales of batch norm are 1; use when=trained"
    if description.observes and cell.when == "init" and not isinstance(cell.schedule, Gradual | Regrow):
        return "it gathers during training, and before any there is nothing: use schedule=gradual, or when=trained"
    return None


def _schedule(cell: Cell, _: Description) -> str | None:
    schedule, scope = cell.schedule, cell.scope
    assert schedule is not None
    if cell.when == "rewind" and isinstance(schedule, Gradual | Regrow):
        return f"when=rewind prunes after training, schedule={schedule.name} during it; use one_shot or iterative"
    if scope and scope.name == "threshold" and schedule.name != "one_shot":
        return f"scope=threshold has one value and no path of sparsities for schedule={schedule.name}; use one_shot"
    if scope and scope.name == "row" and isinstance(schedule, Regrow):
        return "schedule=regrow keeps the number of each layer, not of each row; use another scope"
    if cell.stop is None:
        return None
    if cell.when != "trained":
        return f"schedule stop at when={cell.when}: it watches the fine-tuning between the steps; use when=trained"
    if not cell.dataset.validation:
        return "schedule stop needs a validation split: set dataset.validation above 0"
    return None


def _retraining(cell: Cell, _: Description) -> str | None:
    if cell.model.weights and cell.when != "trained" and not cell.recipe.epochs and not cell.finetune:
        return (
            f"model.weights is trained, recipe {cell.recipe.name} has no epochs, and when={cell.when} fine-tunes none: "
            "nothing would train after pruning; use when=trained"
        )
    return None


def _finetune(cell: Cell, _: Description) -> str | None:
    if cell.finetune and cell.finetune.name == "rewound" and (cell.finetune_epochs or 0) > cell.recipe.epochs:
        return (
            f"finetune=rewound takes the last epochs of the recipe: finetune_epochs={cell.finetune_epochs} is more "
            f"than recipe.epochs={cell.recipe.epochs}"
        )
    return None


def _ablation(cell: Cell, _: Description) -> str | None:
    """The final mask is changed before retraining, so there has to be a final mask, and a whole retraining."""
    if cell.ablation == "none":
        return None
    assert cell.schedule is not None
    whole = cell.finetune == Rewound(name="rewound") and cell.finetune_epochs == cell.recipe.epochs
    if isinstance(cell.schedule, Gradual | Regrow):
        return f"ablation={cell.ablation} needs a mask that is final before retraining; use one_shot or iterative"
    if cell.ablation == "invert" and cell.scope and cell.scope.name == "threshold":
        return "ablation=invert at scope=threshold has no sparsity to reach from the other end; use scope=global"
    if cell.ablation == "invert" and isinstance(cell.granularity, Filter) and cell.granularity.reduce == "l2":
        return "ablation=invert turns the signs of scores, and reduce=l2 leaves none; use reduce=mean or sum"
    if cell.when == "trained" and not (whole and cell.schedule.name == "one_shot"):
        return (
            f"ablation={cell.ablation} at when=trained needs the whole recipe after pruning: schedule=one_shot "
            f"finetune=rewound finetune_epochs={cell.recipe.epochs}"
        )
    if cell.when == "rewind" and cell.ablation == "reinit":
        return "ablation=reinit at when=rewind would draw anew what is rewound; use when=init or when=trained"
    return None


def _equal_masks(cell: Cell, _: Description) -> str | None:
    """Name the pair whose masks are provably the same."""
    scope = cell.scope.name if cell.scope else ""
    if cell.criterion == "lamp" and isinstance(cell.granularity, NM):
        return "within a layer lamp ranks as magnitude does: at granularity=nm its masks are those of magnitude"
    if cell.criterion == "lamp" and isinstance(cell.granularity, Weight) and scope in ("layer", "erk", "row", "lamp"):
        return f"within a layer lamp ranks as magnitude does: at scope={scope} its masks are those of magnitude"
    reduce = cell.granularity.reduce if isinstance(cell.granularity, Filter) else "mean"
    if cell.criterion == "magnitude" and reduce != "mean":
        norm = {"sum": "l1_norm", "l2": "l2_norm"}[reduce]
        return f"reduced by {reduce} its masks are those of criterion {norm}"
    if cell.criterion == "magnitude" and scope == "lamp":
        return "at scope=lamp its masks are those of criterion lamp at scope=global"
    return None
