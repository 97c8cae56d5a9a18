"""What the command line once did wrong: files that it wrote over, ways out that no shell has, times of another zone."""

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from digits import assert_same_sums
from programs import run_script, script_process
from rich.console import Console
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.preprocessing import FunctionTransformer
from typer.testing import CliRunner

from nirs4all_store import PipelineRunner, WorkspaceStore
from nirs4all_store.cli import app

X = np.random.default_rng(0).normal(size=(40, 4))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a workspace of one pipeline, and spectra beside it."""
    folder = tmp_path_factory.mktemp("trained")
    spectra = pl.DataFrame(X, schema=["1100", "1102", "1104", "1106"], orient="row")
    spectra.write_csv(folder / "new.csv")
    spectra.with_columns(protein=X[:, 0]).write_csv(folder / "wheat.csv")
    (folder / "ridge.yaml").write_text("- model: {class: sklearn.linear_model.Ridge}\n")
    PipelineRunner(folder / "workspace").run([KFold(3), Ridge()], (spectra, X[:, 0]), name="a run")
    return folder


@pytest.fixture
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    monkeypatch.setenv("COLUMNS", "160")
    return trained


def command(line: str, code: int = 0) -> str:
    """Run a command, which must end with an exit code; return what it printed."""
    done = CliRunner().invoke(app, shlex.split(line))
    assert done.exit_code == code, done.output
    return done.output


def an_id(kind: str) -> str:
    with WorkspaceStore("workspace", read_only=True) as store:
        found: str = store.sql(f"SELECT {kind}_id FROM {kind}s")[0, 0]
    return found


def test_commands_once_wrote_over_files_without_asking(here: Path) -> None:
    chain, run, pipeline = an_id("chain"), an_id("run"), an_id("pipeline")
    before = (here / "new.csv").read_bytes()
    for line in (
        f"predict {chain} new.csv -o new.csv",
        f"export {run} taken.yaml",
        f"export {pipeline} taken.json",
        f"export {chain} taken",
        f"show {chain} --plot taken.html",
    ):
        for name in ("taken.yaml", "taken.json", "taken.n4a", "taken.html"):
            (here / name).write_text("mine")
        assert "is there already and stays as it is" in command(line, 1)
        if line.split()[0] != "predict":
            command(f"{line} --overwrite")
    assert (here / "new.csv").read_bytes() == before
    assert "has the spectra themselves" in command(f"predict {chain} new.csv -o new.csv --overwrite", 2)
    assert "cannot be read" in command(f"predict {chain} nowhere.csv -o found.csv --overwrite", 1)
    (here / "folder").mkdir()
    for line in (f"export {chain} folder", f"export {chain} .", f"predict {chain} new.csv -o folder"):
        assert "it is a folder" in command(line, 1)
    command("library save ridge.yaml kept")
    (here / "kept.json").write_text("mine")
    assert "is there already" in command("library export kept kept.json", 1)
    command(f"predict {chain} new.csv -o found.csv")
    command(f"predict {chain} new.csv -o found.csv --overwrite")


@pytest.mark.parametrize("line", ["predict {} new.csv -o {}/x.csv", "show {} --plot {}/x.png", "export {} {}/x.n4a"])
def test_commands_once_wrote_among_the_artifacts(here: Path, line: str) -> None:
    assert "gc_artifacts() removes" in command(line.format(an_id("chain"), "workspace/artifacts"), 1)
    assert "1 findings" not in command("check")


@pytest.mark.parametrize(
    ("line", "way_out"),
    [
        ("run ridge.yaml wheat.csv", "in a shell with --target"),
        ("info nowhere", "in a shell with `nirs4all-store init`"),
        ("library show nowhere", "in a shell `nirs4all-store library list`"),
        ("sql 'SELECT * FROM nowhere'", "The tables are artifacts, labels, runs, datasets"),
    ],
)
def test_errors_once_named_ways_out_that_a_shell_does_not_have(here: Path, line: str, way_out: str) -> None:
    told = command(line, 1)
    assert way_out in told
    assert "\\n" not in told
    assert "EXPLAIN" not in told


def test_the_way_out_for_what_is_not_trusted_once_was_not_named(here: Path) -> None:
    command(f"export {an_id('chain')} model.n4a")
    assert "predict or import it with --trusted" in command("predict model.n4a new.csv", 1)
    command("library save ridge.yaml ridge")
    assert "in a shell --overwrite" in command("library save ridge.yaml ridge", 1)


def test_every_fold_of_a_chain_that_is_not_trusted_once_gave_the_same_advice(here: Path) -> None:
    command(f"export {an_id('chain')} twin.n4a")
    chain = command("import twin.n4a -w elsewhere").split()[1]
    told = command(f"predict {chain} new.csv --folds mean -w elsewhere", 1)
    assert told.count("predict or import it with --trusted") == 1
    assert [told.count(f"of fold fold_{fold}, artifact ") for fold in range(3)] == [1, 1, 1]


def test_a_broken_configuration_is_told_in_one_line(here: Path) -> None:
    (here / "broken.yaml").write_text("- a: b\n  - c: [\n")
    told = command("run broken.yaml wheat.csv -t protein", 1)
    assert "neither JSON nor YAML in line" in told
    assert "\\n" not in told


def test_the_first_failed_pipeline_of_a_run_is_named(here: Path) -> None:
    (here / "bad.yaml").write_text("- class: sklearn.decomposition.PCA\n  params: {n_components: 50}\n" + RIDGE)
    told = command("run bad.yaml wheat.csv -t protein -w bad", 1)
    line = "1 of 1 pipelines cannot be trained: n_components 50 needs more than the 4 variables"
    assert line in told.splitlines()[1], "before the training begins"
    failed = json.loads(command("pipelines -w bad --json"))[0]["pipeline_id"]
    assert f"`nirs4all-store show {failed}`" in told


RIDGE = "- model: {class: sklearn.linear_model.Ridge}\n"


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_tokyo")
def test_times_once_were_those_of_greenwich_and_did_not_say_so(here: Path) -> None:
    with WorkspaceStore("workspace", read_only=True) as store:
        (created,) = store.list_runs()["created_at"]
    local = created.hour + 9
    assert f" {local % 24:02}:{created.minute:02}" in command("runs")
    assert f" {local % 24:02}:{created.minute:02}:" in command(f"show {an_id('run')}")
    assert json.loads(command("runs --json"))[0]["created_at"] == f"{created.isoformat()}+00:00"
    assert json.loads(command(f"show {an_id('run')} --json"))["created_at"].endswith("+00:00")
    assert f"{created:%Y-%m-%dT%H:%M:%S.%f}+00:00" in command("runs --csv")


@pytest.mark.usefixtures("in_tokyo")
def test_times_that_are_not_the_workspace_s_own_stay_as_they_are(here: Path) -> None:
    query = "SELECT DATE '2026-01-31' AS day, TIMESTAMP '2026-01-31 22:00:00' AS moment"
    assert command(f'sql "{query}"').splitlines()[1].split() == ["2026-01-31", "2026-01-31", "22:00"]
    assert json.loads(command(f'sql "{query}" --json')) == [{"day": "2026-01-31", "moment": "2026-01-31T22:00:00"}]
    recent = "SELECT count(*) AS n FROM runs WHERE created_at BETWEEN now() - INTERVAL 1 HOUR AND now()"
    assert json.loads(command(f'sql "{recent}" --json')) == [{"n": 1}], "now() is of the same zone"


def test_a_traceback_is_shown_wherever_one_asks_for_it(here: Path) -> None:
    done = run_script(Path(sys.executable).with_name("nirs4all-store"), "show", "zzz", "--debug")
    assert done.stderr.startswith("Traceback")


def test_what_check_and_collection_list_is_for_programs_too(here: Path) -> None:
    (here / "workspace" / "artifacts" / "zz").mkdir(exist_ok=True)
    stray = here / "workspace" / "artifacts" / "zz" / "stray.joblib"
    stray.write_bytes(b"x")
    os.utime(stray, (0, 0))
    (finding,) = json.loads(command("check --json", 1))
    assert (finding["code"], finding["subject"]) == ("unlisted-file", "zz/stray.joblib")
    (row,) = json.loads(command("gc --dry-run --json"))
    assert (row["path"], row["size_bytes"]) == ("zz/stray.joblib", 1)
    assert command("gc --dry-run --csv").count("\n") == 2
    assert "would remove 1 files" in command("gc --dry-run")
    assert "give them with --dry-run" in command("gc --days 0 --json", 2)
    assert stray.exists()
    stray.unlink()
    assert "There is nothing to repair." in command("repair")


def test_to_look_at_what_would_be_collected_takes_no_right_to_write(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[bool] = []
    real = WorkspaceStore.__init__

    def note(self: WorkspaceStore, path: Path, *, read_only: bool = False) -> None:
        opened.append(read_only)
        real(self, path, read_only=read_only)

    monkeypatch.setattr(WorkspaceStore, "__init__", note)
    command("gc --dry-run")
    assert opened == [True]


def test_the_demo_once_collected_in_the_workspace_of_others(here: Path) -> None:
    assert "it has runs of ['a run']; give the demo another folder" in command("demo workspace", 1)
    with WorkspaceStore("empty") as store:
        artifact = store.save_artifact(Ridge().fit(X, X[:, 0]), "Ridge", "model", "joblib")
        assert "is not the demo's own" in command("demo empty", 1)
        assert store.load_artifact(artifact) is not None


def test_a_script_whose_reader_has_enough_once_ended_in_a_traceback(here: Path) -> None:
    command(f"export {an_id('chain')} model.n4a.py --overwrite")
    np.save(here / "many.npy", np.repeat(X, 150, axis=0))
    line, errors = script_process(here / "model.n4a.py", "many.npy").head()
    assert float(line)
    assert errors == ""


def test_a_line_for_spreadsheets_once_was_the_header(here: Path) -> None:
    plain = command(f"predict {an_id('chain')} new.csv")
    (here / "sheet.csv").write_text("sep=,\r\n" + (here / "new.csv").read_text().replace("\n", "\r\n"))
    assert command(f"predict {an_id('chain')} sheet.csv") == plain


def test_predictions_once_did_not_say_of_which_sample_they_are(here: Path) -> None:
    new = pl.read_csv("new.csv")
    new = new.with_columns(pl.Series("1102", [None, *new["1102"][1:]]), row=pl.int_range(100, 140), predicted=0.5)
    new.insert_column(0, pl.Series("sample", [f"wheat {number}" for number in range(40)])).write_csv("named.csv")
    plain = [line.split(",")[0] for line in command(f"predict {an_id('chain')} new.csv").splitlines()]
    command(f"predict {an_id('chain')} named.csv -o named.parquet")
    found = pl.read_parquet("named.parquet")
    assert found.columns[:3] == ["sample", "row", "predicted"]
    assert found["sample"][39] == "wheat 39"
    assert found["predicted"][0] is None
    # Four products, the intercept, the mean of three. As y is a column of X, Ridge's weights are no longer than 1.
    sums = {"terms": 4 + 1 + 3, "size": 2 * np.linalg.norm(X, axis=1).max()}
    assert_same_sums(found["predicted"][1:].to_numpy(), np.array(plain[2:], dtype=float), **sums)
    np.save(here / "new.npy", X)
    header, *numbers = [line.split(",")[0] for line in command(f"predict {an_id('chain')} new.npy").splitlines()]
    assert header == plain[0]
    assert_same_sums(np.array(numbers, dtype=float), np.array(plain[1:], dtype=float), **sums)


def test_long_words_once_made_a_table_wider_than_the_terminal(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Console, "is_terminal", True)
    for name, value in {"COLUMNS": "80", "LINES": "25", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    columns = ", ".join(f"repeat('{letter}', 60) AS {letter}" for letter in "abc")
    told = command(f'sql "SELECT {columns}"')
    assert max(map(len, told.splitlines())) <= 80
    assert [told.count(letter) for letter in "abc"] == [61, 61, 61], "nothing is cut"


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_spectrum_that_was_refused_once_was_counted_without_those_left_out(here: Path) -> None:
    spectra = pl.DataFrame(X, schema=["1100", "1102", "1104", "1106"]).select(pl.all().abs())
    PipelineRunner("logs").run([FunctionTransformer(np.log), Ridge()], (spectra, X[:, 0]))
    spectra[1, 0], spectra[4, 0] = None, -1.0
    spectra.write_csv("negative.csv")
    with WorkspaceStore("logs", read_only=True) as store:
        chain = store.sql("SELECT chain_id FROM chains")[0, 0]
    told = command(f"predict {chain} negative.csv -w logs", 1)
    assert "NaN in row 3" in told
    assert "in the data that is row 4 (the first is 0)" in told
    command(f"export {chain} logs.n4a -w logs")
    assert "in the data that is row 4" in command("predict logs.n4a negative.csv --trusted", 1)


def test_two_ways_to_print_once_were_refused_after_all_was_trained(here: Path) -> None:
    for line in ("--json --csv", "--csv --json"):
        told = command(f"run ridge.yaml wheat.csv -t protein -w nowhere {line}", 2)
        assert told == "--json and --csv are two ways to print the same rows; give one\n"
    assert not (here / "nowhere").exists()


@pytest.mark.parametrize("name", ["run_id", "chain_id"])
def test_a_number_that_is_called_an_id_once_broke_the_listing(here: Path, name: str) -> None:
    assert command(f'sql "SELECT count(*) AS {name} FROM runs"').split() == [name, "1"]


def test_the_time_between_two_moments_is_printed(here: Path) -> None:
    query = 'sql "SELECT INTERVAL 90 MINUTE AS took"'
    assert command(query).split() == ["took", "1:30:00"]
    assert json.loads(command(f"{query} --json")) == [{"took": "1:30:00"}]
    assert command(f"{query} --csv") == "took\nPT1H30M\n"


@pytest.mark.parametrize(
    "line", ["init memory:x", "run ridge.yaml wheat.csv -t protein -w memory:x", "gc memory:x", "demo memory:x"]
)
def test_a_command_once_wrote_into_memory_that_ended_with_it(here: Path, line: str) -> None:
    assert "memory:x is a workspace in the memory" in command(line, 2)
    assert not (here / "memory:x").exists()


def test_a_folder_that_is_called_like_a_workspace_in_memory_once_was_none_for_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        command("init ./memory:x")
        assert (tmp_path / "memory:x" / "store.duckdb").is_file()
