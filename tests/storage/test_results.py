"""Results and labels: documents about rows, and names for what belongs together."""

import hashlib
from datetime import datetime

import pytest

from nirs4all_store import NotFoundError, WorkspaceStore
from nirs4all_store.models import Label
from nirs4all_store.testing.contract import add_chain, add_pipeline, add_prediction

ODD = '{"b":1, "a": NaN}\n'
WHEN = datetime(2026, 11, 30)


def add_label(store: WorkspaceStore, kind: str, owner_id: str) -> None:
    with store.unit_of_work() as uow:
        row = {"label_id": f"label of {owner_id}", "kind": "tag", "name": kind}
        uow.whole_rows.add(Label, row | {"created_at": WHEN, "updated_at": WHEN})
        uow.labels.link(f"label of {owner_id}", kind, owner_id)
        uow.labels.link(f"label of {owner_id}", kind, owner_id)
        uow.commit()


def test_a_document_is_kept_character_by_character(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    result_id = store.save_result("tuning", "search", ODD, pipeline_id=pipeline_id, details={"trials": 3})
    found = store.get_result(result_id)
    assert found is not None
    assert (found["document"], found["details"]) == (ODD, {"trials": 3})
    assert found["fingerprint"] == hashlib.sha256(ODD.encode()).hexdigest()
    assert store.get_result("none") is None


def test_the_same_document_about_the_same_is_one_result(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    first = store.save_result("tuning", None, {"b": 1, "a": [2]}, pipeline_id=pipeline_id)
    assert store.save_result("tuning", None, {"a": [2], "b": 1}, pipeline_id=pipeline_id) == first
    assert (store.get_result(first) or {})["document"] == '{"a":[2],"b":1}'
    other = store.save_result("tuning", None, {"a": [2], "b": 1})
    assert store.list_results("tuning")["result_id"].to_list() == [other, first]
    assert store.list_results(pipeline_id=pipeline_id)["result_id"].to_list() == [first]
    assert "document" not in store.list_results().columns


def test_a_result_about_nothing_that_is_there_is_refused(store: WorkspaceStore) -> None:
    with pytest.raises(NotFoundError, match="chains has no 'gone'"):
        store.save_result("tuning", None, "{}", chain_id="gone")


def test_results_and_labels_go_with_what_they_are_of(store: WorkspaceStore) -> None:
    run_id, pipeline_id = add_pipeline(store)
    chain_id, prediction_id = add_chain(store, pipeline_id), add_prediction(store, pipeline_id)
    store.save_result("k", "of run", "{}", run_id=run_id)
    store.save_result("k", "of chain", "{}", chain_id=chain_id)
    store.save_result("k", "of prediction", "{}", prediction_id=prediction_id)
    for kind, owner_id in (("run", run_id), ("pipeline", pipeline_id), ("chain", chain_id)):
        add_label(store, kind, owner_id)
    assert store.check(deep=True).findings == []
    store.delete_prediction(prediction_id)
    assert set(store.list_results()["name"]) == {"of run", "of chain"}
    store.delete_pipeline(pipeline_id)
    assert store.list_results()["name"].to_list() == ["of run"]
    with store.unit_of_work() as uow:
        assert uow.labels.list_links()["owner_kind"].to_list() == ["run"]
    store.delete_run(run_id)
    assert store.list_results().is_empty()
    with store.unit_of_work() as uow:
        assert uow.labels.list_links().is_empty()
        assert len(uow.labels.of_kind("tag")) == 3


def test_a_result_or_a_link_whose_row_is_gone_is_an_orphan(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    chain_id = add_chain(store, pipeline_id)
    store.save_result("k", "of chain", "{}", chain_id=chain_id)
    add_label(store, "chain", chain_id)
    with store.unit_of_work() as uow:
        uow.chains.delete(chain_id)
        uow.commit()
    found = {finding.subject.split()[0] for finding in store.check().findings if finding.code == "orphan"}
    assert found == {"results", "label_links"}
    store.repair(dry_run=False)
    assert store.list_results().is_empty()
    assert {finding.code for finding in store.check().findings} <= {"wrong-count"}
