"""What people can say instead of an id of 36 characters, and what they are told where that is not clear."""

import json
import shlex
from pathlib import Path

import polars as pl
import pytest
from stored_models import add_model
from typer.testing import CliRunner

from nirs4all_store import InvalidInputError, WorkspaceStore
from nirs4all_store.cli import app, last_ranking
from nirs4all_store.views import Listing, find_id


def command(line: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, shlex.split(line))
    assert done.exit_code == code, done.output
    return done.output


def test_best_and_last_are_words_for_a_chain_and_a_run(store: WorkspaceStore) -> None:
    good, bad = add_model(store, "first", 0.2), add_model(store, "second", 0.5)
    assert find_id(store, "last") == ("runs", bad["run"])
    assert find_id(store, "best") == ("chains", good["chain"])
    for run in ("second", "last", bad["run"], bad["run"][-8:]):
        assert find_id(store, f"best@{run}", ("chains",)) == ("chains", bad["chain"])
    assert find_id(store, "best", ("pipelines",)) == ("pipelines", good["pipeline"]), "as for `log best`"
    with pytest.raises(InvalidInputError, match=r"'last' is run .{8} .second, .* where a chain is wanted; `top` shows"):
        find_id(store, "last", ("chains",))


def test_a_number_for_a_row_once_was_the_end_of_some_id(store: WorkspaceStore) -> None:
    made = add_model(store, "wheat", 0.2)
    for name in made.values():
        with pytest.raises(InvalidInputError, match="too short for a part of an id"):
            find_id(store, name[-3:])
    with pytest.raises(InvalidInputError, match="did you mean @3"):
        find_id(store, "3")


def test_a_run_that_is_called_as_a_word_is_once_was_another_run(store: WorkspaceStore) -> None:
    named = {name: add_model(store, name, 0.2)["run"] for name in ("last", "best", "@3", "run:abc", "abc")}
    for text in ("last", "best", "run:abc"):
        with pytest.raises(InvalidInputError, match=f"'{text}' may be one of 2: run .*; (give more|.* name the run)"):
            find_id(store, text)
    for text in ("last", "best", "@3"):
        assert find_id(store, f"run:{text}") == ("runs", named[text])
    assert find_id(store, "abc") == ("runs", named["abc"])


def test_best_of_what_cannot_be_compared_is_not_chosen(store: WorkspaceStore) -> None:
    add_model(store, "first", 0.2)
    last = add_model(store, "second", 0.9, metric="accuracy", task_type="classification")
    with pytest.raises(InvalidInputError, match="name the run, as in best@last"):
        find_id(store, "best")
    assert find_id(store, "best@last") == ("chains", last["chain"])


def test_nothing_is_best_or_last_in_an_empty_workspace(store: WorkspaceStore) -> None:
    for word in ("best", "last", ""):
        with pytest.raises(InvalidInputError, match="nothing here: the workspace has no run; `run CONFIG DATA` trains"):
            find_id(store, word)


def test_a_beginning_or_an_ending_that_is_unique_finds_its_own(store: WorkspaceStore) -> None:
    ids = [add_model(store, f"run {number}", 0.1) for number in range(3)]
    for made in ids:
        for kind, name in made.items():
            (short,) = store.shorten_ids([name]).values()
            assert name.endswith(short)
            for text in (name, short, name[:-1], f"{kind}:{short}"):
                assert find_id(store, text) == (f"{kind}s", name)


def test_an_ending_is_longer_only_where_two_of_a_kind_collide(store: WorkspaceStore) -> None:
    with store.unit_of_work() as uow:
        for run_id in ("a-1-12345678", "b-1-12345678", "c-87654321", "12345678-d"):
            uow.runs.add("r", run_id=run_id)
        uow.commit()
    assert store.shorten_ids(["a-1-12345678", "c-87654321", "12345678-d"]) == {
        "a-1-12345678": "a-1-12345678",
        "c-87654321": "87654321",
        "12345678-d": "345678-d",
    }


def test_a_run_is_known_by_its_name_and_several_of_one_name_are_told_apart(store: WorkspaceStore) -> None:
    one = add_model(store, "wheat", 0.2)
    assert find_id(store, "wheat") == find_id(store, "wheat", ("runs", "chains")) == ("runs", one["run"])
    with pytest.raises(InvalidInputError, match="no chain has the id 'wheat'"):
        find_id(store, "wheat", ("chains",))
    two = add_model(store, "wheat", 0.2)
    told = rf"'wheat' may be one of 2: run {two['run'][-8:]} \(wheat, 20..-.*\), run {one['run'][-8:]} \(wheat, 20"
    with pytest.raises(InvalidInputError, match=told):
        find_id(store, "wheat")


