"""The command line, from a CSV of spectra to predictions of new ones, as a user types it."""

import contextlib
import errno
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import polars as pl
import pytest
from chemotools.datasets import load_coffee, load_fermentation_train
from commands import COMMANDS
from programs import Process
from rich.console import Console
from samples import slow
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from typer.testing import CliRunner

from nirs4all_store import PipelineRunner, WorkspaceStore
from nirs4all_store.cli import app
from nirs4all_store.testing.contract import add_pipeline, add_prediction
from nirs4all_store.views.details import apart, differences

PLS = """
- _or_: [null, {class: sklearn.preprocessing.StandardScaler}]
- model: {class: sklearn.cross_decomposition.PLSRegression, params: {n_components: {_range_: [2, 4, 2]}}}
"""


class Slope(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Derives spectra by their wavelengths."""

    def fit(self, X: Any, y: Any = None) -> "Slope":
        return self

    def transform(self, X: Any, wavelengths: Any) -> Any:
        return np.gradient(X, wavelengths, axis=1)


CLASSIFIER = "- class: sklearn.preprocessing.StandardScaler\n- class: sklearn.neighbors.KNeighborsClassifier\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write spectra and configurations, and train on one, once for all tests."""
    folder = tmp_path_factory.mktemp("made")
    X, y = load_fermentation_train(set_output="polars")
    X = X[:, ::20]
    X.with_columns(y["glucose"]).write_csv(folder / "wheat.csv")
    X.head(4).write_csv(folder / "new.csv")
    X, y = load_coffee(set_output="polars")
    X[:, ::40].with_columns(y["labels"].cast(pl.String)).write_csv(folder / "coffee.csv")
    (folder / "pls.yaml").write_text(PLS)
    (folder / "ridge.yaml").write_text("- class: sklearn.linear_model.Ridge\n")
    (folder / "classes.yaml").write_text(CLASSIFIER)
    with contextlib.chdir(folder):
        command("run pls.yaml wheat.csv -t glucose --name first -n 1")
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with spectra in it, in which one works."""
    shutil.copytree(made, tmp_path, ignore=shutil.ignore_patterns("workspace"), dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


@pytest.fixture
def trained(made: Path, here: Path) -> Path:
    """Give one in which one has trained, too: `nirs4all-store run pls.yaml wheat.csv -t glucose --name first`."""
    shutil.copytree(made / "workspace", here / "workspace")
    return here


def command(line: str, code: int = 0, answer: str = "") -> str:
    done = CliRunner().invoke(app, shlex.split(line), input=answer)
    assert done.exit_code == code, done.output
    return done.output


def rows(line: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(command(f"{line} --json"))
    return found


def test_three_commands_lead_from_spectra_to_predictions(here: Path) -> None:
    ranked = command("run pls.yaml wheat.csv -t glucose")
    named = ["#", "chain_id", "model", "preprocessings", "RMSECV", "±folds", "RMSEC", "R²", "RPD"]
    assert ranked.splitlines()[1].split() == named, "no test data"
    assert len(ranked.splitlines()) == 7
    note = "* within one standard error of the best; the simplest of them: PLSRegression (n_components="
    assert ranked.splitlines()[-1].startswith(note)
    assert "PLSRegression (n_components=2)" in ranked, "what was tried is shown, its default or not"
    chain = ranked.splitlines()[2].split()[1]
    picture = command(f"show {rows('top -n 1')[0]['prediction_id']} --plot best.png")
    assert "┤" in picture
    assert (here / "best.png").read_bytes().startswith(b"\x89PNG")
    command(f"predict {chain} new.csv -o out/predicted.csv")
    with WorkspaceStore(here / "workspace") as store:
        (chain_id,) = store.find(chain)["id"]
        expected = store.replay_chain(chain_id, pl.read_csv(here / "new.csv").to_numpy())
    assert pl.read_csv(here / "out/predicted.csv")["glucose_predicted"].to_list() == expected.tolist()
    assert command(f"predict {chain} new.csv").splitlines()[0].startswith("glucose_predicted,leverage,t2,q,")


def test_listings_are_for_people_and_programs(trained: Path) -> None:
    assert [row["name"] for row in rows("runs")] == ["first"]
    assert rows("runs --status failed") == []
    assert [row["status"] for row in rows("pipelines")] == ["completed"] * 4
    best = rows("top -n 2")
    assert best[0]["scores"]["val"]["rmse"] == best[0]["val_score"] <= best[1]["val_score"]
    assert {row["fold_id"] for row in rows("top --fold any -n 50")} == {"avg", "0", "1", "2", "3", "4"}
    frame = pl.read_csv(command("top --csv -n 3").encode())
    assert frame["val_score"].is_sorted()
    log = rows(f"log {best[0]['pipeline_id']}")
    assert {row["operator_class"] for row in log} <= {"StandardScaler", "PLSRegression"}
    assert rows("sql 'SELECT count(*) AS n FROM pipelines'") == [{"n": 4}]
    assert "give one" in command("top --csv --json", 2)


def test_an_id_is_shown_by_its_last_characters_and_known_by_them(trained: Path) -> None:
    shown = [line.split()[0] for line in command("pipelines").splitlines()[1:] if re.match(r"\w{8}", line)]
    whole = [row["pipeline_id"] for row in rows("pipelines")]
    assert shown == [name[-8:] for name in whole]
    for name, short in zip(whole, shown, strict=True):
        assert json.loads(command(f"show {short} --json"))["pipeline_id"] == name


def test_everything_can_be_shown_and_compared(trained: Path) -> None:
    best, other = rows("top -n 2")
    artifact = rows("sql 'SELECT artifact_id FROM artifacts LIMIT 1'")[0]["artifact_id"]
    run = rows("runs")[0]["run_id"]
    for name in (run, best["pipeline_id"], best["chain_id"], best["prediction_id"], artifact):
        assert name in command(f"show {name}")
        assert isinstance(json.loads(command(f"show {name} --json")), dict)
    differing = {row["what"] for row in rows(f"compare {best['prediction_id']} {other['prediction_id']}")}
    assert {"prediction_id", "chain_id", "y_pred"} <= differing
    assert "metric" not in differing
    assert rows(f"compare {run} {run}") == []
    assert "where a run is wanted" in command(f"compare {run} {artifact}", 1)


def test_classes_are_drawn_as_counts(here: Path) -> None:
    command("run classes.yaml coffee.csv -t labels")
    (best,) = rows("top")
    assert re.search(r"true +Brasil +Ethiopia", command(f"show {best['prediction_id']} --plot counts.html"))
    page = (here / "counts.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<svg" in page
    for line, code, refusal in [
        ("show {prediction_id} --plot counts.gif", 2, "counts.gif is no figure by its name; give one that ends in"),
        ("show {pipeline_id} --plot counts.png", 1, "only a chain or prediction whose true values are known can"),
    ]:
        assert command(line.format(**best), code).startswith(refusal), "it was refused after sixty lines"


def picture(told: str) -> str:
    """Return the picture of what `show` prints."""
    return told[told.index("┌") : told.index("measured")]


FIRST = [["avg", "val", "RMSECV"], ["avg", "train"], ["final", "train", "RMSEC"]]


def test_a_chain_shows_its_predictions_and_draws_those_that_no_fold_has_seen(trained: Path) -> None:
    best = rows("top -n 1")[0]
    told = command(f"show {best['chain_id']} --plot best.png")
    assert len(told.splitlines()) < 60, "the middle of the columns' names is left out"
    assert "\\n" not in told
    listed = [line.split() for line in told[told.index("prediction_id  ") :].splitlines()]
    assert [line[1:3] + line[5:] for line in listed[1:4]] == FIRST
    assert len([line for line in listed if line[3:4] == ["rmse"]]) == 13
    assert picture(told) == picture(command(f"show {best['prediction_id']}"))
    assert (trained / "best.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_exported_predicts_elsewhere_once_it_is_trusted(trained: Path) -> None:
    best = rows("top -n 1")[0]
    for name, output in (
        (best["chain_id"], "model.n4a"),
        (best["chain_id"], "model.n4a.py"),
        (best["pipeline_id"], "pipeline.json"),
        (rows("runs")[0]["run_id"], "run.yaml"),
        (rows("runs")[0]["run_id"], "predictions.parquet"),
    ):
        assert output in command(f"export {name} {output}")
        assert (trained / output).exists()
    plain = command(f"predict {best['chain_id']} new.csv")
    assert "it came from elsewhere" in command("predict model.n4a new.csv", 1)
    listed = command("show model.n4a")
    assert listed.startswith("bundle model.n4a: ")
    assert "sklearn.cross_decomposition._pls.PLSRegression" in listed, "what it would load was listed in Python only"
    assert "steps" in json.loads(command("show model.n4a --json"))
    assert "it is no file" in command("show nowhere.n4a", 1)
    assert command("predict model.n4a new.csv --trusted") == plain
    assert "once you trust it" in command("import model.n4a -w other")
    command("import model.n4a -w third --trusted")
    chain = json.loads(command("top -w third --json"))[0]["chain_id"]
    assert command(f"predict {chain} new.csv -w third") == plain


def test_a_workspace_is_looked_after(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "is ready" in command("init place")
    monkeypatch.setenv("NIRS4ALL_WORKSPACE", "place")
    command("run ridge.yaml wheat.csv -t glucose")
    told = command("info")
    assert "1 pipelines" in told
    assert re.search(r"run +wheat: \d+ predictions, [\d.]+ kB of its own\ngc +would free 0 files, 0 bytes", told)
    sizes = json.loads(command("info --json"))
    assert sizes["runs"][0]["own_bytes"] <= sizes["artifact_bytes"], "programs could not read it, and no run was named"
    assert sizes["rows"]["pipelines"] == 1
    assert "0 findings" in command("check --deep")
    run = rows("runs")[0]["run_id"]
    assert "nothing was removed; answer y, or give --yes" in command(f"delete {run}", 1, answer="n\n")
    assert len(rows("runs")) == 1
    assert "deleted" in command(f"delete {run} --yes")
    assert rows("runs") == []
    with WorkspaceStore("place") as store:
        store.save_artifact([1, 2, 3], "list", "other")
    assert "would remove 1 files" in command("gc --days 0 --dry-run")
    assert "removed 1 files" in command("gc --days 0")
    assert "takes" in command("vacuum")
    assert "0 findings" in command("check place")


def test_the_library_keeps_configurations(here: Path) -> None:
    command("library save pls.yaml base --category regression --tag pls --description 'the usual'")
    assert "already" in command("library save pls.yaml base", 1)
    assert rows("library list") == [
        {"name": "base", "category": "regression", "description": "the usual", "tags": "pls"}
    ]
    assert json.loads(command("library show base"))[1]["model"]["params"] == {"n_components": {"_range_": [2, 4, 2]}}
    command("library export base shared.json")
    command("library import shared.json -w other")
    command("run base wheat.csv -t glucose -w other -n 1")
    command("library delete base --yes")
    assert rows("library list") == []
    (here / "wrong.yaml").write_text("- class: sklearn.preprocessing.StandardScaler\n")
    assert "no model" in command("library save wrong.yaml wrong", 1)


def test_what_was_done_already_can_be_left_out(trained: Path) -> None:
    assert command("run pls.yaml wheat.csv -t glucose --resume --csv") == command(
        "run pls.yaml wheat.csv -t glucose --resume --csv"
    )
    assert len(rows("runs")) == 1


def test_an_error_is_one_red_line_and_a_traceback_only_when_asked_for(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["run", "pls.yaml", "wheat.csv", "-t", "protein"]
    program = [Path(sys.executable).with_name("nirs4all-store")]
    plain = subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)
    assert (plain.returncode, plain.stdout, len(plain.stderr.splitlines())) == (1, "", 1)
    assert "no column 'protein'" in plain.stderr
    again = "from nirs4all_store.cli import app; app()"
    debug = Process(again, "--debug", *arguments)
    assert "Traceback" in debug.communicate()[1]
    assert debug.returncode == 1
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert Process(again, *arguments).communicate()[1].startswith("\x1b[31m")


# With its message, since the `repr` of a splitter of the least scikit-learn removes a filter that has none.
@pytest.mark.filterwarnings("always:.window_size. is deprecated:FutureWarning")
def test_a_warning_of_every_fold_and_pipeline_is_told_once(here: Path) -> None:
    deprecated = "- class: chemotools.derivative.SavitzkyGolay\n  params: {window_size: 5}\n"
    (here / "old.yaml").write_text(deprecated + PLS)
    done = CliRunner().invoke(app, shlex.split("run old.yaml wheat.csv -t glucose"))
    assert done.exit_code == 0
    assert done.stderr.count("`window_size` is deprecated") == 1
    assert len(done.stderr.splitlines()) == 3, "the others say what is trained on, and which models are like the best"


def test_new_spectra_are_known_by_the_names_of_their_columns(trained: Path) -> None:
    chain = rows("top -n 1")[0]["chain_id"]
    command(f"export {chain} model.n4a")
    command(f"predict {chain} new.csv -o expected.csv")
    expected = pl.read_csv("expected.csv").select("glucose_predicted")
    wheat = pl.read_csv("wheat.csv").head(4)
    wheat.select(reversed(wheat.columns)).write_csv("reversed.csv")
    for model in (chain, "model.n4a --trusted"):
        command(f"predict {model} reversed.csv -o found.csv --overwrite")
        found = pl.read_csv("found.csv")
        assert found.select("glucose_predicted").equals(expected), (
            "their order and the target among them change nothing"
        )
        assert found.columns[:2] == ["glucose", "glucose_predicted"]
    shifted = {name: str(float(name) + 300) for name in wheat.columns if name != "glucose"}
    wheat.rename(shifted).write_csv("shifted.csv")
    assert "lacks" in command(f"predict {chain} shifted.csv", 1)


def test_references_in_the_file_once_were_not_compared_with_the_predictions(trained: Path) -> None:
    chain = rows("top -n 1")[0]["chain_id"]
    done = CliRunner().invoke(app, shlex.split(f"predict {chain} wheat.csv --keep none"))
    assert done.stdout.splitlines()[0].startswith("glucose_predicted,"), "how good they are is told elsewhere"
    first, *worst = done.stderr.splitlines()
    assert re.fullmatch(r"glucose: n 21, RMSEP [\d.]+, SEP [\d.]+, bias \S+, slope [\d.]+, R² 0\.7\d*", first)
    assert [line.split()[0] for line in worst[:-1]] == ["row"] * 5
    assert worst[-1].startswith("glucose: these are the samples that the chain was fitted on"), "it was called RMSEP"
    assert "not one of 'ids', 'all', 'none'" in command(f"predict {chain} wheat.csv --keep some", 2)
    assert command(f"predict {chain} wheat.csv --keep all").splitlines()[-1].count(",") > 40
    pl.read_csv("wheat.csv").with_columns(sample=pl.int_range(pl.len()) // 3).write_csv("scans.csv")
    told = command(f"predict {chain} scans.csv --average sample -o out.csv").splitlines()
    assert [line.partition(", RMSEP")[0] for line in told[:2]] == ["glucose: n 21", "glucose, by sample: n 7"]
    assert pl.read_csv("out.csv").columns[1:5] == [
        "sample",
        "glucose_predicted",
        "glucose_predicted_by_sample",
        "n_scans",
    ]


def test_predictions_have_intervals_if_they_are_asked_for(trained: Path) -> None:
    chain = rows("top -n 1")[0]["chain_id"]
    told = command(f"predict {chain} new.csv --interval 0.8").splitlines()
    assert told[0].startswith("glucose_predicted,glucose_lower,glucose_upper,")
    with WorkspaceStore("workspace", read_only=True) as store:
        expected = store.predict_table(chain, "new.csv", interval=0.8).frame
    assert [float(value) for value in told[1].split(",")[:3]] == pytest.approx(expected.row(0)[:3])
    assert "less than or equal to 1" in command(f"predict {chain} new.csv --interval 80", 2)
    command(f"export {chain} model.n4a")
    assert command("predict model.n4a new.csv --interval 0.8 --trusted").splitlines()[0] == told[0]
    assert "give no folds" in command("predict model.n4a new.csv --interval 0.8 --trusted --folds 0", 1)


def test_replicate_scans_once_were_counted_as_samples(here: Path) -> None:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(12, 14)).cumsum(axis=1).repeat(3, axis=0) + generator.normal(scale=0.1, size=(36, 14))
    table = pl.DataFrame(X, schema=[str(1100 + 2 * n) for n in range(14)])
    table = table.with_columns(protein=pl.Series(X[:, 3] - X[:, 9]).round(2), scan_of=pl.int_range(36) // 3)
    table.write_csv("scans.csv")
    line = "run pls.yaml scans.csv -t protein --sample scan_of --groups scan_of -w scans"
    told = command(f"{line} --average sample")
    assert re.search(r" scans +samples +by sample", told)
    best = rows("top -w scans --average sample")[0]
    assert (best["scans"], best["samples"]) == (36, 12)
    with WorkspaceStore("scans", read_only=True) as store:
        frame = store.chain_samples(best["chain_id"], "val", average="sample").filter(fold_id="avg")
    means = frame.group_by("sample").agg(pl.col("protein").mean(), pl.col("protein_predicted").mean())
    error = (means["protein"] - means["protein_predicted"]).pow(2).mean() ** 0.5
    assert best["by_sample"] == pytest.approx(error)
    assert best["by_sample"] < best["val_score"]
    told = command(f"show {best['chain_id']} -w scans --average sample").splitlines()
    assert any(line.split()[-3:] == ["36", "12", f"{error:.4g}"] for line in told)
    assert "only a chain has scores by sample" in command(f"show {best['pipeline_id']} -w scans --average sample", 1)
    assert "no column 'id' that says which scans are of one sample" in command(f"{line} --average id", 1)
    told = command(f"predict {best['chain_id']} scans.csv -w scans --average sample")
    assert "protein, by sample: n 12, RMSEP" in told
    assert "scan_of,protein_predicted,protein_predicted_by_scan_of,n_scans" in told


@pytest.fixture
def kept_as_a_whole() -> Iterator[None]:
    """Let what this module defines be exported."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.usefixtures("kept_as_a_whole")
def test_the_wavelengths_of_training_once_were_forgotten_when_new_spectra_came(here: Path) -> None:
    X = np.random.default_rng(0).normal(size=(20, 6)).cumsum(axis=1)
    wavelengths = np.array([1100.0, 1200, 1350, 1500, 1800, 2500])
    for names in ([*"123456"], [f"p{i}" for i in range(6)]):
        table = pl.DataFrame(X, schema=names)
        table.write_csv("pixels.csv")
        data = {"X": table, "y": X[:, 0], "wavelengths": wavelengths}
        with WorkspaceStore("workspace") as store:
            chain = PipelineRunner(store).run([KFold(3), Slope(), {"model": Ridge()}], data)["chain_id"][0]
            expected = store.replay_chain(chain, X, wavelengths)
            store.export_chain(chain, "model.n4a")
        for model in (chain, "model.n4a --trusted"):
            command(f"predict {model} pixels.csv -o found.csv --overwrite")
            np.testing.assert_allclose(pl.read_csv("found.csv")["predicted"], expected, rtol=1e-12)


def test_the_wavelengths_of_a_file_once_were_not_looked_at_where_those_of_training_are_known(here: Path) -> None:
    X = np.random.default_rng(0).normal(size=(20, 4)).cumsum(axis=1)
    data = {"X": X, "y": X[:, 0], "wavelengths": np.array([1100.0, 1102, 1104, 1106])}
    found = PipelineRunner("workspace").run([KFold(3), Slope(), {"model": Ridge()}], data)
    chain = found["chain_id"][0]
    table = pl.DataFrame(X, schema=["1100", "1102", "1104", "1106"])
    table.write_csv("same.csv")
    table.select(reversed(table.columns)).write_csv("reversed.csv")
    table.rename(lambda name: f"2{name[1:]}").write_csv("other.csv")
    command(f"predict {chain} same.csv -o expected.csv")
    command(f"predict {chain} reversed.csv -o found.csv")
    assert pl.read_csv("found.csv").equals(pl.read_csv("expected.csv"))
    assert "lacks 4 of the 4 wavelengths" in command(f"predict {chain} other.csv", 1)


def test_a_chain_once_refused_the_spectra_that_it_was_resumed_with(here: Path) -> None:
    table = pl.DataFrame(np.random.default_rng(0).normal(size=(20, 12)), schema=[str(1100 + 2 * n) for n in range(12)])
    for name in ("{}", "X{}"):
        table.rename(name.format).with_columns(p=pl.Series(range(20))).write_csv("wheat.csv")
        command("run pls.yaml wheat.csv -t p --resume")
    told = CliRunner().invoke(app, shlex.split("run pls.yaml wheat.csv -t p --resume --json"))
    assert "nothing was trained: the workspace has all of these pipelines" in told.stderr
    assert len(json.loads(told.stdout)) == 4
    chains = rows("top")
    assert len(chains) == 4
    chain = chains[0]["chain_id"]
    table.write_csv("new.csv")
    expected = command(f"predict {chain} new.csv")
    for name in ("X{}", "{} nm"):
        table.rename(name.format).select(pl.nth(*reversed(range(12)))).write_csv("new.csv")
        assert command(f"predict {chain} new.csv") == expected
    table.rename("X2{}".format).write_csv("new.csv")
    assert "lacks 12 of the 12 wavelengths" in command(f"predict {chain} new.csv", 1)
    table.rename(lambda name: f"{chr(int(name) % 26 + 97)}").write_csv("new.csv")
    assert "lacks 12 of the 12 columns" in command(f"predict {chain} new.csv", 1)


def test_a_row_with_a_missing_value_has_no_prediction_and_the_others_have(trained: Path) -> None:
    chain = rows("top -n 1")[0]["chain_id"]
    command(f"predict {chain} new.csv -o whole.csv")
    holes = pl.read_csv("new.csv").with_row_index()
    first = holes.columns[1]
    holes.with_columns(pl.when(pl.col("index") == 2).then(None).otherwise(pl.col(first)).alias(first)).drop(
        "index"
    ).write_csv("holes.csv")
    assert "no prediction for 1 row with a missing value" in command(f"predict {chain} holes.csv -o part.csv")
    whole, part = (pl.read_csv(f"{name}.csv")["glucose_predicted"].to_list() for name in ("whole", "part"))
    assert part[2] is None
    assert part[:2] + part[3:] == pytest.approx(whole[:2] + whole[3:])


def test_what_is_trained_on_is_said(trained: Path) -> None:
    told = CliRunner().invoke(app, shlex.split("run pls.yaml wheat.csv -t glucose --resume"))
    assert re.match(r"wheat: \d+ samples, \d+ columns of X from \S+ to \S+\n", told.stderr)


def test_values_that_differ_a_little_or_in_kind_differ() -> None:
    assert differences(0.123411, 0.123449) == [("", 0.123411, 0.123449)]
    assert apart(0.123411, 0.123449) == ("0.123411", "0.123449")
    assert differences({"a": 1}, {"a": "1"}) == [("a", 1, "1")]
    assert apart(1, "1") == ("1", '"1"')
    assert differences({"a": None}, {"a": ""}) == [("a", None, "")]
    assert apart(None, "") == ("null", '""')
    one, other = apart("x" * 80 + "1", "x" * 80 + "2")
    assert (one[-2:], other[-2:]) == ('1"', '2"')
    assert differences(np.array([1.0, np.nan]), np.array([1.0, np.nan])) == []


def test_a_name_that_looks_like_json_stays_a_name(here: Path) -> None:
    command("run ridge.yaml wheat.csv -t glucose --name '[1, 2]'")
    assert rows("runs")[0]["name"] == "[1, 2]"
    assert rows("sql 'SELECT name FROM runs'") == [{"name": "[1, 2]"}]
    assert isinstance(rows("runs")[0]["datasets"], list)


@pytest.mark.parametrize("width", [30, *map(slow, (60, 100, 120, 200)), 80])
def test_a_terminal_of_any_width_cuts_no_number_and_no_id(
    here: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    (here / "long.yaml").write_text(
        "- class: sklearn.preprocessing.StandardScaler\n- class: sklearn.preprocessing.MinMaxScaler\n"
        "- model: {class: sklearn.cross_decomposition.PLSRegression, params: {n_components: 2, scale: false}}\n"
    )
    command("run long.yaml wheat.csv -t glucose")
    best = rows("top")[0]
    monkeypatch.setattr(Console, "is_terminal", True)
    for name, value in {"COLUMNS": str(width), "LINES": "25", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    ranking = command("top")
    told = ranking.split()
    final = rows("top --partition train")[0]
    assert (final["fold_id"], final["chain_id"]) == ("final", best["chain_id"])
    assert {f"{best['val_score']:.4g}", "RMSECV", f"{final['train_score']:.4g}", "RMSEC"} <= set(told)
    assert any(best["chain_id"].endswith(word) for word in told if len(word) >= 8)
    if width not in (60, 80):  # There, words are broken, so that the table fits.
        for word in ("PLSRegression", "(n_components=2,", "scale=False)", "StandardScaler", "MinMaxScaler"):
            assert word in told
    assert max(map(len, ranking.splitlines())) <= max(width, 80), ranking


def test_every_answer_is_plain_json_or_csv(here: Path) -> None:
    query = "SELECT [1, 2] AS a, 'NaN'::DOUBLE AS b, {'x': 1} AS c, DATE '2026-01-01' AS d"
    command("init")
    assert rows(f'sql "{query}"') == [{"a": [1, 2], "b": None, "c": {"x": 1}, "d": "2026-01-01"}]
    assert command(f'sql "{query}" --csv').splitlines()[0] == "a,b,c,d"


def test_an_error_of_others_is_one_line_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command("init")
    monkeypatch.setattr(WorkspaceStore, "run_summaries", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    assert command("runs", 1) == "OSError: no space left; --debug shows where it comes from\n"


def test_who_has_read_enough_was_told_of_a_broken_pipe(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command("init")
    broken = BrokenPipeError(errno.EPIPE, "nobody reads on")
    monkeypatch.setattr(WorkspaceStore, "run_summaries", lambda *_: (_ for _ in ()).throw(broken))
    assert command("runs", 1) == ""


def test_what_no_run_or_ranking_has_is_refused(trained: Path) -> None:
    assert "--status takes running" in command("runs --status nonsense", 2)
    assert "--metric takes rmse" in command("top --metric nonsense", 1)
    command("run classes.yaml coffee.csv -t labels")
    told = CliRunner().invoke(app, ["top"]).stdout
    assert [line.split()[0] for line in told.split("\n\n")] == ["#", "#"], "classes once could not stand beside numbers"
    assert {row["metric"] for row in rows("top")} == {"balanced_accuracy", "rmse"}
    assert rows("top --metric rmse")


def test_ctrl_c_says_what_is_there_and_how_to_go_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PipelineRunner, "run", interrupted)
    assert "--resume goes on" in command("run pls.yaml wheat.csv -t glucose", 130)


def test_a_listing_ends_quietly_where_nobody_reads_on(trained: Path) -> None:
    line = ["top", "--fold", "any", "-n", "1000", "--csv"]
    first, errors = Process("from nirs4all_store.cli import app; app()", *line).head()
    assert first.startswith("prediction_id,")
    assert errors == ""


def test_a_workspace_that_is_not_there_is_not_made_by_looking(here: Path) -> None:
    for line in ("top -w nowhere", "gc nowhere", "vacuum nowhere", "delete 01 -w nowhere", "repair nowhere --apply"):
        told = command(line, 1)
        assert told.startswith("there is no workspace at nowhere; name one with --workspace")
    command("check nowhere", 2)
    assert not (here / "nowhere").exists()


def test_a_run_was_silent_about_pipelines_that_failed(here: Path) -> None:
    (here / "some.yaml").write_text(PLS.replace("[2, 4, 2]", "[2, 5002, 5000]"))
    done = CliRunner().invoke(app, shlex.split("run some.yaml wheat.csv -t glucose"))
    (told,) = [line for line in done.stderr.splitlines() if "failed" in line]
    assert (done.exit_code, told.partition(";")[0]) == (0, "2 of 4 pipelines failed")
    show, listing = re.findall("`nirs4all-store (.*?)`", told)
    assert "n_components" in command(show)
    assert command(listing).count("failed") == 2
    again = CliRunner().invoke(app, shlex.split("run some.yaml wheat.csv -t glucose --resume"))
    assert (again.exit_code, again.stdout) == (0, done.stdout)
    assert "2 of 2 pipelines failed" in again.stderr
    assert "failed" not in command("run ridge.yaml wheat.csv -t glucose")


def test_top_said_that_a_metric_ranks_nothing_and_that_it_may_be_chosen(here: Path) -> None:
    command("run classes.yaml coffee.csv -t labels")
    classes = rows("runs")[0]["run_id"]
    command("run ridge.yaml wheat.csv -t glucose")
    refused = (
        "nothing here is ranked by 'rmse'; --metric takes balanced_accuracy, accuracy, f1, mcc, roc_auc, log_loss\n"
    )
    assert command(f"top {classes} --metric rmse", 1) == command("top --dataset coffee --metric rmse", 1) == refused
    folds = "nothing here has the fold '9'; --fold takes any, 0, 1, 2, 3, 4, avg\n"
    assert command("top --metric rmse --fold 9", 1) == folds
    assert command("top --metric rmse --fold 9 --csv", 1) == command(f"top {classes} --fold 9", 1) == folds
    assert "'maize'; --dataset takes coffee, wheat" in command("top --dataset maize", 1)


def test_a_workspace_without_predictions_ranks_nothing(here: Path) -> None:
    command("init")
    assert rows("top") == rows("top --metric rmse --fold 9") == []


def test_predictions_of_classes_under_another_name_could_not_be_shown(here: Path) -> None:
    labels = np.array(["low", "high", "low"])
    with WorkspaceStore(here / "workspace") as store:
        _, pipeline_id = add_pipeline(store)
        for task, y in (("binary_classification", labels), ("classes", labels), ("binary_classification", [0, 1, 0])):
            name = add_prediction(store, pipeline_id, task_type=task)
            store.save_prediction_arrays(name, y_true=y, y_pred=y)
    for row in rows("sql 'SELECT prediction_id FROM predictions'"):
        told = command(f"show {row['prediction_id']} --plot counts.png")
        assert re.search(r"true +(high +low|0 +1)", told)
        assert (here / "counts.png").exists()
        (here / "counts.png").unlink()


def test_a_traceback_was_printed_as_one_paragraph(here: Path) -> None:
    with WorkspaceStore(here / "workspace") as store:
        _, pipeline_id = add_pipeline(store)
        store.fail_pipeline(pipeline_id, "Traceback:\n  File 'x'\nValueError: \x1b[31mred")
    told = command(f"show {pipeline_id}")
    assert told.splitlines()[0].endswith("failed: ValueError: \\x1b[31mred"), "why it failed was below forty lines"
    assert "File 'x'" not in told
    told = [line.rstrip() for line in command(f"show {pipeline_id} --traceback").splitlines()]
    place = next(number for number, line in enumerate(told) if line.startswith("error"))
    indent = " " * told[place].index("Traceback")
    assert told[place + 1 : place + 3] == [f"{indent}  File 'x'", f"{indent}ValueError: \\x1b[31mred"]


def test_what_a_program_compares_was_clipped(here: Path) -> None:
    names = [f"{'x' * 100} {number}" for number in range(2)]
    configs: list[Any] = [{"seed": 1, "steps": [1, 2]}, {"seed": "1"}]
    with WorkspaceStore(here / "workspace") as store:
        one, other = (store.begin_run(*pair) for pair in zip(names, configs, strict=True))
    found = {row["what"]: (row["one"], row["other"]) for row in rows(f"compare {one} {other}")}
    assert found["name"] == tuple(names)
    assert found["config.seed"] == (1, "1")
    assert found["config.steps"] == ([1, 2], None)
    table = pl.read_csv(command(f"compare {one} {other} --csv").encode(), infer_schema=False).rows()
    assert ("name", *(f'"{name}"' for name in names)) in table
    assert ("config.seed", "1", '"1"') in table
    assert names[0] not in command(f"compare {one} {other}")


def test_sums_were_text_in_json_and_bytes_could_not_be_printed(here: Path) -> None:
    command("init")
    query = "SELECT sum(x) AS a, 1.25::DECIMAL(9, 2) AS b, 'a b'::BLOB AS c, ['z'::BLOB] AS d FROM range(3) t(x)"
    assert rows(f'sql "{query}"') == [{"a": 3, "b": 1.25, "c": "612062", "d": ["7a"]}]
    assert command(f'sql "{query}" --csv').splitlines() == ["a,b,c,d", '3,1.25,612062,"[""7a""]"']
    assert command(f'sql "{query}"').split()[4:] == ["3", "1.25", "612062", '["7a"]']


def test_endings_in_capitals_were_not_known_and_unknown_ones_added_to(trained: Path) -> None:
    (trained / "CAPITALS.YAML").write_text(PLS)
    command("run CAPITALS.YAML wheat.csv -t glucose --resume")
    best, run = rows("top -n 1")[0], rows("runs")[0]["run_id"]
    for name, output in (
        (run, "run.PARQUET"),
        (run, "run.YAML"),
        (best["pipeline_id"], "p.JSON"),
        (best["chain_id"], "m.N4A"),
        (best["chain_id"], "m.n4a.PY"),
        (run, "plain"),
    ):
        command(f"export {name} {output}")
    command(f"predict {best['chain_id']} new.csv -o out.PARQUET")
    assert pl.read_parquet("run.PARQUET").height
    assert pl.read_parquet("out.PARQUET").columns[0] == "glucose_predicted"
    assert (trained / "m.n4a.PY").read_text().startswith('"""Predict with a chain')
    assert (trained / "plain.yaml").exists()
    assert command(f"export {run} run.txt", 1) == (
        "a run cannot be written as run.txt; give a name that ends in .yaml or .parquet\n"
    )
    assert "ends in .json" in command(f"export {best['pipeline_id']} p.yaml", 1)
    assert "ends in .n4a or .n4a.py" in command(f"export {best['chain_id']} model.py", 1)
    assert not [*trained.glob("*.txt*"), *trained.glob("*.YAML.*"), *trained.glob("*.PARQUET.*")]


def test_a_wrong_configuration_or_bundle_left_an_empty_workspace(here: Path) -> None:
    (here / "wrong.yaml").write_text("- class: sklearn.preprocessing.StandardScaler\n")
    (here / "wrong.n4a").write_text("no bundle")
    for line in (
        "run wrong.yaml wheat.csv -t glucose",
        "run nowhere.yaml wheat.csv -t glucose",
        "run nothing wheat.csv -t glucose",
        "import nowhere.n4a",
        "import wrong.n4a",
    ):
        command(line, 1)
        assert not (here / "workspace").exists(), line


def test_a_template_whose_name_is_yaml_too_could_not_be_run(here: Path) -> None:
    for name in ("2024", "a: b", "[1]", "best.yaml"):
        command(f"library save ridge.yaml '{name}'")
        command(f"run '{name}' wheat.csv -t glucose --resume")
    assert len(rows("runs")) == 1


@pytest.mark.parametrize(("names", "one"), [pytest.param(*entry, id=" ".join(entry[0])) for entry in COMMANDS])
def test_every_command_and_option_has_help_and_an_example(names: tuple[str, ...], one: Any) -> None:
    assert one.help
    assert " ".join(names) in (one.epilog or "")
    for parameter in one.params:
        assert parameter.help, parameter.name


def test_the_first_spectrum_of_a_file_without_names_once_had_no_prediction(trained: Path) -> None:
    chain = rows("top -n 1")[0]["chain_id"]
    expected = command(f"predict {chain} new.csv")
    X = pl.read_csv("new.csv").to_numpy()
    for separator in ",;":
        np.savetxt("plain.csv", X, delimiter=separator)
        assert command(f"predict {chain} plain.csv") == expected
    np.savetxt("plain.csv", X[:, 1:], delimiter=";")
    assert f"has {X.shape[1] - 1} columns of numbers, and the chain was trained on {X.shape[1]}" in command(
        f"predict {chain} plain.csv", 1
    )


@pytest.mark.filterwarnings("default::nirs4all_store.DataWarning")
def test_the_shell_once_had_no_groups_no_test_data_and_no_file_of_references(here: Path) -> None:
    wheat = pl.read_csv("wheat.csv").with_row_index("sample").with_columns(lot=pl.col("sample") // 3)
    wheat = wheat.with_columns(pl.col("sample").cast(pl.String) + "x", note=pl.lit("n"))
    wheat[:15].drop("glucose").write_csv("X.csv")
    wheat[15:].write_csv("test.csv")
    wheat.select("sample", "glucose").reverse().write_csv("lab.csv")
    line = "run ridge.yaml X.csv --y lab.csv --join sample -t glucose --unit g/l --test test.csv -n 1"
    told = CliRunner().invoke(app, shlex.split(line))
    assert told.exit_code == 0, told.output
    assert "X: 15 samples, 6 to test with, 53 columns of X from" in told.stderr
    assert "left out: lot, note" in told.stderr
    assert "DataWarning: 15 rows have 5 different values in column 'lot'" in " ".join(told.stderr.split())
    assert "RMSEP" in told.stdout.splitlines()[0]
    grouped = CliRunner().invoke(app, shlex.split(f"{line} --groups lot --sample sample"))
    assert "DataWarning" not in grouped.output
    split = wheat.with_columns(split=pl.Series(["train"] * 15 + ["test"] * 6))
    split.write_csv("split.csv")
    line = "run ridge.yaml split.csv -t glucose --split split --groups lot --sample sample -n 1 -w other"
    parted = CliRunner().invoke(app, shlex.split(line)).stdout
    # The same scores, from one file.
    assert parted.split()[-3:] == grouped.stdout.split()[-3:]


def test_standard_input_once_was_no_table(trained: Path) -> None:
    chain = rows("top -n 1")[0]["chain_id"]
    text = Path("new.csv").read_text()
    done = CliRunner().invoke(app, ["predict", chain, "-"], input=text)
    assert done.stdout == command(f"predict {chain} new.csv")
    trained_on = CliRunner().invoke(
        app, shlex.split("run ridge.yaml - -t glucose -n 1 -w other"), input=Path("wheat.csv").read_text()
    )
    assert (trained_on.exit_code, "stdin: " in trained_on.stderr) == (0, True)
    assert "stdin has no rows" in CliRunner().invoke(app, ["predict", chain, "-"], input="").output
