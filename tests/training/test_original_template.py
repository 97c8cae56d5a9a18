"""A pipeline keeps the configuration of which it is one of many, as its author wrote it."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from samples import slow
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from nirs4all_store import PipelineRunner, WorkspaceStore
from nirs4all_store.testing.contract import add_chain, add_pipeline
from nirs4all_store.training import pipeline_config
from nirs4all_store.training.pipeline_config import pipelines_of, template_of

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(12, 4)), rng.normal(size=12)
RIDGE = {"class": "sklearn.linear_model.Ridge", "params": {"alpha": {"_range_": [1, 2]}}}
WRITTEN = [{"_or_": [None, "sklearn.preprocessing.StandardScaler"]}, {"model": RIDGE}]
CONFIG = [{"_or_": [None, StandardScaler()]}, KFold(3), {"model": RIDGE}]
TEMPLATE = [
    {"_or_": [None, {"class": "sklearn.preprocessing.StandardScaler"}]},
    {"class": "sklearn.model_selection.KFold", "params": {"n_splits": 3}},
    {"model": RIDGE},
]


def test_each_pipeline_of_a_run_keeps_the_configuration_as_it_was_written(
    store: WorkspaceStore, tmp_path: Path
) -> None:
    PipelineRunner(store, progress=False).run(CONFIG, (X, Y))
    texts = store.list_pipelines()["original_template"].to_list()
    assert [json.loads(text) for text in texts] == 4 * [TEMPLATE]
    # It makes the same pipelines again.
    configs = sorted(map(json.dumps, (pipeline.config for pipeline in pipelines_of(TEMPLATE))))
    assert configs == sorted(map(json.dumps, map(json.loads, store.list_pipelines()["expanded_config"])))
    (run_id,) = store.list_runs()["run_id"]
    exported = yaml.safe_load(store.export_run(run_id, tmp_path / "run").read_text())
    assert [pipeline["original_template"] for pipeline in exported["pipelines"]] == 4 * [TEMPLATE]


@pytest.mark.parametrize(
    ("config", "template"),
    [
        ({"pipeline": [Ridge(2)], "name": "mine"}, [{"class": "sklearn.linear_model.Ridge", "params": {"alpha": 2}}]),
        ((Ridge(),), [{"class": "sklearn.linear_model.Ridge"}]),
        ([{"model": RIDGE}], [{"model": RIDGE}]),
        (
            [{"class": "sklearn.linear_model.LogisticRegression", "params": {"class_weight": {0: 1, 1: 2}}}],
            [
                {
                    "class": "sklearn.linear_model.LogisticRegression",
                    "params": {"class_weight": {"items": [[0, 1], [1, 2]]}},
                }
            ],
        ),
    ],
)
def test_a_template_has_what_was_written_in_values_of_json(config: Any, template: list[Any]) -> None:
    assert template_of(config, 1) == template
    assert pipelines_of(template)[0].config == pipelines_of(config)[0].config


def test_what_json_cannot_describe_is_told_by_its_beginning() -> None:
    (step, _) = template_of([FunctionTransformer(lambda X: X), Ridge()], 1) or []
    assert "<lambda> at 0x" in step["params"]["func"]


def test_a_long_configuration_is_not_kept_once_for_each_of_many_pipelines(monkeypatch: pytest.MonkeyPatch) -> None:
    length = len(json.dumps([{"model": RIDGE}]))
    monkeypatch.setattr(pipeline_config, "MOST_TEXT", 10 * length)
    assert template_of([{"model": RIDGE}], 10) == [{"model": RIDGE}]
    assert template_of([{"model": RIDGE}], 11) is None


@pytest.mark.parametrize("template", [None, slow(WRITTEN), {"pipeline": WRITTEN}])
def test_the_template_travels_in_bundles(store: WorkspaceStore, tmp_path: Path, template: Any) -> None:
    run_id, _ = add_pipeline(store)
    pipeline_id = store.begin_pipeline(run_id, "ridge", original_template=template)
    path = store.export_chain(add_chain(store, pipeline_id), tmp_path / "m")
    with zipfile.ZipFile(path) as archive:
        manifest, told = (json.loads(archive.read(name)) for name in ("manifest.json", "chain.json"))
    assert manifest["format_version"] == (1 if template is None else 2)
    assert ("original_template" in told["pipeline"]) is (template is not None)
    with WorkspaceStore(f"memory:{tmp_path}-there") as there:
        found = there.import_bundle(path)
        assert (there.get_pipeline(found.pipeline_id) or {})["original_template"] == template
        assert not there.import_bundle(path).is_new
