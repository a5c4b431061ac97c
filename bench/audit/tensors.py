"""Masks and weights: what is masked is zero, and counts are those of the masks. By numpy, without torch."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load

from bench import store
from bench.audit.evidence import Entry, Evidence
from bench.audit.findings import Findings
from bench.audit.shared import SEED
from bench.store import MASKS, PRUNED, TENSORS, WEIGHTS

Arrays = Mapping[str, "np.ndarray[Any, Any]"]
SWAPPED = "mask and weights are not of one net"


def check(evidence: Evidence, findings: Findings) -> None:
    """Compare each record with its own tensors, and dense nets with each other."""
    for entry in evidence.entries:
        if entry.folder is None:
            findings.unchecked["masks and weights: published results hold none"] += 1
        elif entry.ok:
            try:
                _check(entry, findings)
            except store.CorruptError:
                continue  # bench.audit.files has named it
            findings.checked["masks against weights"] += 1
    _check_dense(evidence, findings)


def _read(folder: Path, name: str) -> Arrays:
    arrays: Arrays = load(store.read_artefact(folder, name))
    return arrays


def _check(entry: Entry, findings: Findings) -> None:
    assert entry.folder is not None
    lacking = {WEIGHTS, MASKS} - {*entry.artefacts}
    if lacking:
        findings.problem(entry, f"it has no {', '.join(sorted(lacking))}", "nothing shows that the net was made")
        return
    masks = _read(entry.folder, MASKS)
    for name in (WEIGHTS, PRUNED):
        if name in entry.artefacts:
            _check_zeros(entry, name, _read(entry.folder, name), masks, findings)
    gone = sum(int((~mask).sum()) for mask in masks.values())
    if entry.columns["params"] != entry.columns["params_dense"] - gone:
        what = f"params is {entry.columns['params']}, its masks leave {entry.columns['params_dense'] - gone}"
        findings.problem(entry, what, "the column is not of this mask")
    for layer in entry.layers or []:
        mask = masks.get(layer["name"])
        kept = None if mask is None else int(mask.sum())
        if mask is None or (kept, mask.size) != (layer["kept"], layer["total"]):
            what = f"layer {layer['name']} keeps {layer['kept']} of {layer['total']}, its mask {kept}"
            findings.problem(entry, what, "the columns are not of this mask")


def _check_zeros(entry: Entry, file: str, weights: Arrays, masks: Arrays, findings: Findings) -> None:
    for name, mask in masks.items():
        if name not in weights or weights[name].shape != mask.shape:
            findings.problem(entry, f"{file} has no {name} of the mask's shape", SWAPPED)
        elif alive := int(np.count_nonzero(weights[name][~mask])):
            findings.problem(entry, f"{alive} weights of {name} in {file} are masked and not zero", SWAPPED)
    if not all(np.isfinite(array).all() for array in weights.values()):
        findings.problem(entry, f"{file} holds weights that are not finite", "such a net has failed")


def _check_dense(evidence: Evidence, findings: Findings) -> None:
    """The dense row's net must be the one that criteria started from; no two seeds may have the same."""
    hashes: dict[str, str] = {}
    for folder in evidence.stages:
        if folder.name.startswith("dense-"):
            try:
                hashes[folder.name.removeprefix("dense-")] = _content(_read(folder, TENSORS))
            except store.CorruptError:
                continue
    seeds: dict[str, Entry] = {}
    for entry in evidence.entries:
        cell = entry.cell
        if not entry.ok or cell is None or cell.criterion != "dense" or entry.folder is None:
            continue
        if cell.dense_key not in hashes:
            findings.unchecked["dense nets that criteria started from: they are not stored any more"] += 1
            continue
        own = _content(_read(entry.folder, WEIGHTS)) if WEIGHTS in entry.artefacts else None
        if own is not None and own != hashes[cell.dense_key]:
            what = f"its weights are not those of stages/dense-{cell.dense_key}, which criteria started from"
            findings.problem(entry, what, "every criterion of a seed must start from one dense net")
        other = seeds.setdefault(hashes[cell.dense_key], entry)
        if other.columns["seed"] != entry.columns["seed"] and cell.recipe.epochs:
            findings.problem(entry, f"its dense net is that of seed {other.columns['seed']}", SEED)


def _content(arrays: Arrays) -> str:
    """Return a hash of values and names, whatever the order in the file."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        total.update(name.encode() + b"\0" + np.ascontiguousarray(arrays[name]).tobytes())
    return total.hexdigest()
