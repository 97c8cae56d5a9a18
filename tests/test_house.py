"""The house: imports point down, public names are sorted and documented, the facade has no SQL."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nirs4all_store
from nirs4all_store import WorkspaceStore
from nirs4all_store.testing.contract import add_chain, add_pipeline, add_prediction

PACKAGE = Path(nirs4all_store.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py"))

# What stands on a lower floor may be imported by what stands above it; neighbours leave each other alone.
FLOORS = (
    (
        "aside",
        "dialect",
        "errors",
        "known",
        "line",
        "mounts",
        "numpy_parts",
        "owners",
        "packages",
        "points",
        "probabilities",
        "scores",
        "script_template",
        "version",
        "work",
        "yaml_text",
    ),
    ("endless",),
    (
        "arrays",
        "canonical",
        "chain_builder",
        "column_names",
        "door",
        "given",
        "inference",
        "kinds",
        "operators",
        "pickles",
        "rights",
        "turns",
        "values",
    ),
    ("entrance", "files", "steady"),
    ("config_files", "frames", "gate"),
    (
        "blobs",
        "chain_shape",
        "duckdb_files",
        "codecs",
        "dataset",
        "lease",
        "library",
        "models",
        "parameters",
        "pipeline_config",
        "records",
        "trace",
    ),
    ("catalog", "connecting"),
    ("answering", "answers", "chain_plan", "database", "judging", "old_bundle", "simple_queries", "trained_on"),
    ("bundle_reader", "columns", "elsewhere", "fitted", "training"),
    ("contents", "copies", "estimator", "holding", "questions", "tables"),
    ("repositories/ranking", "repositories/uses", "workspace"),
    (
        "repositories/artifacts",
        "repositories/chains",
        "repositories/ids",
        "repositories/integrity",
        "repositories/predictions",
        "repositories/runs",
    ),
    ("repositories/__init__",),
    ("layout", "migrate", "replay", "unit_of_work"),
    ("bundle", "checking", "importing", "maintenance", "upgrade"),
    ("opening", "recovery"),
    ("inspection", "store"),
    ("outcomes", "restoring"),
    ("contract", "machine", "runner"),
    ("cli/escapes", "demo"),
    ("cli/output", "cli/pictures", "testing"),
    ("cli/looking", "cli/templates", "cli/upkeep"),
    ("cli/working",),
    ("cli/__init__",),
    ("__init__",),
)


KNOW_DUCKDB = (
    "answering", "answers", "catalog", "columns", "connecting", "database", "dialect", "duckdb_files", "elsewhere",
    "questions",
)  # fmt: skip


def floor(module: str) -> int:
    return next(height for height, modules in enumerate(FLOORS) if module in modules)


def imported(module: str) -> set[str]:
    """Return the modules of this package that a module imports, at its top or inside a function."""
    path = PACKAGE / f"{module}.py"
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parent if node.level == 1 else path.parent.parent
            names = [node.module] if node.module else [alias.name for alias in node.names]
            for name in names:
                target = base / name.replace(".", "/")
                target = target / "__init__" if target.is_dir() else target
                found.add(target.relative_to(PACKAGE).as_posix())
    return found


def test_every_module_has_a_floor() -> None:
    assert sorted(module for modules in FLOORS for module in modules) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    above = {name for name in imported(module) if floor(name) >= floor(module)}
    assert not above


def test_the_architecture_page_shows_every_module() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    names = {module.removesuffix("/__init__").removeprefix("__init__").split("/")[-1] for module in MODULES} - {""}
    assert {name for name in names if not re.search(rf"\b{name}\b", page)} == set()


def test_public_names_are_sorted_there_and_documented() -> None:
    names = nirs4all_store.__all__
    assert names == sorted(names)
    for name in names:
        if name != "__version__":
            documented = getattr(nirs4all_store, name)
            assert inspect.getdoc(documented), name
            assert documented.__module__.startswith("nirs4all_store."), name


def test_the_package_lists_its_names_before_they_are_loaded() -> None:
    program = "import nirs4all_store; print(*dir(nirs4all_store))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == nirs4all_store.__all__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        nirs4all_store.no_such_name  # noqa: B018


def test_every_error_is_public_and_a_store_error() -> None:
    errors = importlib.import_module("nirs4all_store.errors")
    classes = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    assert classes <= set(nirs4all_store.__all__)
    assert all(issubclass(getattr(errors, name), errors.StoreError) for name in classes)


def test_every_public_method_of_the_facade_is_documented() -> None:
    for name, method in inspect.getmembers(WorkspaceStore):
        if not name.startswith("_"):
            assert inspect.getdoc(method), name


def test_the_facade_has_no_sql_and_no_file_below_artifacts() -> None:
    source = (PACKAGE / "store.py").read_text()
    assert "sqlalchemy" not in source
    assert not re.search(r"\b(SELECT|INSERT|UPDATE|DELETE)\b .*\b(FROM|INTO|SET)\b", source)


def test_only_database_knows_the_dialect_and_only_migrate_alembic() -> None:
    for module in MODULES:
        names = set(re.findall(r"^\s*(?:import|from) (\w+)", (PACKAGE / f"{module}.py").read_text(), re.MULTILINE))
        assert not names & {"duckdb", "duckdb_engine", "pyarrow"} or module in KNOW_DUCKDB, module
        assert "alembic" not in names or module == "migrate", module


def test_files_are_short_enough_to_be_read() -> None:
    lines = {module: len((PACKAGE / f"{module}.py").read_text().splitlines()) for module in MODULES}
    assert {module for module, count in lines.items() if count > 400} <= {"store"}


def test_importing_the_package_loads_no_scikit_learn_alembic_typer_or_rich() -> None:
    slow = {"sklearn", "alembic", "typer", "rich", "pyarrow", "yaml"}
    program = f"from nirs4all_store import WorkspaceStore; import sys; print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_commands_that_only_look_once_waited_for_scikit_learn(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as store:
        run_id, pipeline_id = add_pipeline(store)
        chain_id = add_chain(store, pipeline_id)
        prediction_id = add_prediction(store, pipeline_id, chain_id=chain_id, fold_id="avg")
        store.save_prediction_arrays(prediction_id, y_true=np.arange(3.0), y_pred=np.arange(3.0))
    commands = [
        ["--help"], ["runs"], ["pipelines"], ["top"], ["log", pipeline_id], ["sql", "SELECT 1"],
        ["show", prediction_id], ["show", chain_id], ["compare", run_id, run_id], ["info"], ["check"],
        ["gc", "--dry-run"], ["library", "list"], ["export", run_id, "run.yaml"],
    ]  # fmt: skip
    program = (
        "import sys; sys.modules['sklearn'] = None\nfrom nirs4all_store.cli import app\n"
        "from typer.testing import CliRunner\n"
        f"for command in {commands}:\n    done = CliRunner().invoke(app, command)\n"
        "    assert done.exit_code == 0, (command, done.output)"
    )
    environment = os.environ | {"NIRS4ALL_WORKSPACE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
