"""A fingerprint changes exactly when the criterion's own code does."""

import shutil
from pathlib import Path

import pytest

import criteria
from criteria._fingerprint import fingerprint

FOLDER = Path(criteria.__file__).parent


@pytest.fixture
def folder(tmp_path):
    """Return a package folder `outer/crits` that holds helpers of every shape."""
    folder = tmp_path / "outer" / "crits"
    files = ("__init__.py", "helper.py", "other.py", "pack/__init__.py", "pack/deep.py", "pack/near.py")
    for name in (*files, "bare/leaf.py", "unrelated.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x = 1\n")
    return folder


def changed_by(folder: Path, source: str) -> set[str]:
    """Return which files of the folder change the fingerprint of a criterion with this source."""
    criterion = folder / "mine.py"
    criterion.write_text(source)
    before, changing = fingerprint(criterion), set()
    for file in folder.rglob("*.py"):
        text = file.read_text()
        file.write_text(text + "# edited\n")
        if fingerprint(criterion) != before:
            changing.add(str(file.relative_to(folder)))
        file.write_text(text)
    assert fingerprint(criterion) == before
    return changing - {"mine.py"} if "mine.py" in changing else {"MISSING mine.py"}


@pytest.mark.parametrize(
    ("source", "files"),
    [
        ("", set()),
        ("import torch\nfrom pathlib import Path\nimport os.path", set()),
        ("import helper", {"helper.py"}),
        ("import helper as h, other", {"helper.py", "other.py"}),
        ("from helper import x", {"helper.py"}),
        ("from helper import *", {"helper.py"}),
        ("from crits.helper import x", {"helper.py"}),
        ("from crits import helper", {"helper.py"}),
        ("import crits.helper", {"helper.py"}),
        ("from outer.crits.helper import x", {"helper.py"}),
        ("from outer.crits import helper", {"helper.py"}),
        ("from .helper import x", {"helper.py"}),
        ("from . import helper, other", {"helper.py", "other.py"}),
        ("import pack", {"pack/__init__.py"}),
        ("import pack.deep", {"pack/__init__.py", "pack/deep.py"}),
        ("from pack import deep", {"pack/__init__.py", "pack/deep.py"}),
        ("from pack.deep import x", {"pack/__init__.py", "pack/deep.py"}),
        ("from crits.pack.deep import x", {"pack/__init__.py", "pack/deep.py"}),
        ("from .pack.deep import x", {"pack/__init__.py", "pack/deep.py"}),
        ("from bare.leaf import x", {"bare/leaf.py"}),
        ("from bare import leaf", {"bare/leaf.py"}),
        ("def f():\n    import helper", {"helper.py"}),
        ("try:\n    import helper\nexcept ImportError:\n    pass", {"helper.py"}),
        ("'import helper'  # import other", set()),
        ("import elsewhere.helper", set()),
    ],
)
def test_it_changes_with_what_the_file_imports_from_its_folder(folder, source, files):
    assert changed_by(folder, source) == files


@pytest.mark.parametrize("line", ["import other", "from .other import x", "from crits.other import x"])
def test_it_changes_with_what_a_helper_imports(folder, line):
    (folder / "helper.py").write_text(line)
    assert changed_by(folder, "import helper") == {"helper.py", "other.py"}


@pytest.mark.parametrize("line", ["from .near import x", "from . import near", "from ..pack.near import x"])
def test_relative_imports_inside_a_helper_package(folder, line):
    (folder / "pack/deep.py").write_text(line)
    assert changed_by(folder, "import pack.deep") == {"pack/__init__.py", "pack/deep.py", "pack/near.py"}
    (folder / "pack/deep.py").write_text("from ..helper import x")
    assert changed_by(folder, "import pack.deep") == {"pack/__init__.py", "pack/deep.py", "helper.py"}


def test_helpers_that_import_each_other_end(folder):
    (folder / "helper.py").write_text("import other, mine")
    (folder / "other.py").write_text("import helper")
    assert changed_by(folder, "import helper") == {"helper.py", "other.py"}


def test_it_is_16_hex_digits_and_does_not_depend_on_the_place(folder, tmp_path):
    (folder / "mine.py").write_text("import helper, pack.deep")
    shutil.copytree(folder, tmp_path / "elsewhere" / "crits")
    first, second = fingerprint(folder / "mine.py"), fingerprint(tmp_path / "elsewhere/crits/mine.py")
    assert first == second
    assert len(first) == 16
    int(first, 16)


def test_a_renamed_file_is_another_criterion(folder):
    (folder / "mine.py").write_text("x = 1")
    (folder / "yours.py").write_text("x = 1")
    assert fingerprint(folder / "mine.py") != fingerprint(folder / "yours.py")


@pytest.mark.parametrize(
    ("edited", "changing"),
    [
        ("tools/gradients.py", {"gradient", "snip", "taylor", "grasp"}),
        ("tools/parameters.py", {"gradient", "snip", "taylor", "grasp", "magnitude", "random"}),
        ("snip.py", {"snip"}),
        ("_guard.py", set()),
        ("_registry.py", set()),
    ],
)
def test_editing_one_built_in_file_changes_only_its_users(tmp_path, edited, changing):
    copy = tmp_path / "criteria"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    names = ["random", "magnitude", "gradient", "taylor", "snip", "grasp"]
    before = {name: fingerprint(copy / f"{name}.py") for name in names}
    assert before == {name: criteria.describe(name).fingerprint for name in names}
    with (copy / edited).open("a") as file:
        file.write("# edited\n")
    assert {name for name in names if fingerprint(copy / f"{name}.py") != before[name]} == changing


def test_a_syntax_error_in_a_helper_names_the_helper(write):
    path = write("mine.py", top="import broken_helper")
    (Path(path).parent / "broken_helper.py").write_text("x = 1\n\ny = (\n")
    with pytest.raises(
        criteria.BrokenCriterionError, match=r"mine\.py cannot be read: .*\(broken_helper\.py, line 3\)"
    ):
        criteria.describe(path)
