"""The house: imports point down, public names are sorted and documented, the facade has no SQL."""

import ast
import functools
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

# From top to bottom: what stands higher may import what stands lower. Rooms side by side do not import each other.
ROOMS = (
    ("cli",),
    ("figures", "views"),
    ("integrations", "testing", "training"),
    ("store",),
    ("queries",),
    ("exchange", "workspace"),
    ("storage",),
    ("chains",),
    ("artifacts", "datasets", "engine"),
    ("call_boundary", "filesystem", "identifiers"),
    ("failpoints", "metrics", "validation"),
    ("errors",),
)
# Names that pickles or our documents have, of what lies elsewhere now.
REEXPORTS = {"estimator", "fitted", "inference", "models", "trained_on"}
MOST_ROOMS = 22


def floor(room: str) -> int:
    return next(height for height, rooms in enumerate(ROOMS) if room in rooms)


def room_of(module: str) -> str:
    return module.split("/")[0]


@functools.cache
def imports_of(module: str) -> list[tuple[str, str]]:
    """Return from where in this package a module imports, as a path, and what, at its top or inside a function.

    `from .. import views` imports what the module uses of it, as in `views.rank`, once it is used.
    """
    path = PACKAGE / f"{module}.py"
    nodes = [*ast.walk(ast.parse(path.read_text()))]
    found = [
        (
            path.parents[node.level - 1].joinpath(*(node.module or "").split(".")).relative_to(PACKAGE).as_posix(),
            alias.name,
        )
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    ]
    rooms = {name for place, name in found if place == "."}
    uses = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    return found + [(use.value.id, use.attr) for use in uses if use.value.id in rooms]


def offered_by(stub: Path) -> list[tuple[str, str]]:
    """Return what a room's `__init__.pyi` offers: from which of its modules, and what."""
    return [(node.module or "", alias.name) for node in ast.parse(stub.read_text()).body for alias in node.names]


def test_every_module_is_in_a_room_and_the_rooms_are_few() -> None:
    rooms = {room for rooms in ROOMS for room in rooms}
    assert {room_of(module) for module in MODULES} == {*rooms, *REEXPORTS, "__init__"}
    assert len(rooms) <= MOST_ROOMS


IN_ROOMS = [module for module in MODULES if room_of(module) not in {*REEXPORTS, "__init__"}]


@pytest.mark.parametrize("module", IN_ROOMS)
def test_imports_point_down_and_reach_no_further_than_what_a_room_offers(module: str) -> None:
    room = room_of(module)
    others = {place if place != "." else name for place, name in imports_of(module)}
    others = {place for place in others if room_of(place) != room}
    assert {place for place in others if floor(room_of(place)) <= floor(room)} == set()
    assert {place for place in others if "/" in place} == set(), "what a room offers stands in its __init__"


def test_no_import_goes_round_in_a_circle() -> None:
    below = {}
    for module in MODULES:
        places = [(place, f"{place}/{name}") for place, name in imports_of(module)]
        below[module] = {path if path in MODULES else place for place, path in places} - {module}
    while leaves := [module for module, needed in below.items() if not needed & below.keys()]:
        for module in leaves:
            del below[module]
    assert below == {}


def test_a_room_offers_what_others_use_and_nothing_else() -> None:
    public = {(room, name) for stub in PACKAGE.glob("*.pyi") for room, name in offered_by(stub)}
    used = {(place, name) for module in MODULES for place, name in imports_of(module) if room_of(module) != place}
    for stub in PACKAGE.glob("*/__init__.pyi"):
        room = stub.parent.name
        assert {name for _, name in offered_by(stub)} == {name for place, name in used | public if place == room}


def test_a_reexport_is_nothing_else() -> None:
    for name in REEXPORTS:
        kinds = {type(node) for node in ast.parse((PACKAGE / f"{name}.py").read_text()).body}
        assert kinds == {ast.Expr, ast.ImportFrom, ast.Assign}
        assert [module for module in MODULES if name in {place for place, _ in imports_of(module)}] == []


def test_the_architecture_page_shows_every_room() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    assert {room for rooms in ROOMS for room in rooms if not re.search(rf"\b{room}\b", page)} == set()


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
    assert all(issubclass(getattr(errors, name), errors.StoreError) for name in classes - {"DataWarning"})


def test_every_public_method_of_the_facade_is_documented() -> None:
    for name, method in inspect.getmembers(WorkspaceStore):
        if not name.startswith("_"):
            assert inspect.getdoc(method), name


def test_the_facade_has_no_sql_and_no_file_below_artifacts() -> None:
    source = (PACKAGE / "store.py").read_text()
    assert "sqlalchemy" not in source
    assert not re.search(r"\b(SELECT|INSERT|UPDATE|DELETE)\b .*\b(FROM|INTO|SET)\b", source)


