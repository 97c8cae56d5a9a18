"""Models as a training stores them, without a training."""

from typing import Any

from nirs4all_store import WorkspaceStore
from nirs4all_store.testing.contract import add_prediction


def add_model(store: WorkspaceStore, name: str, score: float, pipeline: str = "PLS", **values: Any) -> dict[str, str]:
    """Add a run with one pipeline, its chain and its RMSECV, as a training leaves them; return the id of each."""
    run_id = store.begin_run(name, {}, [{"name": "wheat"}])
    pipeline_id = store.begin_pipeline(run_id, pipeline, {"run": name}, [], "wheat", "hash")
    model_id = store.save_artifact([1.0], "list", "model", "joblib")
    steps = [{"step_idx": 0, "operator_class": "list", "params": {}, "artifact_id": None, "stateless": False}]
    chain_id = store.save_chain(pipeline_id, steps, 0, "PLSRegression", "", "per_fold", {"0": model_id}, {})
    prediction_id = add_prediction(
        store, pipeline_id, chain_id=chain_id, fold_id="avg", partition="val", val_score=score, **values
    )
    return {"run": run_id, "pipeline": pipeline_id, "chain": chain_id, "prediction": prediction_id}
