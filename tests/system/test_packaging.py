"""The distributions as a user gets them: built wheels, installed without the sources and without an index.

Each layer must bring exactly the layers below. attrs and pluggy, which the index would provide, are copied from
the environment of the tests.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pace import patience
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
#: From the bottom up: package, and its directory under layers/.
LAYERS = {"threadpool9": "threadpool", "task9": "task", "workqueue9": "workqueue"}
FROM_THE_INDEX = {"attrs", "pluggy"}
#: A layer by somebody who has what we publish, and nothing else of this repository.
STRANGER = ROOT / "examples" / "softint"
#: Prints the names of what is installed.
INSTALLED = "import importlib.metadata, json; print(json.dumps([d.name for d in importlib.metadata.distributions()]))"
#: What its tests need besides.
FOR_PYTEST = {"pytest", "iniconfig", "packaging", "pygments"}

pytestmark = [
    pytest.mark.once,
    pytest.mark.xdist_group("packaging"),  # the wheels are built once
]


def metadata_of(directory: Path) -> dict[str, Any]:
    """The [project] table of a distribution."""
    with open(directory / "pyproject.toml", "rb") as file:
        project: dict[str, Any] = tomllib.load(file)["project"]
    return project


def pip(*arguments: str | Path) -> str:
    """What pip of the tests' environment says; it must succeed."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=patience(100), check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel of each layer."""
    directory = tmp_path_factory.mktemp("wheels")
    sources = [ROOT / "layers" / name for name in LAYERS.values()]
    pip("wheel", "-q", "--no-index", "--no-deps", "--no-build-isolation", "-w", directory, *sources)
    return directory


def new_environment(path: Path, names: set[str] = FROM_THE_INDEX) -> Path:
    """The Python of an environment that has what the index would provide, and no pip."""
    venv.create(path, symlinks=True)
    (site_packages,) = path.glob("lib/python*/site-packages")
    for name in names:
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = site_packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(distribution.locate_file(file), target)
    return path / "bin" / "python"


@pytest.mark.parametrize("layer", LAYERS)
def test_a_wheel_brings_exactly_the_layers_below(layer: str, wheels: Path, tmp_path: Path) -> None:
    """Installing one layer installs those below, nothing above; all of them import, and the README's example runs."""
    order = list(LAYERS)
    position = order.index(layer) + 1
    below, above = order[:position], order[position:]
    python = new_environment(tmp_path / "environment")

    pip("--python", python, "install", "-q", "--no-compile", "--no-index", "--find-links", wheels, layer)

    listed = json.loads(run_isolated(python, INSTALLED))
    assert sorted(listed) == sorted({*below, *FROM_THE_INDEX})
    script = (
        "import importlib.util as util\n"
        f"for name in {below}: __import__(name)\n"
        f"assert not any(map(util.find_spec, {above}))\n"
    )
    assert run_isolated(python, script) == ""
    example, output = first_example(ROOT / "layers" / LAYERS[layer] / "README.md")
    assert run_isolated(python, example) == output


def test_a_strangers_layer_is_built_tested_and_run_on_the_wheels_alone(wheels: Path, tmp_path: Path) -> None:
    """TP-37: the doors are enough. A fourth layer's wheel, its own tests and its README's example, far from here."""
    pip("wheel", "-q", "--no-index", "--no-deps", "--no-build-isolation", "-w", wheels, STRANGER)
    python = new_environment(tmp_path / "environment", FROM_THE_INDEX | FOR_PYTEST)
    pip("--python", python, "install", "-q", "--no-index", "--find-links", wheels, "softint", "workqueue9")
    tests = shutil.copytree(STRANGER / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))

    where = "import softint, task9, threadpool9; print(softint.__file__, task9.__file__, threadpool9.__file__)"
    assert all(Path(file).is_relative_to(python.parents[1]) for file in run_isolated(python, where).split())
    example, output = first_example(STRANGER / "README.md")
    assert run_isolated(python, example) == output
    options = ["-q", "-p", "no:cacheprovider", str(tests)]
    result = run_isolated(python, f"import pytest, sys; sys.exit(pytest.main({options!r}))")
    assert re.search(r"\n\d\d passed in ", result), result


def run_isolated(python: Path, script: str) -> str:
    """What `script` prints, without this checkout in sight; a warning is an error."""
    command = [str(python), "-I", "-W", "error", "-c", script]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=patience(60),
        cwd=python.parent,
        env=environment,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


def first_example(readme: Path) -> tuple[str, str]:
    """The first Python block of a README and the text block after it, which is what it prints."""
    match = re.search(r"```python\n(.*?)```.*?```text\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    assert match, f"{readme} has no example with its output"
    return match[1], match[2]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_wheel_is_typed_and_carries_its_licence(layer: str, wheels: Path) -> None:
    """The wheel holds py.typed, the licence, the sources as they are in the checkout, and nothing else."""
    (wheel,) = wheels.glob(f"{layer}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())

    source = ROOT / "layers" / LAYERS[layer] / "src"
    files = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name}
    assert f"{layer}/py.typed" in files
    assert {name for name in names if ".dist-info/" not in name} == files
    assert any(re.fullmatch(r".*\.dist-info/licenses/LICENSE", name) for name in names)


def test_distributions_agree_on_version_python_and_licence() -> None:
    """One number for all, and the same Python versions, classifiers for them included."""
    directories = [*(ROOT / "layers" / name for name in LAYERS.values()), ROOT / "tests" / "conformance"]
    projects = [metadata_of(directory) for directory in directories]

    for key in ("version", "requires-python", "license"):
        assert len({project[key] for project in projects}) == 1, key
    pythons = [{c for c in p["classifiers"] if c.startswith("Programming Language")} for p in projects]
    assert all(classifiers == pythons[0] for classifiers in pythons)
    licences = {(directory / "LICENSE").read_bytes() for directory in [ROOT, *directories]}
    assert len(licences) == 1


def test_each_layer_requires_the_one_below_in_a_range_that_fits() -> None:
    """A sibling is required as a compatible range that contains the version in step."""
    projects = {layer: metadata_of(ROOT / "layers" / name) for layer, name in LAYERS.items()}
    required = {
        layer: {r.name: r for r in map(Requirement, project["dependencies"])} for layer, project in projects.items()
    }

    assert set(required["threadpool9"]) == FROM_THE_INDEX
    assert set(required["task9"]) == {"threadpool9"}
    assert set(required["workqueue9"]) == {"task9"}
    for layer, below in (("task9", "threadpool9"), ("workqueue9", "task9")):
        specifier = required[layer][below].specifier
        assert specifier.contains(projects[below]["version"])
        assert {part.operator for part in specifier} == {">=", "<"}