def test_a_dataset_is_known_by_its_name_where_only_datasets_are_meant(store: WorkspaceStore) -> None:
    run_id = store.begin_run("wheat", {}, [{"name": "wheat"}])
    store.begin_pipeline(run_id, "p", {}, [], "wheat", "hash")
    kind, name = find_id(store, "wheat", ("datasets",))
    assert (kind, (store.get_dataset(name) or {})["name"]) == ("datasets", "wheat")
    assert find_id(store, "wheat") == ("runs", run_id)


def test_an_id_that_several_have_once_listed_mostly_artifacts(store: WorkspaceStore) -> None:
    made = [add_model(store, f"run {number}", 0.1) for number in range(3)]
    artifact = store.save_artifact([1, 2], "list", "model")
    with pytest.raises(InvalidInputError, match=r"may be one of \d+: run .{8} \(run 2, 20..-") as caught:
        find_id(store, made[0]["run"][:4])
    assert "artifact" not in str(caught.value)
    assert str(caught.value).endswith(" more; give more of the id")
    with pytest.raises(InvalidInputError, match="no run, dataset"):
        find_id(store, artifact[-10:])
    assert find_id(store, f"artifact:{artifact[-10:]}") == find_id(store, artifact) == ("artifacts", artifact)


def test_a_chain_that_was_to_be_deleted_once_did_not_exist(store: WorkspaceStore) -> None:
    made = add_model(store, "wheat", 0.2)
    told = (
        f"chain {made['chain'][-8:]} .*, where a .* is wanted; it goes with its pipeline {made['pipeline'][-8:]}: give"
    )
    with pytest.raises(InvalidInputError, match=told):
        find_id(store, "best", ("runs", "pipelines", "predictions"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Work in a folder with a workspace of two runs; give what these have made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with WorkspaceStore("workspace") as store:
        return [add_model(store, "first", 0.2), add_model(store, "second", 0.5)]


def test_a_number_means_a_row_of_the_ranking_that_this_shell_has_shown(
    here: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "`nirs4all-store top` first" in command("show @2", 1)
    command("top --json")
    assert "`nirs4all-store top` first" in command("show @2", 1), "nobody has seen rows with numbers"
    command("top second")
    assert json.loads(command("show @1 --json"))["chain_id"] == here[1]["chain"]
    command("top --all")
    assert json.loads(command("show @2 --json"))["chain_id"] == here[1]["chain"]
    assert "@3 is no row of the ranking that was last shown here, which had 2" in command("show @3", 1)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(last_ranking, "this_session", lambda: "another shell")
        assert "`nirs4all-store top` first" in command("show @1", 1)
        command("top second")
    assert json.loads(command("show @1 --json"))["chain_id"] == here[0]["chain"], "each shell has its own"
    command("init other")
    assert "`nirs4all-store top` first" in command("show @1 -w other", 1), "and so has each workspace"
    assert not [*Path("workspace").rglob("*.json")]


def test_a_ranking_that_cannot_be_remembered_is_shown_all_the_same(
    here: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("taken").write_text("no folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("taken").absolute()))
    assert here[0]["chain"][-8:] in command("top")
    assert "`nirs4all-store top` first" in command("show @1", 1)


def test_a_row_of_a_chain_that_was_deleted_since_is_no_other_chain(here: list[dict[str, str]]) -> None:
    command("top --all")
    command("delete first --yes")
    assert "has the name or id '@1'" in command("show @1", 1)
    assert json.loads(command("show @2 --json"))["chain_id"] == here[1]["chain"]


def test_a_row_that_is_marked_as_like_the_best_keeps_its_number(
    here: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pl.DataFrame({"#": ["1*", "2"], "chain_id": [made["chain"] for made in here]})
    monkeypatch.setattr(
        "nirs4all_store.cli.query.views.list_rankings", lambda *_: [Listing(table, table, ["* as good"])]
    )
    told = CliRunner().invoke(app, ["top"])
    assert (told.stdout.splitlines()[1].split(), told.stderr) == (["1*", here[0]["chain"][-8:]], "* as good\n")
    assert json.loads(command("show @1 --json"))["chain_id"] == here[0]["chain"]
