"""How the command line is used: where options stand, what it says without a command, what it completes and pipes."""

import gc
import json
import re
import shlex
from pathlib import Path

import pytest
from rich.console import Console
from stored_models import add_model
from typer.testing import CliRunner

from nirs4all_store import WorkspaceStore, __version__
from nirs4all_store.cli import app
from nirs4all_store.cli.app import PANELS

NAME = "a name of a run that is longer than what a terminal of 80 columns has room for in any of its tables"


def command(line: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, shlex.split(line))
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Work in a folder with a workspace of one run; give the id of its chain."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NIRS4ALL_WORKSPACE", raising=False)
    with WorkspaceStore("workspace") as store:
        made = add_model(store, "first", 0.25, pipeline=NAME)
        store.complete_run(made["run"])
    return made["chain"]


def test_the_workspace_once_had_to_be_given_after_the_command(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command("init empty")
    for line in ("-w workspace runs", "--workspace=workspace runs", "runs -w workspace", "-w empty runs -w workspace"):
        assert "first" in command(line), line
    monkeypatch.setenv("NIRS4ALL_WORKSPACE", "workspace")
    assert "first" in command("runs")
    assert "first" not in command("-w empty runs")
    assert "wheat" in command("-w workspace dataset show wheat"), "a command of a group, too"
    assert "no workspace at nowhere" in command("-w nowhere info", 1) + command("-w nowhere gc", 1)


def test_without_a_command_the_workspace_is_shown(here: str) -> None:
    told = command("")
    assert str(Path("workspace").absolute()) in told
    assert "first, completed: 1 pipeline, begun 20" in told
    assert re.search(rf"its best +{here[-8:]}, .* on wheat: RMSECV 0\.25\n", told)
    assert "`nirs4all-store top last`" in told


def test_without_a_command_and_without_a_workspace_the_first_step_is_shown(here: str) -> None:
    told = command("-w nowhere")
    assert "there is none at nowhere" in told
    assert "`nirs4all-store run CONFIG DATA" in told
    assert not Path("nowhere").exists()
    command("init empty")
    assert "`nirs4all-store run CONFIG DATA" in command("-w empty")


@pytest.mark.parametrize(
    ("status", "advice"),
    [("failed", "pipelines last"), ("interrupted", "--resume"), ("running", "`nirs4all-store runs`")],
)
def test_what_to_do_next_depends_on_how_the_last_run_ended(store: WorkspaceStore, status: str, advice: str) -> None:
    from nirs4all_store.views import overview_of

    run_id = store.begin_run("second", {}, [])
    if status != "running":
        with store.unit_of_work() as uow:
            uow.runs.fail(run_id, "why") if status == "failed" else uow.runs.interrupt(run_id)
            uow.commit()
    assert advice in dict(overview_of(store))["next"]


def test_help_once_listed_all_commands_in_one_list() -> None:
    told = command("--help")
    places = [told.index(f"─ {panel} ─") for panel in dict.fromkeys(panel for panel, _ in PANELS)]
    assert places == sorted(places)
    assert "─ Commands ─" not in told
    assert told == command("help")
    assert command("top --help") == command("help top")


def test_short_words_of_other_programs_are_known(here: str) -> None:
    assert command("-V").strip() == command("--version").strip() == __version__
    assert command("ls") == command("list") == command("runs")


@pytest.mark.parametrize(
    "line",
    [
        "runs --status done",
        "top --partition vla",
        "top --json --csv",
        "show best --plot best.gif",
        "predict best new.csv --keep some",
        "predict best new.csv --interval 80",
        "predict best new.csv -o predicted.txt",
        "prune last --keep-best 1 --json",
    ],
)
def test_a_line_that_no_workspace_makes_right_once_ended_with_1(here: str, line: str) -> None:
    command(line, 2)


def test_what_fails_otherwise_ends_with_1(here: str) -> None:
    Path("model.n4a").write_text("no bundle")
    for line in ("show zzz", "top --dataset maize", "top --metric nonsense", "export best model.csv"):
        command(line, 1)
    command("import model.n4a", 1)
    command("runs -w nowhere", 1)
    assert "Usage" in command("shw", 2)


def test_who_wanted_to_resume_was_led_to_restore(here: str) -> None:
    told = command("resume", 2)
    assert "--resume` goes on" in told
    assert "restore" not in told


def test_a_command_looks_for_garbage_rarely_and_leaves_that_as_it_was(
    here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, during = gc.get_threshold(), []

    def refused(*_: object) -> None:
        during.append(gc.get_threshold())
        raise ZeroDivisionError

    monkeypatch.setattr(WorkspaceStore, "run_summaries", refused)
    assert "ZeroDivisionError" in command("runs", 1)
    assert (during[0][0] > usual[0], gc.get_threshold()) == (True, usual)


def test_data_before_the_configuration_once_was_no_table(here: str) -> None:
    assert "the configuration comes first, as in `run pls.yaml wheat.csv`" in command("run wheat.csv pls.yaml", 2)


def test_names_that_are_nearly_right_are_suggested(here: str) -> None:
    assert "did you mean 'first'?" in command("show frist", 1)
    assert "did you mean 'best'?" in command("show bestt", 1)


def test_an_option_that_does_not_exist_once_was_nearly_another_one(here: str) -> None:
    assert "(Possible options: --metric)" in command("top --metrics r2", 2)
    told = command("top --sort test", 2)
    assert "No such option: --sort" in told
    assert "--json" not in told


def complete(words: str) -> list[str]:
    environment = {
        "_NIRS4ALL_STORE_COMPLETE": "complete_bash",
        "COMP_WORDS": f"nirs4all-store {words}",
        "COMP_CWORD": str(len(words.split(" "))),
    }
    done = CliRunner().invoke(app, [], prog_name="nirs4all-store", env=environment)
    return done.output.split()


def test_ids_names_metrics_and_datasets_once_were_not_completed(here: str) -> None:
    with WorkspaceStore("workspace") as store:
        (run_id,) = store.list_runs()["run_id"]
        (pipeline_id,) = store.list_pipelines()["pipeline_id"]
    assert complete("top ") == ["last", "first", run_id[-8:]]
    assert complete("-w workspace top fi") == ["first"]
    assert complete("predict ") == ["best", here[-8:]]
    assert complete("log ") == [pipeline_id[-8:]]
    assert {"last", "first", "best", here[-8:]} <= {*complete("show ")}
    assert complete("top --dataset w") == ["wheat"]
    assert complete("dataset show ") == ["wheat"]
    assert complete("top --metric rms") == ["rmse", "rmsec", "rmsecv", "rmsep"]
    assert complete("-w nowhere top ") == complete("top -w nowhere ") == []


def test_nothing_once_was_completed_where_top_needs_a_metric(here: str) -> None:
    with WorkspaceStore("workspace") as store:
        (run_id,) = store.list_runs()["run_id"]
        add_model(store, "classes", 0.9, metric="accuracy", task_type="classification")
    assert run_id[-8:] in complete("show ")
    assert "best" not in complete("delete "), "it was offered, and refused"


def test_rows_in_a_pipe_once_were_broken_at_80_columns(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    header, row = command("pipelines").splitlines()
    assert NAME in row
    assert row.index(NAME) == header.index("name")
    assert all(cell.endswith("}") for cell in command("show best").split("fold_artifacts")[1].splitlines()[:1])
    lines = command("sql \"SELECT 1.5 AS number, 'x' AS text UNION ALL SELECT 10.25, 'yy' ORDER BY number\"")
    assert lines == "number  text\n   1.5  x\n 10.25  yy\n"
    monkeypatch.setattr(Console, "is_terminal", True)
    for name, value in {"TERM": "dumb", "LINES": "25"}.items():
        monkeypatch.setenv(name, value)
    assert max(map(len, command("pipelines").splitlines())) <= 80
    assert json.loads(command("pipelines --json"))[0]["name"] == NAME