def test_only_the_life_of_a_workspace_knows_that_artifacts_are_files_of_a_folder() -> None:
    knowing = {module for module in MODULES if ("artifacts", "FolderBlobs") in imports_of(module)}
    assert {room_of(module) for module in knowing} == {"workspace"}


def test_only_the_engine_of_duckdb_knows_duckdb_only_engines_arrow_and_only_their_migrators_alembic() -> None:
    for module in MODULES:
        names = set(re.findall(r"^\s*(?:import|from) (\w+)", (PACKAGE / f"{module}.py").read_text(), re.MULTILINE))
        assert not names & {"duckdb", "duckdb_engine"} or module.startswith("engine/duckdb/"), module
        assert "pyarrow" not in names or re.match(r"engine/\w+/", module), module
        assert "alembic" not in names or re.match(r"engine/\w+/migrator$", module), module


def test_a_room_that_offered_a_module_and_a_function_of_one_name_once_gave_the_module() -> None:
    """Which of both comes depends on what was imported first, and on the version of lazy_loader."""
    stubs = {path: path.read_text() for path in PACKAGE.rglob("__init__.pyi")}
    twice = {
        str(path): re.findall(r"^from \.(?:\w+\.)*(\w+) import \1 as", text, re.MULTILINE)
        for path, text in stubs.items()
    }
    assert {path: names for path, names in twice.items() if names} == {}


def test_files_are_short_enough_to_be_read() -> None:
    lines = {module: len((PACKAGE / f"{module}.py").read_text().splitlines()) for module in MODULES}
    assert {module for module, count in lines.items() if count > 400} <= {"store"}


def test_importing_the_package_loads_no_scikit_learn_alembic_typer_or_rich() -> None:
    slow = {"sklearn", "alembic", "typer", "rich", "pyarrow", "yaml"}
    program = (
        f"from nirs4all_store import WorkspaceStore; import sys; print({slow} & set(sys.modules))\n"
        "with WorkspaceStore('memory:house') as store: assert store.list_runs().is_empty()\n"
        "print({'sklearn', 'pyarrow'} & set(sys.modules))"  # A listing once waited for pyarrow, to make its frame.
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["set()", "set()"]


def test_help_and_completion_once_waited_for_polars_sqlalchemy_and_duckdb() -> None:
    slow = {"numpy", "polars", "sqlalchemy", "duckdb", "pyarrow", "sklearn", "yaml"}
    program = (
        "import sys\nfrom nirs4all_store.cli import app\nfrom typer.testing import CliRunner\n"
        "for line in (['--help'], ['--version'], ['top', '--help'], ['dataset', '--help']):\n"
        "    done = CliRunner().invoke(app, line)\n    assert done.exit_code == 0, done.output\n"
        "words = {'COMP_WORDS': 'nirs4all-store sh', 'COMP_CWORD': '1', '_NIRS4ALL_STORE_COMPLETE': 'complete_bash'}\n"
        "done = CliRunner().invoke(app, [], prog_name='nirs4all-store', env=words)\n"
        "assert done.output.split() == ['show'], done.output\n"
        f"print({slow} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_commands_that_only_look_once_waited_for_scikit_learn(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as store:
        run_id, pipeline_id = add_pipeline(store)
        chain_id = add_chain(store, pipeline_id)
        prediction_id = add_prediction(store, pipeline_id, chain_id=chain_id, fold_id="avg")
        store.save_prediction_arrays(prediction_id, y_true=np.arange(3.0), y_pred=np.arange(3.0))
    commands = [
        ["--help"],
        ["runs"],
        ["pipelines"],
        ["top"],
        ["log", pipeline_id],
        ["sql", "SELECT 1"],
        ["show", prediction_id],
        ["show", chain_id],
        ["compare", run_id, run_id],
        ["info"],
        ["check"],
        ["gc", "--dry-run"],
        ["library", "list"],
        ["export", run_id, "run.yaml"],
    ]
    program = (
        "import sys; sys.modules['sklearn'] = None\nfrom nirs4all_store.cli import app\n"
        "from typer.testing import CliRunner\n"
        f"for command in {commands}:\n    done = CliRunner().invoke(app, command)\n"
        "    assert done.exit_code == 0, (command, done.output)"
    )
    environment = os.environ | {"NIRS4ALL_WORKSPACE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("engine.duckdb.sql_worker", {"polars", "sqlalchemy", "numpy"}),
        ("training.cross_validation", {"duckdb", "sqlalchemy", "alembic"}),
    ],
    ids=["a query", "a worker that trains"],
)
def test_another_process_once_waited_for_what_it_does_not_need(module: str, slow: set[str]) -> None:
    program = f"import nirs4all_store.{module}, sys; print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
