"""What the command line prints: to terminals that lack letters, and of names that would steer one."""

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from samples import slow
from sklearn.neighbors import KNeighborsClassifier

from nirs4all_store import PipelineLibrary, PipelineRunner, WorkspaceStore
from nirs4all_store.cli import app, show_upgrade

NAME = 'blé 🌾 \x1b[2J\x9b31m\u202egnp.elif\u2066 \x7f\r\nx, "y" [bold]z[/] \\u0041'
X = np.random.default_rng(0).normal(size=(12, 3))
STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
ENCODINGS = ["ascii", slow("latin-1"), "utf-8"]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a workspace whose names are odd, and spectra beside it."""
    folder = tmp_path_factory.mktemp("odd")
    y = np.array([f"{NAME} {number % 2}" for number in range(len(X))])
    with WorkspaceStore(folder / "workspace") as store:
        ranked = PipelineRunner(store).run([KNeighborsClassifier(1)], (X, y), name=NAME)
        chain_id = ranked["chain_id"][0]
        run_id = store.begin_run(NAME, {"ключ": NAME}, [{"name": NAME}])
        failed = store.begin_pipeline(run_id, NAME, {"a": NAME}, [], NAME)
        store.fail_pipeline(failed, f"Traceback:\n  {NAME}")
        store.log_step(failed, 0, NAME, "end", message=NAME)
        store.export_chain(chain_id, folder / "model.n4a.py", "n4a.py")
        ids = {"run": run_id, "pipeline": failed, "chain": chain_id, "other": store.list_runs()["run_id"][1]}
    PipelineLibrary(folder / "workspace").save_template({"model": NAME}, NAME, tags=[NAME])
    (folder / "ids.json").write_text(json.dumps(ids))
    pl.DataFrame({"name": [NAME], "1100": [0.0], "1102": [0.0], "1104": [0.0]}).write_csv(folder / "new.csv")
    return folder


class Terminal:
    """Runs commands with an output that has one encoding, and never takes what that lacks by itself."""

    def __init__(self, folder: Path, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ids = json.loads((folder / "ids.json").read_text())
        self.encoding = encoding
        self._monkeypatch = monkeypatch
        monkeypatch.chdir(folder)
        monkeypatch.setenv("COLUMNS", "300")

    def shows(self, line: str, code: int = 0) -> str:
        streams = [io.TextIOWrapper(io.BytesIO(), self.encoding, "strict", newline="") for _ in range(2)]
        with self._monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", streams[0])
            patched.setattr(sys, "stderr", streams[1])
            with pytest.raises(SystemExit) as ended:
                app(shlex.split(line.format(**self.ids, name=shlex.quote(NAME))))
        for stream in streams:
            stream.flush()
        out, err = (stream.buffer.getvalue().decode(self.encoding) for stream in streams)  # type: ignore[attr-defined]
        assert ended.value.code == code, err
        assert not STEERS.search(re.sub(r"\x1b\[\d*m", "", out) if "show" in line else out), line
        assert not STEERS.search(err), line
        return str(out + err)


@pytest.fixture(params=ENCODINGS)
def terminal(odd: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(odd, request.param, monkeypatch)


def test_a_letter_that_the_terminal_lacks_once_ended_a_listing_with_a_traceback(terminal: Terminal) -> None:
    wheat = "🌾" if terminal.encoding == "utf-8" else r"\U0001f33e"
    for line in (
        "runs",
        "pipelines",
        "show {run}",
        "show {pipeline}",
        "log {pipeline}",
        "compare {run} {other}",
        "library list",
        "show {chain}",
        "sql 'SELECT name AS {name} FROM runs'",
    ):
        told = terminal.shows(line.replace("{name}", '"🌾"'))
        assert wheat in told, line
    for line, code in (("runs --status {name}", 2), ("library show {name}x", 1), ("export {run} {name}.png", 1)):
        assert wheat in terminal.shows(line, code), line
    for line in ("top", "check", "info", "--help", "export --help"):
        terminal.shows(line)


def test_json_and_csv_once_gave_a_terminal_orders_and_failed_where_a_letter_is_lacking(terminal: Terminal) -> None:
    names = {row["name"] for row in json.loads(terminal.shows("runs --json"))}
    assert names == {NAME}
    assert json.loads(terminal.shows("show {run} --json"))["config"] == {"ключ": NAME}
    assert json.loads(terminal.shows("library show {name}")) == {"model": NAME}
    found = list(csv.DictReader(io.StringIO(terminal.shows("runs --csv"), newline="")))
    assert len(found) == 2
    for row in found:
        assert json.loads(f'"{row["name"]}"'.replace('"y"', r"\"y\"").replace("\n", r"\n")).startswith("blé 🌾 \x1b[2J")
    (run,) = (row for row in found if row["run_id"] == terminal.ids["run"])
    assert json.loads(run["config"]) == {"ключ": NAME}, "JSON in a cell is JSON"
    predicted = csv.DictReader(io.StringIO(terminal.shows("predict {chain} new.csv"), newline=""))
    assert [list(row)[:2] for row in predicted] == [["name", "predicted"]]


def test_a_picture_was_a_traceback_where_there_are_no_lines_of_boxes(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.linear_model import Ridge

    monkeypatch.chdir(tmp_path)
    terminal.ids["numbers"] = PipelineRunner("workspace").run([Ridge()], (X, X[:, 0]))["chain_id"][0]
    told = terminal.shows("show {numbers}")
    assert ("┌──" if terminal.encoding == "utf-8" else "+--") in told
    assert "\\u25" not in told


def test_a_picture_had_colour_codes_in_each_line() -> None:
    from nirs4all_store.figures import draw

    drawn = draw({"y_true": np.arange(30.0), "y_pred": np.arange(30.0), "task_type": "regression"})
    assert "29.0┤" in drawn
    assert "\x1b" not in drawn


def test_what_a_name_has_of_markup_was_a_style_of_the_heading(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(odd, "utf-8", monkeypatch)
    assert terminal.shows("""sql 'SELECT 1 AS "[bold]x[/bold]"'""").split() == ["[bold]x[/bold]", "1"]


def test_a_picture_in_a_file_took_a_name_for_a_formula(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nirs4all_store.figures import save

    terminal = Terminal(odd, "utf-8", monkeypatch)
    with WorkspaceStore("workspace") as store:
        (found,) = (store.get_prediction(i, load_arrays=True) for i in store.query_predictions()["prediction_id"][:1])
    assert found is not None
    found.update(prediction_id="<script>", model_name="a$\\frac{$")
    found["y_true"] = found["y_pred"] = np.array(["$x_{$", "b"])
    page = save(found, odd / "picture.html").read_text()
    assert "<script>" not in page
    terminal.shows("runs")


def test_an_exported_script_ended_in_a_traceback_where_a_letter_of_a_class_is_lacking(odd: Path) -> None:
    np.save(odd / "new.npy", X[:1])
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "model.n4a.py", "new.npy"],
        cwd=odd,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert r"bl\xe9 \U0001f33e" in done.stdout


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_alembic_once_failed_to_tell_of_an_upgrade_where_a_letter_is_lacking(
    old: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = old.rename(old.with_name("blé 🌾"))
    stream: Any = io.TextIOWrapper(io.BytesIO(), encoding, "strict")
    monkeypatch.setattr(sys, "stdout", stream)
    show_upgrade(place, dry_run=True)
    stream.flush()
    assert "bl" in stream.buffer.getvalue().decode(encoding)
