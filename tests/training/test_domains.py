"""What a trained chain's calibration covers: stored, told with predictions, and carried by exports."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from programs import run_script
from samples import slow
from sklearn.compose import TransformedTargetRegressor
from sklearn.cross_decomposition import PLSRegression
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from nirs4all_store import ArtifactLoadError, PipelineRunner, WorkspaceStore, load_bundle
from nirs4all_store.chains.domain import distances
from nirs4all_store.chains.domain_fit import fit_domain, parts_of
from nirs4all_store.chains.fitted import warning_of
from nirs4all_store.datasets import read_dataset
from nirs4all_store.training.cross_validation import splits
from nirs4all_store.training.pipeline_config import pipelines_of

RNG = np.random.default_rng(0)
BANDS = RNG.normal(size=(3, 40))
X_NEW = RNG.normal(size=(50, 3)) @ BANDS + 5 + 0.01 * RNG.normal(size=(50, 40))
SCORES = RNG.normal(size=(60, 3))
X = SCORES @ BANDS + 5 + 0.01 * RNG.normal(size=(60, 40))
Y = SCORES[:, 0] + 10
DATA = {"X": X, "y": Y, "name": "corn"}


def trained(store: WorkspaceStore, config: list[Any], **data: Any) -> list[str]:
    frame = PipelineRunner(store).run(config, DATA | data)
    return frame["chain_id"].unique(maintain_order=True).to_list()


def test_a_domain_is_kept_once_for_one_preprocessing_and_dataset(store: WorkspaceStore) -> None:
    models = {"_or_": [{"model": Ridge(alpha)} for alpha in (0.1, 1.0, 10.0)]}
    same = trained(store, [StandardScaler(), models])
    other = trained(store, [Ridge()])
    ids = [store.get_chain(chain_id)["attachments"]["domain"] for chain_id in [*same, *other]]  # type: ignore[index]
    assert len(same) == 3
    assert len(set(ids[:3])) == 1
    assert ids[3] != ids[0]
    domain = store.load_artifact(ids[0])
    assert {values.dtype for values in domain.values()} == {np.dtype(np.float32)}


def test_it_is_that_of_what_the_model_sees_and_of_the_trainings_folds(store: WorkspaceStore) -> None:
    (chain_id,) = trained(store, [Ridge()])
    (pipeline,), data = pipelines_of([Ridge()]), read_dataset(DATA)
    expected = fit_domain(X, parts_of(splits(pipeline, data), len(X)))
    assert expected is not None
    frame = store.predict_frame(chain_id, X_NEW)
    told = distances(expected, X_NEW)
    np.testing.assert_allclose(frame["t2"], told.t2)
    np.testing.assert_allclose(frame["q"], told.q)
    assert frame["predicted"].to_numpy().tolist() == store.replay_chain(chain_id, X_NEW).tolist()


def test_spectra_in_another_unit_were_predicted_without_a_word(store: WorkspaceStore) -> None:
    (chain_id,) = trained(store, [StandardScaler(), Ridge()])
    sound, garbage = (store.predict_frame(chain_id, spectra) for spectra in (X_NEW, 1000 * X_NEW))
    assert sound["outside_x"].sum() <= 4
    assert sound["outside_y"].sum() <= 4
    assert garbage["outside_x"].all()
    assert garbage["outside_y"].all()
    assert garbage["outside_envelope"].to_list() == [40] * 50
    assert warning_of(garbage) == (
        "50 of 50 spectra are unlike the calibration; by chance alone 1 would be; "
        "50 of 50 predictions are outside the calibration's range"
    )
    inside = sound.filter(~pl.col("outside_x") & ~pl.col("outside_y"))
    assert warning_of(inside) is None


def test_the_spread_is_that_of_the_folds_models(store: WorkspaceStore) -> None:
    (chain_id,) = trained(store, [StandardScaler(), Ridge()])
    chain = store.get_chain(chain_id)
    assert chain is not None
    folds = [fold for fold in chain["fold_artifacts"] if fold != chain["predict_fold"]]
    each = [store.replay_chain(chain_id, X_NEW, folds=fold) for fold in folds]
    found = store.predict_frame(chain_id, X_NEW, spread=True)["spread"]
    np.testing.assert_allclose(found, np.std(each, axis=0, ddof=1))


@pytest.mark.parametrize("wrapped", [slow(False), True])
def test_leverage_of_a_pls_is_that_of_its_scores(store: WorkspaceStore, *, wrapped: bool) -> None:
    model = PLSRegression(2, scale=False)
    (chain_id,) = trained(
        store, [TransformedTargetRegressor(model, transformer=StandardScaler()) if wrapped else model]
    )
    fitted = next(iter(store.load_chain(chain_id).chain.folds.values()))[-1][1]
    fitted = fitted.regressor_ if wrapped else fitted
    scores, new = fitted.x_scores_, fitted.transform(X_NEW)
    expected = 1 / len(scores) + np.diag(new @ np.linalg.inv(scores.T @ scores) @ new.T)
    np.testing.assert_allclose(store.predict_frame(chain_id, X_NEW)["leverage"], expected)


def test_several_targets_have_numbered_columns_and_their_own_ranges(store: WorkspaceStore, tmp_path: Path) -> None:
    (chain_id,) = trained(store, [Ridge()], y=np.stack([Y, -2 * Y], axis=1))
    frame = store.predict_frame(chain_id, X_NEW, spread=True)
    assert {"predicted_0", "predicted_1", "spread_0", "spread_1"} <= set(frame.columns)
    assert store.predict_frame(chain_id, 1000 * X_NEW)["outside_y"].all()
    np.save(tmp_path / "new.npy", X_NEW)
    script = store.export_chain(chain_id, tmp_path / "two.n4a.py", format="n4a.py")
    told = run_script(script, str(tmp_path / "new.npy"), "--distances").stdout
    assert told.startswith("predicted_0,predicted_1,t2,"), "both columns were called predicted"


def test_classes_have_distances_and_no_range(store: WorkspaceStore) -> None:
    (chain_id,) = trained(store, [KNeighborsClassifier()], y=np.where(Y > 10, "high", "low"))
    frame = store.predict_frame(chain_id, 1000 * X_NEW, spread=True)
    assert frame.columns == ["predicted", "t2", "q", "outside_envelope", "outside_x"]
    assert frame["outside_x"].all()
    assert set(frame["predicted"]) <= {"high", "low"}


def test_what_cannot_be_judged_is_predicted_all_the_same(store: WorkspaceStore) -> None:
    (chain_id,) = trained(store, [Ridge()], X=X[:8], y=Y[:8])
    chain = store.get_chain(chain_id)
    assert chain is not None
    assert not chain["attachments"]
    frame = store.predict_frame(chain_id, X_NEW)
    assert {"t2", "q", "outside_x"} & set(frame.columns) == set()
    assert "outside_y" in frame.columns


@pytest.mark.in_a_folder
def test_a_domain_that_is_lost_is_named_and_replay_needs_none(store: WorkspaceStore) -> None:
    (chain_id,) = trained(store, [Ridge()])
    domain_id = store.get_chain(chain_id)["attachments"]["domain"]  # type: ignore[index]
    store.get_artifact_path(domain_id).unlink()
    assert len(store.replay_chain(chain_id, X_NEW)) == 50
    with pytest.raises(ArtifactLoadError, match=domain_id):
        store.predict_frame(chain_id, X_NEW)


def test_a_bundle_tells_the_same_without_a_workspace(store: WorkspaceStore, tmp_path: Path) -> None:
    (chain_id,) = trained(store, [StandardScaler(), PLSRegression(2)])
    here = store.predict_frame(chain_id, X_NEW)
    bundle = store.export_chain(chain_id, tmp_path / "corn.n4a")
    assert load_bundle(bundle, trusted=True).predict_frame(X_NEW).equals(here)
    with WorkspaceStore("memory:another") as other:
        imported = other.import_bundle(bundle, trusted=True)
        assert other.predict_frame(imported.chain_id, X_NEW).equals(here)


def test_a_script_tells_the_same_without_the_package(store: WorkspaceStore, tmp_path: Path) -> None:
    (chain_id,) = trained(store, [StandardScaler(), Ridge()])
    script = store.export_chain(chain_id, tmp_path / "corn.n4a.py", format="n4a.py")
    spectra = np.concatenate([X_NEW[:3], 1000 * X_NEW[3:5]])
    np.save(tmp_path / "new.npy", spectra)
    plain = run_script(script, str(tmp_path / "new.npy"))
    here = store.predict_frame(chain_id, spectra)
    assert np.array_equal(np.loadtxt(io.StringIO(plain.stdout)), here["predicted"])
    assert plain.stderr.strip() == warning_of(here)
    rows = [*csv.DictReader(io.StringIO(run_script(script, str(tmp_path / "new.npy"), "--distances").stdout))]
    assert [row["outside_x"] for row in rows] == [str(value) for value in here["outside_x"]]
    np.testing.assert_allclose([float(row["q"]) for row in rows], here["q"])


def test_folds_that_select_other_columns_than_the_final_model_flag_no_more_than_it(
    store: WorkspaceStore, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    spectra = np.linspace(0, 3, 30) + 0.1 * rng.normal(size=(160, 30))
    y = spectra[:60, 3] + spectra[:60, 20] + 0.5 * rng.normal(size=60)  # Of noise, each fold likes other columns.
    (chain_id,) = trained(store, [KFold(3), SelectKBest(f_regression, k=6), Ridge()], X=spectra[:60], y=y)
    of_final = store.predict_frame(chain_id, spectra[60:])["t2", "q", "outside_envelope", "outside_x"]
    bundle = store.export_chain(chain_id, tmp_path / "chosen.n4a")
    for folds in ("mean", "0", "1"):
        for chain in (store.load_chain(chain_id, folds), load_bundle(bundle, trusted=True, folds=folds)):
            assert_frame_equal(chain.predict_frame(spectra[60:]).select(of_final.columns), of_final)
    table = pl.DataFrame(spectra[60:], schema=[f"w{place}" for place in range(30)])
    told = [store.predict_table(chain_id, table, folds=folds).warning for folds in (None, "mean")]
    assert told[0] == told[1]


def test_folds_predict_where_the_final_models_steps_are_lost_and_say_that_nothing_tells(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path / "workspace") as store:
        (chain_id,) = trained(store, [KFold(2), StandardScaler(), Ridge()])
        scaler, _ = (store.get_chain(chain_id) or {})["fold_artifacts"]["fold_final"]
        store.get_artifact_path(scaler).unlink()
        table = pl.DataFrame(X_NEW, schema=[f"w{place}" for place in range(40)])
        found = store.predict_table(chain_id, table, folds="mean")
        np.testing.assert_allclose(found.frame["predicted"], store.replay_chain(chain_id, X_NEW, folds="mean"))
        assert "not of these folds" in (found.warning or "")
