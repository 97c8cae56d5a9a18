"""The documentation: what stands on its pages runs, leads somewhere, and leaves no name out."""

import contextlib
import io
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import polars as pl
import pytest
from chemotools.datasets import load_fermentation_train
from commands import COMMANDS
from legacy import make_legacy
from old_workspaces import TEST, TRAIN, X, write_screening
from programs import run, run_script
from typer.testing import CliRunner

import nirs4all_store
from nirs4all_store import WorkspaceStore
from nirs4all_store.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(python|console|yaml|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ID = re.compile(r"\b[0-9a-f]{8,12}(-[0-9a-f]+)*\b")
NOT_HERE = ("pip ", "mkdir ../", "python3 -m venv", "bash .ci/run", "python -m tests.")


def spectra(folder: Path) -> None:
    """Write what one has who begins: a table of spectra with a target, and one of new spectra."""
    X, y = load_fermentation_train(set_output="polars")
    X[:, :1000:10].with_columns(y["glucose"].alias("protein")).write_csv(folder / "wheat.csv")
    X[:4, :1000:10].write_csv(folder / "new.csv")


def old(folder: Path) -> None:
    """Write a workspace of nirs4all 0.7.1."""
    make_legacy(folder / "old", "0.7.1")


def of_nirs4all(folder: Path) -> None:
    """Write a workspace of nirs4all 1.0, and its spectra."""
    write_screening(folder / "old")
    for name, rows in (("train", TRAIN), ("test", TEST)):
        pl.DataFrame(X[rows], schema=[str(number) for number in range(X.shape[1])]).write_csv(folder / f"{name}.csv")


def killed(folder: Path) -> None:
    """Leave a workspace as a power cut does: with zeros at the end of its log."""
    program = (
        "import os, sys; from nirs4all_store import WorkspaceStore\n"
        "store = WorkspaceStore(sys.argv[1])\n"
        "for name in ('one', 'two'): store.complete_run(store.begin_run(name))\n"
        "os._exit(0)"
    )
    run(program, folder / "workspace")
    log = folder / "workspace" / "store.duckdb.wal"
    log.write_bytes(log.read_bytes()[:-30] + bytes(30))


def nothing(folder: Path) -> None:
    """Let a page begin with an empty folder."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the tutorial when it has trained, where the how-tos begin, and the names of its programs."""
    folder = tmp_path_factory.mktemp("tutorial")
    training, _ = parts_of_tutorial()
    with contextlib.chdir(folder), joblib.parallel_config("threading", n_jobs=1):
        return folder, run_page("docs/tutorial.md", training, {"__name__": "__main__"})


def parts_of_tutorial() -> tuple[str, str]:
    """Return the tutorial until it has trained, and the rest of it with its lines where they are on the page."""
    training, found, rest = (DOCS / "tutorial.md").read_text().partition("## Look\n")
    assert found
    return training, "\n" * training.count("\n") + found + rest


# What a page begins with; None: the tutorial, when it has trained.
PAGES: dict[str, Callable[[Path], None] | None] = {
    "README.md": spectra,
    "docs/index.md": nothing,
    "docs/tutorial.md": None,
    "docs/guide.md": spectra,
    "docs/chains.md": nothing,
    "docs/how-numbers-are-made.md": nothing,
    "docs/from-nirs4all.md": nothing,
    "docs/from-mlflow.md": nothing,
    "docs/how-to/keep-it-small.md": None,
    "docs/how-to/share.md": None,
    "docs/how-to/production.md": None,
    "docs/how-to/upgrade.md": old,
    "docs/how-to/import-from-nirs4all.md": of_nirs4all,
    "docs/how-to/recover.md": killed,
    "docs/how-to/restore.md": None,
    "docs/how-to/ask-sql.md": None,
    "docs/how-to/repository-query.md": None,
    "docs/how-to/add-a-column.md": nothing,
}


def run_python(code: str, page: str, line: int, names: dict[str, Any]) -> str:
    """Run an example and return what it prints; a traceback names the line of the page."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile("\n" * line + code, page, "exec"), names)
    return printed.getvalue()


def words(text: str) -> set[str]:
    """Return what is printed each time, wherever a table breaks its lines: no ids, and no dots for what is left out."""
    return set(re.findall(r"[\w.]+", ID.sub("", text))) - {"..."}


def run_commands(lines: str) -> str:
    """Run what one types, and return what our commands print."""
    printed = ""
    for line in filter(None, map(str.strip, lines.splitlines())):
        if line.startswith(NOT_HERE):
            continue
        typed = shlex.split(line, comments=True)
        if typed[0] == "python":
            done = run_script(Path.cwd() / typed[1], *shlex.split(line.partition("|")[0])[2:])
            assert done.returncode == 0, f"{line}\n{done.stderr}"
            continue
        if typed[:1] != ["nirs4all-store"] or "|" in typed or ">" in typed:
            subprocess.run(line, shell=True, check=True, capture_output=True)
            continue
        done = CliRunner().invoke(app, typed[1:])
        assert done.exit_code == 0, f"{line}\n{done.output}"
        printed += done.output
    return printed


@pytest.mark.published
@pytest.mark.makes_databases
@pytest.mark.parametrize("page", PAGES)
def test_what_stands_on_a_page_runs_and_prints_what_the_page_shows(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    text, names = (ROOT / page).read_text(), {"__name__": "__main__"}
    if begin := PAGES[page]:
        begin(tmp_path)
    else:
        folder, known = request.getfixturevalue("trained")
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
        if page == "docs/tutorial.md":
            text, names = parts_of_tutorial()[1], {**known}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    # Each process that trains takes longer to start than all else on a page.
    with joblib.parallel_config("threading", n_jobs=1):
        run_page(page, text, names)
    if page == "README.md":
        assert_every_row_is_another_model(tmp_path / "workspace")


@pytest.mark.published
@pytest.mark.makes_databases
def test_a_page_said_to_rank_a_run_called_workspace(
    trained: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained[0])
    pages = "\n".join(page.read_text() for page in DOCS.rglob("*.md"))
    for command in sorted(set(re.findall(r"`(nirs4all-store top\b[^`]*)`", pages))):
        run_commands(command)


def assert_every_row_is_another_model(workspace: Path) -> None:
    """Refuse a ranking of twins: PLSRegression scales by itself, so that a StandardScaler before it changes nothing."""
    with WorkspaceStore(workspace, read_only=True) as store:
        run_id = store.list_runs().filter(name="wheat")["run_id"][0]
        assert set(store.list_pipelines(run_id)["status"]) == {"completed"}
        errors = store.rank_chains(run_id=run_id).rows["rmsecv"].to_numpy()
    assert len(errors) == 12
    assert (np.diff(errors) > 1e-6 * errors[:-1]).all(), errors


def run_page(page: str, text: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run the blocks of a page one after the other, compare what they print with what it shows, and return `names`."""
    printed = ""
    blocks = list(BLOCK.finditer(text))
    assert blocks
    for block in blocks:
        kind, code = block.groups()
        if kind == "python":
            printed = run_python(code, page, text[: block.start()].count("\n") + 1, names)
        elif kind == "console":
            printed = run_commands(code)
        elif kind == "text":
            assert words(code) <= words(printed), f"{sorted(words(code) - words(printed))} of\n{code}\nin\n{printed}"
        elif file := re.match(r"# (\S+\.yaml)\n", code):
            Path(file.group(1)).write_text(code)
    return names


def test_every_page_with_examples_is_run() -> None:
    with_examples = {
        str(page.relative_to(ROOT))
        for page in [ROOT / "README.md", *DOCS.rglob("*.md")]
        if "```python" in page.read_text() and page.parent.name != "decisions"
    }
    assert with_examples <= set(PAGES)


def test_a_how_to_works_in_the_tutorials_folder_and_makes_no_random_data_there() -> None:
    begun = [ROOT / page for page, begin in PAGES.items() if begin is None and "how-to" in page]
    assert len(begun) == 6
    for text in (page.read_text() for page in begun):
        assert "(../tutorial.md)" in text
        assert "default_rng" not in text


def test_every_decision_is_named_by_code_that_it_explains() -> None:
    code = [path.read_text() for path in Path(nirs4all_store.__file__).parent.rglob("*.py")]
    links = [link for text in code for link in re.findall(r"docs/decisions/.*", text)]
    named = {number for link in links for number in re.findall(r"\d{4}", link)}
    assert named == {page.name[:4] for page in (DOCS / "decisions").glob("0*.md")}


@pytest.mark.published
@pytest.mark.parametrize("example", sorted(path.name for path in (DOCS / "examples").glob("*.py")))
def test_an_example_runs(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with joblib.parallel_config("threading", n_jobs=1):
        runpy.run_path(str(DOCS / "examples" / example), run_name="__main__")
    printed = capsys.readouterr()
    assert (printed.err, bool(printed.out)) == ("", True)


@pytest.mark.slow
def test_an_example_trains_in_processes_as_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_script(DOCS / "examples" / "regression_sweep.py", strict=True)
    assert (done.returncode, done.stderr, bool(done.stdout)) == (0, "", True)


def test_links_in_the_docs_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            is_generated = page.parent / target == DOCS / "reference" / "commands.md"
            assert is_generated or (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_public_name_is_in_the_reference() -> None:
    reference = (DOCS / "reference" / "python.md").read_text()
    documented = set(re.findall(r"^\.\. auto(?:class|function|exception):: (\w+)$", reference, re.MULTILINE))
    assert documented == set(nirs4all_store.__all__) - {"__version__"}


def test_every_command_is_in_the_reference(tmp_path: Path) -> None:
    runpy.run_path(str(DOCS / "conf.py"))  # It writes the page.
    commands = (DOCS / "reference" / "commands.md").read_text()
    assert commands.startswith("# Command line\n")
    assert "..." not in commands[: commands.index("\n## ")].partition("**Train**")[2]  # No sentence is cut off.
    for names, found in COMMANDS:
        place = commands.index(f"## {' '.join(names)}\n")
        told = commands[place : commands.find("\n## ", place + 1)]
        for option in (name for param in found.params for name in param.opts if name.startswith("--")):
            assert option in told, f"{names}: {option}"
        assert "For example:" in told, names
