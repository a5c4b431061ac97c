"""Finding, describing and loading criteria: built-in, by path, dropped in the folder, published by a package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

import criteria
from criteria import BrokenCriterionError, CriterionError

ROOT = Path(criteria.__file__).parents[1]
BUILT_IN = ("gradient", "grasp", "magnitude", "random", "snip", "taylor")


def python(code: str, folder: Path = ROOT, path: tuple[Path, ...] = ()) -> str:
    """Run code in a fresh interpreter whose search path begins with `folder`; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (folder, *path))), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Return a function that installs a package of files, with entry points, in a folder on the search path."""

    def install(package: str, files: dict[str, str], **points: str) -> Path:
        site = tmp_path / f"site_{package}"
        for name, text in files.items():
            path = site / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        info = site / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {module}" for name, module in points.items())
        (info / "entry_points.txt").write_text(f"[pruning_bench.criteria]\n{lines}\n")
        monkeypatch.syspath_prepend(str(site))
        return site

    return install


PLUGIN = '"""score = one."""\nimport torch\n\ndef score(model, batches, loss_fn, *, power=1):\n    return {}\n'


def test_available_is_sorted_and_holds_the_built_in_ones():
    names = criteria.available()
    assert isinstance(names, tuple)
    assert list(names) == sorted(names)
    assert set(BUILT_IN) <= set(names)
    assert not any(name.startswith("_") for name in names)


@pytest.mark.parametrize("name", BUILT_IN)
def test_describe_tells_what_the_file_says(name):
    description = criteria.describe(name)
    text = description.path.read_text()
    assert description.name == name
    assert description.formula == text.splitlines()[0].strip('"')
    assert description.formula.startswith("score = ")
    assert description.facts["SOURCE"] == "control" or "arXiv:" in description.facts["SOURCE"]
    assert description.facts["WHEN"] == ("init" if name in ("snip", "grasp") else "trained")
    assert description.facts["UNIT"] == ("batch" if name == "taylor" else "mean")
    defaults = (description.facts[fact] for fact in ("GRANULARITY", "SCOPE", "SCHEDULE"))
    assert tuple(defaults) == ("weight", "global", "one_shot")
    options = {
        "grasp": {"temperature": 200.0},
        "random": {"seed": 0},
        "taylor": {"granularity": "weight", "gate": None},
    }
    assert description.options == options.get(name, {})


def test_describe_and_available_import_no_torch(write):
    path = write("heavy.py", top="raise SystemExit('was run')")
    code = (
        "import sys, criteria\nfor name in (*criteria.available(), sys.argv[1] if sys.argv[1:] else 'snip'):"
        f" criteria.describe(name)\ncriteria.describe({path!r})\n"
        "print([m for m in ('torch', 'numpy', 'bench', 'criteria.snip') if m in sys.modules])"
    )
    assert python(code) == "[]"


def test_importing_a_criterion_imports_nothing_of_the_harness():
    code = "import sys, criteria; [criteria.load(n) for n in criteria.available()]; print('bench' in sys.modules)"
    assert python(code) == "False"


@pytest.mark.parametrize(("name", "near"), [("snipp", "snip"), ("magnitud", "magnitude"), ("Taylor", "taylor")])
def test_unknown_names_name_the_near_misses(name, near):
    for find in (criteria.describe, criteria.load):
        with pytest.raises(ValueError, match=rf"unknown criterion '{name}'; did you mean {near}") as error:
            find(name)
        assert all(known in str(error.value) for known in BUILT_IN)
        assert "\n" not in str(error.value)


def test_nothing_near_is_not_guessed():
    with pytest.raises(CriterionError, match="unknown criterion 'qqq'; known: "):
        criteria.describe("qqq")


def test_options_are_set_and_unknown_ones_refused():
    assert criteria.load("grasp").options == {"temperature": 200.0}
    assert criteria.load("grasp", temperature=3.0).options == {"temperature": 3.0}
    with pytest.raises(ValueError, match="criterion grasp has no option 'temprature'; did you mean temperature"):
        criteria.load("grasp", temprature=3.0)
    with pytest.raises(ValueError, match="criterion snip has no option 'seed'; it has no options"):
        criteria.load("snip", seed=1)


@pytest.mark.parametrize("name", ["mine.py", "a b/mine crit.py", "naïve/критерий.py", "a#b=c/mi~ne.py", "quo'te/it.py"])
def test_a_file_is_a_criterion_by_its_path(name, write, build_case):
    case, path = (
        build_case("mlp"),
        write(name, "return {k: p * 0 + power for k, p in prunable(model).items()}", options="power=2"),
    )
    assert criteria.describe(path).name == Path(name).stem
    assert criteria.describe(path).path == Path(path).resolve()
    assert criteria.describe(path).options == {"power": 2}
    scores = criteria.load(path, power=3).score(case.model, case.batches, cross_entropy)
    assert (scores["0.weight"] == 3).all()
    assert Path(name).stem not in criteria.available()


def test_a_path_may_be_relative_or_start_at_home(write, tmp_path, monkeypatch):
    write("plugins/mine.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("plugins/mine.py", "./plugins/mine.py", "~/plugins/mine.py"):
        assert criteria.describe(path).path == tmp_path.resolve() / "plugins/mine.py"
    monkeypatch.chdir(tmp_path / "plugins")
    assert criteria.load("mine.py").name == "mine"


def test_a_missing_file_is_named():
    with pytest.raises(CriterionError, match=r"criterion file no/such\.py not found"):
        criteria.describe("no/such.py")


def test_a_file_dropped_in_the_folder_is_found(tmp_path):
    shutil.copytree(ROOT / "criteria", tmp_path / "criteria")
    (tmp_path / "criteria" / "dropped.py").write_text(PLUGIN)
    code = "import criteria; print(criteria.available(), criteria.load('dropped').options, criteria.__file__)"
    expected = tuple(sorted((*criteria.available(), "dropped")))
    assert python(code, tmp_path) == f"{expected} {{'power': 1}} {tmp_path / 'criteria' / '__init__.py'}"


def test_a_built_in_file_is_one_criterion_by_name_by_path_and_through_a_link(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(ROOT)
    assert criteria.describe(str(link / "criteria" / "snip.py")) == criteria.describe("snip")
    code = "import criteria; print(criteria.describe('criteria/snip.py') == criteria.describe('snip'))"
    assert python(code, link) == "True"


def test_a_package_publishes_a_criterion(publish, build_case):
    """By entry point, under a name of its own, with relative and absolute imports of its package."""
    site = publish(
        "published_one",
        {
            "__init__.py": "",
            "base.py": "ONE = 1",
            "inner/__init__.py": "",
            "inner/helper.py": "TWO = 2",
            "inner/file.py": PLUGIN.replace(
                "import torch",
                "import criteria.tools.parameters as tools\nfrom published_one.base import ONE\nfrom .helper import *",
            ).replace("return {}", "return {k: p * 0 + ONE + TWO for k, p in tools.prunable(model).items()}"),
        },
        theirs="published_one.inner.file",
        a_first="published_one.inner.file",
    )
    assert "theirs" in criteria.available()
    assert list(criteria.available()) == sorted(criteria.available())
    description = criteria.describe("theirs")
    assert (description.name, description.path) == ("theirs", site / "published_one/inner/file.py")
    case = build_case("mlp")
    scores = criteria.load("theirs").score(case.model, case.batches, cross_entropy)
    assert (scores["0.weight"] == 3).all()


def test_listing_published_criteria_imports_no_package(publish):
    site = publish(
        "published_two", {"__init__.py": "raise SystemExit('was run')", "crit.py": PLUGIN}, two="published_two.crit"
    )
    code = "import criteria, sys; print(criteria.describe('two').formula, 'published_two' in sys.modules)"
    assert python(code, ROOT, (site,)) == "score = one. False"


def test_a_published_module_that_is_gone_breaks_only_itself(publish):
    publish("published_gone", {"__init__.py": ""}, gone="published_gone.nowhere", lost="not_installed_at_all.crit")
    assert {"gone", "lost"} <= set(criteria.available())
    for name in ("gone", "lost"):
        with pytest.raises(BrokenCriterionError, match="cannot be read"):
            criteria.describe(name)
    assert criteria.load("snip").name == "snip"


def test_duplicate_names_are_refused_with_both_files(publish, write):
    site = publish("published_snip", {"__init__.py": "", "crit.py": PLUGIN}, snip="published_snip.crit")
    with pytest.raises(CriterionError, match=r"criterion 'snip' is defined twice: .*rename one file") as error:
        criteria.describe("snip")
    assert str(site) in str(error.value)
    assert str(ROOT / "criteria" / "snip.py") in str(error.value)
    with pytest.raises(CriterionError, match="criterion 'grasp' is defined twice"):
        criteria.describe(write("grasp.py"))
    assert criteria.describe("taylor").name == "taylor"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def score(model, batches, loss_fn):\n    return {\n", r"cannot be read: .*\(mine\.py, line 2\)"),
        ("'''no score here'''\nx = 1\n", r"has no function `score\(model, batches, loss_fn\)`"),
        ("def score(model, batches): ...\n", r"`score` takes \(model, batches, loss_fn\) and keyword-only options"),
        ("def score(model, batches, loss_fn, power=1): ...\n", r"`score` takes \(model, batches, loss_fn\)"),
        ("def score(model, batches, loss_fn, **more): ...\n", r"`score` takes \(model, batches, loss_fn\)"),
        ("def score(model, batches, loss_fn, *, power): ...\n", r"option 'power' of `score` needs a default"),
        (
            "\ndef score(model, batches, loss_fn, *, power=1 + 1): ...\n",
            r"line 2: the default of option 'power' must be a literal",
        ),
        ("UNIT = 'bat' + 'ch'\ndef score(model, batches, loss_fn): ...\n", r"line 1: UNIT must be a literal"),
        ("UNIT = 'epoch'\ndef score(model, batches, loss_fn): ...\n", r"UNIT is 'epoch'.*: mean, batch or sample"),
        ("COUPLED = 'max'\ndef score(model, batches, loss_fn): ...\n", r"COUPLED is 'max'.*: mean or sum"),
        ("SIGNED = 'yes'\ndef score(model, batches, loss_fn): ...\n", r"SIGNED is 'yes'.*: True or False"),
        ("SCALE = None\ndef score(model, batches, loss_fn): ...\n", r"SCALE is None.*: network or layer"),
    ],
)
def test_an_unreadable_file_is_named_in_one_line(source, words, tmp_path):
    (tmp_path / "mine.py").write_text(source)
    for find in (criteria.describe, criteria.load):
        with pytest.raises(BrokenCriterionError, match=words) as error:
            find(str(tmp_path / "mine.py"))
        assert str(tmp_path / "mine.py") in str(error.value)
        assert "\n" not in str(error.value)
    assert error.value.description.name == "mine"
    assert len(error.value.description.fingerprint) == 16


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "mine.py").write_bytes(b"x = '\xff\xfe'\n")
    with pytest.raises(BrokenCriterionError, match=r"mine\.py cannot be read: "):
        criteria.describe(str(tmp_path / "mine.py"))


def test_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "mine.py").write_bytes(b"\xef\xbb\xbf" + PLUGIN.encode())
    assert criteria.describe(str(tmp_path / "mine.py")).formula == "score = one."


@pytest.mark.parametrize(
    ("top", "words"),
    [
        (
            "import not_there_at_all",
            r"mine\.py, line 4 cannot be imported: ModuleNotFoundError: No module named 'not_the",
        ),
        ("x = 1\nx.y", r"mine\.py, line 5 cannot be imported: AttributeError"),
        ("raise RuntimeError('one\\n\\ntwo')", r"mine\.py, line 4 cannot be imported: RuntimeError: one two$"),
    ],
)
def test_a_file_that_fails_to_import_is_described_but_not_loaded(top, words, write):
    path = write("mine.py", top=top)
    assert criteria.describe(path).formula == "score = mine."
    with pytest.raises(CriterionError, match=words):
        criteria.load(path)


def test_facts_are_read_annotated_or_not_and_other_names_are_not(write):
    top = 'SOURCE = "me"\nUNIT: str = "sample"\nWHEN = "init"\nOTHER = torch\nSCOPE: str\na = SCHEDULE = 1'
    facts = criteria.describe(write("mine.py", top=top)).facts
    assert facts == {
        "SOURCE": "me",
        "UNIT": "sample",
        "GRANULARITY": "weight",
        "SCOPE": "global",
        "SCHEDULE": "one_shot",
        "WHEN": "init",
        "COUPLED": "mean",
        "SIGNED": False,
        "SCALE": "network",
    }


@pytest.mark.parametrize(
    ("top", "options", "forms"),
    [
        ("", "power=2", ("weight",)),
        ("", "granularity='weight'", ("weight", "filter")),
        ("GRANULARITY = 'filter'", "granularity='weight'", ("weight", "filter")),
        ("GRANULARITY = 'filter'", "power=2", ("filter",)),
        ("GRANULARITY = 'block'", "power=2", ("weight",)),
    ],
)
def test_its_forms_and_which_the_options_mean(top, options, forms, write):
    path = write("mine.py", top=top, options=options)
    assert criteria.describe(path).forms == forms
    assert criteria.load(path).form == forms[0]
    if len(forms) > 1:
        assert criteria.load(path, granularity="filter").form == "filter"
        assert criteria.describe(path).form({}) == "weight"
        for wrong in ("filtr", ["filter"], None):
            with pytest.raises(CriterionError, match=r"criterion mine: unknown granularity .*known: weight, filter$"):
                criteria.describe(path).check_options({"granularity": wrong})


def test_literal_defaults_of_every_kind(write):
    options = 'a=1, b=-2.5, c=None, d=True, e="x", f=(1, [2]), g={"k": 1e-3}'
    described = criteria.describe(write("mine.py", options=options)).options
    assert described == {"a": 1, "b": -2.5, "c": None, "d": True, "e": "x", "f": (1, [2]), "g": {"k": 1e-3}}


def test_plugins_of_two_folders_have_their_own_helpers(write, build_case):
    case = build_case("mlp")
    for number in (1, 2):
        write(f"folder{number}/helper.py", top=f"VALUE = {number}")
        write(f"folder{number}/pack/deep.py", top=f"VALUE = {number * 10}")
        body = "return {k: p * 0 + helper.VALUE + VALUE for k, p in prunable(model).items()}"
        write(f"folder{number}/mine.py", body, top="import helper\nfrom pack.deep import VALUE")
    folder = Path(write("folder1/mine.py", body, top="import helper\nfrom pack.deep import VALUE")).parents[1]
    search, modules = list(sys.path), set(sys.modules)
    loaded = [criteria.load(str(folder / f"folder{number}" / "mine.py")) for number in (1, 2)]
    values = [c.score(case.model, case.batches, cross_entropy)["0.weight"].unique().tolist() for c in loaded]
    assert values == [[11.0], [22.0]]
    assert sys.path == search
    assert {name.split("_")[0] for name in set(sys.modules) - modules} == {"criterion"}


def test_a_helper_is_not_left_to_a_plugin_of_another_folder(write):
    write("with/only_here.py")
    criteria.load(write("with/mine.py", top="import only_here"))
    with pytest.raises(CriterionError, match="No module named 'only_here'"):
        criteria.load(write("without/mine.py", top="import only_here"))


def test_a_failing_plugin_leaves_the_search_path_alone(write):
    search = list(sys.path)
    with pytest.raises(CriterionError):
        criteria.load(write("mine.py", top="1 / 0"))
    assert sys.path == search


def test_packages_installed_below_the_folder_stay_imported(write, tmp_path, monkeypatch):
    """As in a project whose virtual environment lies beside the plugin."""
    write(".venv/site/installed_below.py")
    monkeypatch.syspath_prepend(str(tmp_path / ".venv/site"))
    criteria.load(write("mine.py", top="import installed_below"))
    assert "installed_below" in sys.modules
    del sys.modules["installed_below"]


def test_the_search_path_keeps_its_order_for_a_plugin_in_the_working_folder(write, tmp_path, monkeypatch):
    path = write("mine.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    search = list(sys.path)
    criteria.load(path)
    assert sys.path == search


def test_a_plugin_cannot_shadow_an_installed_package(write, tmp_path, monkeypatch):
    write("site/shadowed.py")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    write("plugins/shadowed.py", top="raise RuntimeError('the wrong one')")
    criteria.load(write("plugins/mine.py", top="import shadowed"))
    monkeypatch.delitem(sys.modules, "shadowed")


def test_a_package_is_not_taken_for_another_of_its_name(write, tmp_path, monkeypatch):
    for place in ("site", "elsewhere"):
        write(f"{place}/twin_package/__init__.py")
        write(f"{place}/twin_package/mine.py", top=f"PLACE = {place!r}")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    for place in ("elsewhere", "site"):
        criterion = criteria.load(str(tmp_path / place / "twin_package" / "mine.py"))
        assert criterion.function.__globals__["PLACE"] == place


def test_a_published_file_is_one_criterion_through_a_link(publish, tmp_path, monkeypatch):
    site = publish("published_link", {"__init__.py": "", "crit.py": PLUGIN}, crit="published_link.crit")
    (tmp_path / "link").symlink_to(site)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "link"), *(p for p in sys.path if p != str(site))])
    assert criteria.describe(str(site / "published_link" / "crit.py")) == criteria.describe("crit")


def test_a_plugin_may_define_dataclasses_with_postponed_annotations(tmp_path):
    top = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: int = 1\n"
    )
    (tmp_path / "mine.py").write_text(top + PLUGIN.split('"""')[2])
    assert criteria.load(str(tmp_path / "mine.py")).name == "mine"


def test_an_edit_is_seen_by_the_next_load(write, build_case):
    case = build_case("mlp")
    values, prints = [], []
    for value in (1, 2):
        path = write(
            "mine.py", "return {k: p * 0 + V for k, p in prunable(model).items()}", top="from help_me import V"
        )
        write("help_me.py", top=f"V = {value}  # {'x' * value}")
        prints.append(criteria.describe(path).fingerprint)
        values.append(criteria.load(path).score(case.model, case.batches, cross_entropy)["0.weight"][0, 0].item())
    assert values == [1, 2]
    assert prints[0] != prints[1]


def test_the_loaded_criterion_shows_its_bare_function():
    criterion = criteria.load("magnitude")
    layer = torch.nn.Linear(2, 2)
    assert torch.equal(criterion.function(layer, [], None)["weight"], layer.weight.abs())
    assert criterion.description == criteria.describe("magnitude")
