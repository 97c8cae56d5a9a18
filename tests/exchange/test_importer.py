"""Bundles from elsewhere: what is refused, what is imported, and what may be loaded of it."""

import contextlib
import io
import json
import pickle
import shutil
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import SCALER, Canary, X, Y, chain_in, counts, remade, replace_member, with_chain
from samples import all_but_few, slow
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from nirs4all_store import (
    BundleError,
    ReadOnlyError,
    TransactionAbortedError,
    UntrustedArtifactError,
    WorkspaceStore,
    inspect_bundle,
    load_bundle,
    views,
)
from nirs4all_store.artifacts.artifact_files import sha256
from nirs4all_store.exchange import bundle_reader
from nirs4all_store.exchange.bundle_loader import imports_of


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle of a scaler and two Ridge models, one of a model of skops, and what the first predicts."""
    folder = tmp_path_factory.mktemp("exported")
    scaler = StandardScaler().fit(X)
    Z = scaler.transform(X)
    with WorkspaceStore(f"memory:{folder}") as origin:
        chain_id = chain_in(origin, [Ridge(1).fit(Z, Y), Ridge(2).fit(Z, Y)], scaler)
        np.save(folder / "expected.npy", origin.replay_chain(chain_id, X))
        origin.export_chain(chain_id, folder / "ridge")
        origin.export_chain(chain_in(origin, [Ridge().fit(X, Y)], None, "skops"), folder / "skops")
    return folder


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    """A bundle of a scaler and two Ridge models, beside what it predicts."""
    shutil.copy(exported / "expected.npy", tmp_path)
    return Path(shutil.copy(exported / "ridge.n4a", tmp_path))


def test_an_imported_chain_ranks_replays_and_exports_like_any_other(tmp_path: Path, bundle: Path) -> None:
    with WorkspaceStore(tmp_path / "here") as store:
        done = store.import_bundle(bundle, trusted=True)
        assert (done.is_new, done.has_hashes) == (True, True)
        np.testing.assert_array_equal(store.replay_chain(done.chain_id, X), np.load(tmp_path / "expected.npy"))
        assert store.top_predictions(1)["chain_id"].to_list() == [done.chain_id]
        assert store.query_predictions(run_id=done.run_id).height == 2
        run = store.get_run(done.run_id)
        assert run is not None and (run["status"], run["name"]) == ("completed", "ridge")
        pipeline = store.get_pipeline(done.pipeline_id)
        assert pipeline is not None and (pipeline["best_val"], pipeline["duration_ms"]) == (0.5, 12)
        again = store.export_chain(done.chain_id, tmp_path / "again")
        script = store.export_chain(done.chain_id, tmp_path / "script", format="n4a.py")
        assert script.exists()
        assert store.delete_run(done.run_id) > 0
        assert set(counts(store).values()) == {0}
        assert not [path for path in (tmp_path / "here" / "artifacts").rglob("*") if path.is_file()]
    first, second = inspect_bundle(bundle), inspect_bundle(again)
    assert first.content_sha256 == second.content_sha256 == done.content_sha256
    assert {item.content_hash for item in first.objects} == {item.content_hash for item in second.objects}


def test_importing_twice_adds_nothing(tmp_path: Path, bundle: Path) -> None:
    with WorkspaceStore(f"memory:{tmp_path}") as store:
        first = store.import_bundle(bundle)
        before = counts(store)
        second = store.import_bundle(bundle)
        assert counts(store) == before
        assert (second.is_new, second.chain_id) == (False, first.chain_id)
        again = store.export_chain(first.chain_id, tmp_path / "again")
        assert store.import_bundle(again).is_new is False


def test_importing_again_makes_damaged_files_whole(tmp_path: Path, bundle: Path) -> None:
    with WorkspaceStore(tmp_path / "here") as store:
        store.import_bundle(bundle, trusted=True)
        for path in (tmp_path / "here" / "artifacts").rglob("*.joblib"):
            path.write_bytes(b"damaged")
        assert not store.check().is_sound
        assert not store.import_bundle(bundle).is_new
        assert store.check(deep=True).is_sound


def test_a_bundle_that_leaves_out_what_is_none_once_had_another_hash_when_exported(
    tmp_path: Path, bundle: Path
) -> None:
    def without_none(told: dict[str, Any]) -> None:
        told["predictions"] = [
            {key: value for key, value in row.items() if value is not None} for row in told["predictions"]
        ]
        for row in told["artifacts"]:  # Without it, the import once ended with a KeyError.
            del row["provenance"]

    short = with_chain(bundle, without_none)
    with WorkspaceStore(f"memory:{tmp_path}") as store:
        found = store.import_bundle(short)
        again = store.export_chain(found.chain_id, tmp_path / "again.n4a")
    assert inspect_bundle(again).content_sha256 == found.content_sha256 == inspect_bundle(bundle).content_sha256


def test_a_pipeline_that_was_deleted_from_an_imported_run_is_imported_again(tmp_path: Path, bundle: Path) -> None:
    with WorkspaceStore(f"memory:{tmp_path}") as store:
        first = store.import_bundle(bundle)
        store.delete_pipeline(first.pipeline_id)
        second = store.import_bundle(bundle, trusted=True)
        assert (second.is_new, second.run_id) == (True, first.run_id)
        np.testing.assert_array_equal(store.replay_chain(second.chain_id, X), np.load(tmp_path / "expected.npy"))


def test_an_imported_chain_is_not_loaded_until_somebody_trusts_it(tmp_path: Path, bundle: Path) -> None:
    with WorkspaceStore(tmp_path / "here") as store:
        chain_id = store.import_bundle(bundle).chain_id
        with store.unit_of_work() as uow:
            artifact_id = uow.chains.artifact_ids(chain_id)[0]
        for use in (
            lambda: store.replay_chain(chain_id, X),
            lambda: store.load_chain(chain_id),
            lambda: store.load_artifact(artifact_id),
            lambda: store.export_chain(chain_id, tmp_path / "script", format="n4a.py"),
        ):
            with pytest.raises(UntrustedArtifactError, match="trust_chain"):
                use()
        store.trust_chain(chain_id, [Ridge])
        with pytest.raises(UntrustedArtifactError, match=f"would import {SCALER}"):
            store.replay_chain(chain_id, X)
        store.trust_chain(chain_id, [Ridge, SCALER])
        np.testing.assert_array_equal(store.replay_chain(chain_id, X), np.load(tmp_path / "expected.npy"))
        with pytest.raises(UntrustedArtifactError, match="script"):
            store.export_chain(chain_id, tmp_path / "script", format="n4a.py")
        store.trust_chain(chain_id, False)
        with pytest.raises(UntrustedArtifactError):
            store.replay_chain(chain_id, X)
        store.import_bundle(bundle, trusted=True)
        store.close()
    with WorkspaceStore(tmp_path / "here") as store:
        np.testing.assert_array_equal(store.replay_chain(chain_id, X), np.load(tmp_path / "expected.npy"))


def test_an_import_that_nobody_trusts_once_was_the_best_without_a_mark(tmp_path: Path, bundle: Path) -> None:
    with WorkspaceStore(tmp_path / "here") as store:
        chain_id = store.import_bundle(bundle).chain_id
        why = "imported, and predicts only once you trust who made it: import it again with --trusted"
        assert store.untrusted_chains([chain_id, "none"]) == [chain_id]
        assert views.list_models(store, views.rank(store, 1, fold="any")).notes == [f"row 1: {why}"]
        assert views.show(store, "chains", chain_id).answer.endswith(f"; {why}")
        store.trust_chain(chain_id, True)
        assert store.untrusted_chains([chain_id]) == []
        assert views.list_models(store, views.rank(store, 1, fold="any")).notes == []


def test_trust_does_not_touch_what_the_workspace_saved_itself(tmp_path: Path) -> None:
    with WorkspaceStore(f"memory:{tmp_path}") as store:
        chain_id = chain_in(store, [Ridge().fit(X, Y)])
        expected = store.replay_chain(chain_id, X)
        imported = store.import_bundle(store.export_chain(chain_id, tmp_path / "own")).chain_id
        store.trust_chain(imported, False)
        np.testing.assert_array_equal(store.replay_chain(chain_id, X), expected)
        np.testing.assert_array_equal(store.replay_chain(imported, X), expected)


def test_what_was_imported_and_then_saved_here_is_the_workspaces_own(tmp_path: Path) -> None:
    model = Ridge().fit(X, Y)
    with WorkspaceStore(f"memory:{tmp_path} origin") as origin:
        bundle = origin.export_chain(chain_in(origin, [model]), tmp_path / "m")
    with WorkspaceStore(f"memory:{tmp_path}") as store:
        chain_id = store.import_bundle(bundle).chain_id
        store.save_artifact(model, "Model", "model", "joblib")
        assert store.replay_chain(chain_id, X).shape == (30,)


@pytest.mark.parametrize("format", ["joblib", "pickle", "cloudpickle"])
def test_nothing_of_a_canary_is_ever_unpickled(tmp_path: Path, format: str) -> None:
    canary = tmp_path / "canary"
    with WorkspaceStore(f"memory:{tmp_path} origin") as origin:
        bundle = origin.export_chain(chain_in(origin, [Canary(canary)], Canary(canary), format), tmp_path / "m")
    assert not canary.exists()
    found = inspect_bundle(bundle)
    assert all("pathlib.Path.touch" in (item.imports or []) for item in found.objects)
    with WorkspaceStore(tmp_path / "here") as store:
        for trusted in (False, [], [Ridge], ["pathlib.PosixPath"]):
            chain_id = store.import_bundle(bundle, trusted).chain_id
            with pytest.raises(UntrustedArtifactError):
                store.replay_chain(chain_id, X)
            with pytest.raises(UntrustedArtifactError):
                load_bundle(bundle, trusted=trusted)
        store.gc_artifacts(grace=timedelta(0))
    assert not canary.exists()


def test_skops_own_types_need_no_trust(tmp_path: Path) -> None:
    scaler = StandardScaler().fit(X)
    with WorkspaceStore(f"memory:{tmp_path} origin") as origin:
        chain_id = chain_in(origin, [Ridge().fit(scaler.transform(X), Y)], scaler, "skops")
        expected = origin.replay_chain(chain_id, X)
        bundle = origin.export_chain(chain_id, tmp_path / "m")
    with WorkspaceStore(f"memory:{tmp_path}") as store:
        imported = store.import_bundle(bundle).chain_id
        np.testing.assert_array_equal(store.replay_chain(imported, X), expected)
    np.testing.assert_array_equal(load_bundle(bundle).predict(X), expected)
    assert [item.imports for item in inspect_bundle(bundle).objects] == [[], []]


def raw_bundle(path: Path, infos: list[tuple[zipfile.ZipInfo, bytes]]) -> Path:
    """Add members to a copy of a bundle that only a hostile program would write."""
    target = path.with_name("hostile.n4a")
    target.write_bytes(path.read_bytes())
    with zipfile.ZipFile(target, "a") as archive, pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **options: None)  # zipfile warns of a duplicate.
        for info, content in infos:
            archive.writestr(info, content)
    return target


def link(name: str) -> zipfile.ZipInfo:
    """Describe a symbolic link."""
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def test_members_that_a_bundle_has_not_are_refused(tmp_path: Path, bundle: Path) -> None:
    names = [
        "../evil",
        "/etc/evil",
        "C:\\evil",
        "C:evil",
        "artifacts/../../evil",
        "artifacts/a/b",
        "artifacts/.hidden",
        "artifacts\\evil",
        "MANIFEST.JSON",
        "chain.json",
        "extra.txt",
        "artifacts/",
        "artifacts/évil",
        "artifacts/" + "x" * 300,
        "artifacts/stray.joblib",
    ]
    hostile = [(zipfile.ZipInfo(name), b"x") for name in names] + [(link("artifacts/link.joblib"), b"/etc/passwd")]
    with WorkspaceStore(tmp_path / "here") as store:
        for member in hostile:
            with pytest.raises(BundleError):
                store.import_bundle(raw_bundle(bundle, [member]), trusted=True)
        assert set(counts(store).values()) == {0}
        assert [*(tmp_path / "here" / "artifacts").iterdir()] == []


ODD_MEMBERS = {
    "a link": (link("artifacts/link.joblib"), "is a link or no file"),
    "a name that leads out": (zipfile.ZipInfo("../evil"), "which a bundle has not"),
    "a name that is there": (zipfile.ZipInfo("chain.json"), "several members named 'chain.json'"),
    "one that nobody names": (zipfile.ZipInfo("artifacts/stray.joblib"), "not those that its manifest names"),
}


@pytest.mark.parametrize("case", ODD_MEMBERS)
def test_an_odd_member_is_told_from_damage(bundle: Path, case: str) -> None:
    info, why = ODD_MEMBERS[case]
    with pytest.raises(BundleError, match=why):
        inspect_bundle(raw_bundle(bundle, [(info, b"x")]))


def test_a_manifest_that_says_another_size_than_it_has_was_read(tmp_path: Path, bundle: Path) -> None:
    content = bytearray(bundle.read_bytes())
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = struct.pack("<L", 10**6)
    (tmp_path / "changed.n4a").write_bytes(content)
    with pytest.raises(BundleError, match=r"'manifest\.json' has \d+ bytes and says 1000000"):
        inspect_bundle(tmp_path / "changed.n4a")


def test_members_share_what_a_bundle_may_expand_to(bundle: Path) -> None:
    big = raw_bundle(bundle, [])
    with zipfile.ZipFile(big, "a", zipfile.ZIP_DEFLATED) as archive:
        for name in ("artifacts/one.joblib", "artifacts/two.joblib"):
            archive.writestr(name, bytes(40 * 2**20))
    with pytest.raises(BundleError, match="expands"):
        inspect_bundle(big)


def test_an_encrypted_member_and_a_lying_size_are_refused(tmp_path: Path, bundle: Path) -> None:
    content = bytearray(bundle.read_bytes())
    central = content.rindex(b"PK\x01\x02")
    for at, value in ((central + 8, b"\x01\x00"), (central + 24, struct.pack("<L", 5)), (central + 10, b"\x0e\x00")):
        changed = content.copy()
        changed[at : at + len(value)] = value
        (tmp_path / "changed.n4a").write_bytes(changed)
        with pytest.raises(BundleError):
            inspect_bundle(tmp_path / "changed.n4a")


def test_a_bomb_is_refused_while_it_is_read(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    big = raw_bundle(bundle, [(zipfile.ZipInfo("artifacts/bomb.joblib"), b"")])
    with zipfile.ZipFile(big, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("artifacts/bomb2.joblib", bytes(70 * 2**20))
    with pytest.raises(BundleError, match="expands"):
        inspect_bundle(big)
    monkeypatch.setattr(bundle_reader, "MAX_MEMBERS", 3)
    with pytest.raises(BundleError, match="members"):
        inspect_bundle(bundle)


def test_json_that_is_not_plain_is_refused(tmp_path: Path, bundle: Path) -> None:
    for text in (
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"chain": 1, "chain": 2}',
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"chain": {}, "artifacts": [], "x": ' + b"9" * 5000 + b"}",
    ):
        for name, fix in (("chain.json", True), ("manifest.json", False)):
            with pytest.raises(BundleError):
                inspect_bundle(remade(bundle, partial(replace_member, name=name, content=text), fix=fix))


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told["artifacts"][0].update(content_hash="0" * 64),
        lambda told: told["artifacts"][0].update(member="manifest.json"),
        lambda told: told["artifacts"][0].update(member="/etc/passwd"),
        lambda told: told["artifacts"][0].update(format="yaml"),
        lambda told: told["artifacts"][0].update(provenance=[1]),
        lambda told: told["artifacts"][0].update(operator_class={"a": 1}),
        lambda told: told["artifacts"].append(told["artifacts"][0]),
        lambda told: told["artifacts"].pop(),
        lambda told: told["chain"].update(fold_artifacts={"0": "other"}),
        lambda told: told["chain"].update(steps="no"),
        lambda told: told["chain"].update(steps=[{}]),
        lambda told: told["chain"].update(model_step_idx="x"),
        lambda told: told["chain"].update(model_class=None),
        lambda told: told["chain"].update(model_class="a\0b"),
        lambda told: told["chain"].update(branch_path={"a": 1}, source_index="x"),
        lambda told: told["pipeline"].update(name=7),
        lambda told: told["pipeline"].update(pipeline_id="mine"),
        lambda told: told["pipeline"].update(dataset_hash=[1]),
        lambda told: told.update(pipeline=[1]),
        lambda told: told.update(predictions={"a": 1}),
        lambda told: told["predictions"][0].update(prediction_id="mine"),
        lambda told: told["predictions"][0].update(val_score="high"),
        lambda told: told["predictions"][0].pop("metric"),
        lambda told: told["predictions"].append(3),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused_and_nothing_of_it_is_kept(
    tmp_path: Path, bundle: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    changed = with_chain(bundle, change)
    with WorkspaceStore(tmp_path / "here") as store:
        with pytest.raises(BundleError):
            store.import_bundle(changed, trusted=True)
        assert set(counts(store).values()) == {0}
        assert [*(tmp_path / "here" / "artifacts").iterdir()] == []
        with contextlib.suppress(TransactionAbortedError), store.transaction(), pytest.raises(BundleError):
            store.import_bundle(changed, trusted=True)
        assert set(counts(store).values()) == {0}


def test_an_object_that_its_chain_does_not_name_was_imported(tmp_path: Path, bundle: Path) -> None:
    changed = with_chain(bundle, lambda told: told["chain"]["fold_artifacts"].popitem())
    with WorkspaceStore(f"memory:{tmp_path}") as store:
        with pytest.raises(BundleError, match="artifacts that its chain does not name"):
            store.import_bundle(changed)
        assert set(counts(store).values()) == {0}


def test_each_member_must_have_the_hash_of_the_manifest(tmp_path: Path, bundle: Path) -> None:
    def rename(members: dict[str, bytes]) -> None:
        members["chain.json"] = members["chain.json"].replace(b'"operator_class": "Scaler"', b'"operator_class": "Cat"')

    inspect_bundle(remade(bundle, rename))
    with WorkspaceStore(f"memory:{tmp_path}") as store, pytest.raises(BundleError, match=r"damaged.*chain\.json"):
        store.import_bundle(remade(bundle, rename, fix=False))


def test_a_bundle_never_says_itself_that_it_is_trusted(tmp_path: Path, bundle: Path) -> None:
    def claim(told: dict[str, Any], **values: Any) -> None:
        for row in told["artifacts"]:
            row |= values

    with WorkspaceStore(f"memory:{tmp_path}") as store:
        for told in (partial(claim, trust=True), partial(claim, provenance={"trust": True, "trusted": True})):
            with pytest.raises(BundleError):
                store.import_bundle(with_chain(bundle, told))
        told = partial(claim, provenance={"packages": {"trust": "True", "trusted": "True"}})
        chain_id = store.import_bundle(with_chain(bundle, told)).chain_id
        with pytest.raises(UntrustedArtifactError):
            store.replay_chain(chain_id, X)


def test_a_reader_imports_nothing(tmp_path: Path, bundle: Path) -> None:
    WorkspaceStore(tmp_path / "here").close()
    with WorkspaceStore(tmp_path / "here", read_only=True) as store, pytest.raises(ReadOnlyError):
        store.import_bundle(bundle)


def old_bundle(path: Path, folds: dict[str, Any], scaler: Any, **manifest: Any) -> Path:
    """Write what nirs4all 0.7's `export_chain` writes."""
    models = {fold: pickle.dumps(model) for fold, model in folds.items()}
    shared = pickle.dumps(scaler)
    steps = [
        {
            "step_idx": 1,
            "operator_class": "StandardScaler",
            "params": {},
            "artifact_ids": ["c$s:all"],
            "stateless": False,
        },
        {"step_idx": 2, "operator_class": "KFold", "params": {}, "artifact_ids": [], "stateless": True},
        {
            "step_idx": 3,
            "operator_class": "PLSRegression",
            "params": {},
            "artifact_ids": ["c$other:0"],
            "stateless": False,
        },
        {
            "step_idx": 4,
            "operator_class": "Ridge",
            "params": {},
            "artifact_ids": [f"c$m:{fold}" for fold in folds],
            "stateless": False,
        },
    ]
    told = {
        "steps": steps,
        "model_step_idx": 4,
        "fold_artifacts": {fold: f"c$m:{fold}" for fold in folds},
        "shared_artifacts": {"1": ["c$s:all"]},
    }
    about = {
        "chain_id": "old",
        "model_class": "Ridge",
        "model_step_index": 4,
        "preprocessings": "SS",
        "fold_strategy": "per_fold",
        "has_refit": False,
        "exported_at": "2026-01-01T00:00:00",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps(about | manifest))
        archive.writestr("chain.json", json.dumps(told))
        archive.writestr(f"artifacts/transformer_StandardScaler_{sha256(shared)[:12]}.pkl", shared)
        for content in models.values():
            archive.writestr(f"artifacts/model_Ridge_{sha256(content)[:12]}.pkl", content)
    return path


def test_a_bundle_of_nirs4alls_own_store_is_read_and_said_to_have_no_hashes(tmp_path: Path) -> None:
    scaler = StandardScaler().fit(X)
    models = {f"fold_{i}": Ridge(alpha=i).fit(scaler.transform(X), Y) for i in range(1, 4)}
    path = old_bundle(tmp_path / "old.n4a", models, scaler)
    expected = np.mean([model.predict(scaler.transform(X)) for model in models.values()], axis=0)
    assert inspect_bundle(path).has_hashes is False
    np.testing.assert_allclose(load_bundle(path, trusted=True).predict(X), expected, rtol=1e-12)
    with WorkspaceStore(f"memory:{tmp_path}") as store:
        done = store.import_bundle(path, trusted=[Ridge, StandardScaler])
        assert (done.has_hashes, done.is_new) == (False, True)
        np.testing.assert_allclose(store.replay_chain(done.chain_id, X), expected, rtol=1e-12)
        assert store.import_bundle(path).is_new is False


def test_an_old_bundle_that_does_not_tell_which_file_is_whose_is_refused(tmp_path: Path) -> None:
    scaler = StandardScaler().fit(X)
    model = Ridge().fit(X, Y)
    twice = {"fold_0": model, "fold_1": Ridge(2).fit(X, Y)}
    path = old_bundle(tmp_path / "old.n4a", twice, scaler)

    def drop(members: dict[str, bytes]) -> None:
        del members[next(name for name in members if "Ridge" in name)]

    with pytest.raises(BundleError, match="does not tell"):
        inspect_bundle(remade(path, drop, fix=False))

    def flip(members: dict[str, bytes]) -> None:
        name = next(name for name in members if "Ridge" in name)
        members[name] = members[name][:-1] + b"x"

    with pytest.raises(BundleError, match="damaged"):
        inspect_bundle(remade(path, flip, fix=False))


def test_a_damaged_fold_says_which_and_what_the_others_would_do(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path / "here") as store:
        chain_id = chain_in(store, [Ridge(i).fit(X, Y) for i in (1, 2, 3)])
        other = chain_in(store, [Ridge(9).fit(X, Y)])
        chain = store.get_chain(chain_id)
        assert chain is not None
        store.get_artifact_path(chain["fold_artifacts"]["1"]).write_bytes(b"x")
        for use in (lambda: store.replay_chain(chain_id, X), lambda: store.load_chain(chain_id)):
            with pytest.raises(Exception, match=r"of fold 1, .*damaged.*these folds would still predict: 0, 2"):
                use()
        store.get_artifact_path(chain["fold_artifacts"]["0"]).unlink()
        store.get_artifact_path(chain["fold_artifacts"]["2"]).unlink()
        with pytest.raises(Exception, match=r"of fold 0, .*of fold 2, .*no fold predicts"):
            store.load_chain(chain_id)
        assert store.replay_chain(other, X).shape == (30,)


def other_bundle(tmp_path: Path) -> Path:
    """A bundle that shares its scaler with the other one."""
    scaler = StandardScaler().fit(X)
    with WorkspaceStore(f"memory:{tmp_path} other") as origin:
        return origin.export_chain(chain_in(origin, [Ridge(3).fit(scaler.transform(X), Y)], scaler), tmp_path / "other")


@pytest.mark.parametrize("again", ["the same bundle", "another with the same scaler"])
def test_importing_once_lowered_trust_that_was_given_before(tmp_path: Path, bundle: Path, again: str) -> None:
    second = bundle if again == "the same bundle" else other_bundle(tmp_path)
    with WorkspaceStore(tmp_path / "here") as store:
        chain_id = store.import_bundle(bundle, trusted=True).chain_id
        for trusted in ([Ridge], False, []):
            store.import_bundle(second, trusted=trusted)
            np.testing.assert_array_equal(store.replay_chain(chain_id, X), np.load(tmp_path / "expected.npy"))
    with WorkspaceStore(tmp_path / "here") as store:
        np.testing.assert_array_equal(store.replay_chain(chain_id, X), np.load(tmp_path / "expected.npy"))


def test_lists_of_several_imports_are_joined(tmp_path: Path, bundle: Path) -> None:
    with WorkspaceStore(f"memory:{tmp_path}") as store:
        store.import_bundle(bundle, trusted=[Ridge])
        chain_id = store.import_bundle(bundle, trusted=[SCALER]).chain_id
        np.testing.assert_array_equal(store.replay_chain(chain_id, X), np.load(tmp_path / "expected.npy"))
        store.trust_chain(chain_id, [Ridge])  # This is how to say less.
        with pytest.raises(UntrustedArtifactError):
            store.replay_chain(chain_id, X)


def test_adopting_an_imported_file_was_once_a_way_to_unpickle_it(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with WorkspaceStore(f"memory:{tmp_path} origin") as origin:
        bundle = origin.export_chain(chain_in(origin, [Canary(canary)], format="pickle"), tmp_path / "m")
    with WorkspaceStore(f"memory:{tmp_path}") as store:
        store.import_bundle(bundle)
        (row,) = store.sql("FROM artifacts").to_dicts()
        for number, format in enumerate(("pickle", "joblib", "cloudpickle")):
            adopted = store.register_existing_artifact(
                f"mine {number}", row["artifact_path"], row["content_hash"], "M", "model", format, None
            )
            with pytest.raises(UntrustedArtifactError):
                store.load_artifact(adopted)
    assert not canary.exists()


def test_a_chain_of_the_users_own_was_once_taken_for_the_bundles(tmp_path: Path, bundle: Path) -> None:
    with WorkspaceStore(f"memory:{tmp_path}") as store:
        first = store.import_bundle(bundle, trusted=True)
        pipeline_id = store.begin_pipeline(first.run_id, "mine")
        steps = [{"step_idx": 0, "operator_class": "Ridge", "params": {}, "artifact_id": None, "stateless": False}]
        model = store.save_artifact(Ridge(9).fit(X, Y), "Ridge", "model")
        own = store.save_chain(pipeline_id, steps, 0, "Ridge", fold_artifacts={"0": model})
        assert store.import_bundle(bundle).chain_id == first.chain_id
        store.delete_pipeline(first.pipeline_id)
        again = store.import_bundle(bundle, trusted=True)
        assert again.is_new and again.chain_id != own
        np.testing.assert_array_equal(store.replay_chain(again.chain_id, X), np.load(tmp_path / "expected.npy"))


LOST = [
    "DELETE FROM runs",
    "DELETE FROM pipelines",
    "DELETE FROM chains",
    "DELETE FROM artifacts",
    "UPDATE chains SET steps = '[]'",
    f"UPDATE chains SET steps = '{'[' * 3000 + ']' * 3000}'",
    "UPDATE chains SET fold_artifacts = '{}'",
    "UPDATE chains SET shared_artifacts = 'true'",
    "UPDATE chains SET attachments = 'true'",
    "UPDATE chains SET predict_fold = 'gone'",
    "UPDATE artifacts SET content_hash = 'zz'",
    "UPDATE artifacts SET format = 'exe'",
]
FEW_LOST = (
    "DELETE FROM runs",
    "DELETE FROM artifacts",
    "UPDATE chains SET steps = '[]'",
    "UPDATE chains SET shared_artifacts = 'true'",
    "UPDATE artifacts SET content_hash = 'zz'",
)


@pytest.mark.parametrize("statement", all_but_few(LOST, FEW_LOST))
def test_rows_of_an_import_that_were_lost_once_gave_ids_that_are_not_there(
    tmp_path: Path, bundle: Path, statement: str
) -> None:
    with WorkspaceStore(f"memory:{tmp_path}") as store:
        store.import_bundle(bundle, trusted=True)
        with store.unit_of_work() as uow:
            uow.session.connection().exec_driver_sql(statement)
            uow.commit()
        found = store.import_bundle(bundle, trusted=True)
        run, pipeline = store.get_run(found.run_id), store.get_pipeline(found.pipeline_id)
        assert run is not None and pipeline is not None and pipeline["run_id"] == found.run_id
        np.testing.assert_array_equal(store.replay_chain(found.chain_id, X), np.load(tmp_path / "expected.npy"))
        assert store.import_bundle(bundle).chain_id == found.chain_id
        assert store.import_bundle(bundle).is_new is False


def test_a_number_that_is_written_otherwise_is_the_same_chain(tmp_path: Path, bundle: Path) -> None:
    def as_floats(told: dict[str, Any]) -> None:
        told["chain"]["model_step_idx"] = 1.0
        told["chain"]["steps"][0]["params"] = {"nan": float("nan"), "inf": float("inf")}

    changed = with_chain(bundle, as_floats)
    with WorkspaceStore(f"memory:{tmp_path}") as store:
        chain_id = store.import_bundle(changed).chain_id
        assert store.import_bundle(changed).chain_id == chain_id


def test_a_path_that_leads_out_is_no_reason_for_another_kind_of_error(tmp_path: Path, bundle: Path) -> None:
    with WorkspaceStore(tmp_path / "here") as store:
        store.import_bundle(bundle)
        with store.unit_of_work() as uow:
            uow.session.connection().exec_driver_sql("UPDATE artifacts SET artifact_path = '../x'")
            uow.commit()
        with pytest.raises(BundleError, match=r"\.\./x.*nothing was imported"):
            store.import_bundle(bundle)


def zipped(members: dict[str, int]) -> bytes:
    """Return a ZIP of members full of blanks, by name and size."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, size in members.items():
            archive.writestr(name, b" " * size)
    return buffer.getvalue()


def test_an_object_of_skops_that_is_another_zip_ended_a_look_into_its_bundle() -> None:
    imports, problem = imports_of("skops", zipped({"another": 1}))
    assert imports is None
    assert "schema.json" in str(problem)


INNER: dict[str, tuple[Callable[[], bytes], str]] = {
    "bomb": (lambda: zipped({"schema.json": 100_000_000}), "expands to more"),
    "bomb of small members": (lambda: zipped({f"{i}.npy": 1_000_000 for i in range(100)}), "expands to more"),
    "many members": (lambda: zipped({f"{i}.npy": 0 for i in range(10_001)}), "10001 members"),
    "no ZIP": (lambda: b"PK", "cannot be read"),
}


@pytest.mark.parametrize(
    ("ending", "case"),
    [
        (ending, case) if (ending, case) == (".skops", "many members") else slow(ending, case)
        for ending in (".skops", ".joblib")
        for case in INNER
    ],
)
def test_an_object_of_skops_was_once_a_bomb_that_nobody_defused(
    tmp_path: Path, exported: Path, ending: str, case: str
) -> None:
    make, why = INNER[case]
    content = make()
    bundle = Path(shutil.copy(exported / "skops.n4a", tmp_path))

    def change(members: dict[str, bytes]) -> None:
        told = json.loads(members["chain.json"])
        row = told["artifacts"][0]
        del members[row["member"]]
        row.update(content_hash=sha256(content), size_bytes=len(content), member=f"artifacts/{sha256(content)}{ending}")
        members[row["member"]] = content
        members["chain.json"] = json.dumps(told).encode()

    hostile = remade(bundle, change)
    tracemalloc.start()
    with WorkspaceStore(f"memory:{tmp_path}") as store:
        for use in (inspect_bundle, load_bundle, partial(load_bundle, trusted=True), store.import_bundle):
            with pytest.raises(BundleError, match=why):
                use(hostile)
        assert set(counts(store).values()) == {0}
    assert tracemalloc.get_traced_memory()[1] < 200_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    "provenance",
    [
        {"packages": {"numpy": float("nan")}},
        {"packages": {"numpy": ["2"]}},
        {"packages": ["numpy"]},
        {"python": 3},
        {"more": "x"},
        ["numpy"],
        "numpy",
    ],
    ids=str,
)
def test_a_version_that_is_no_text_once_broke_the_script_of_an_imported_chain(
    tmp_path: Path, bundle: Path, provenance: Any
) -> None:
    changed = with_chain(bundle, lambda told: told["artifacts"][0].update(provenance=provenance))
    with pytest.raises(BundleError, match="provenance"):
        inspect_bundle(changed)


@pytest.mark.parametrize("where", ["chain", "artifacts", "pipeline", "predictions", None])
def test_what_a_bundle_does_not_tell_was_once_passed_over_in_some_places(
    tmp_path: Path, bundle: Path, where: str | None
) -> None:
    def change(told: dict[str, Any]) -> None:
        place = told if where is None else told[where]
        (place[0] if isinstance(place, list) else place)["more"] = 1

    with pytest.raises(BundleError, match="where only"):
        inspect_bundle(with_chain(bundle, change))

    def change_manifest(members: dict[str, bytes]) -> None:
        members["manifest.json"] = json.dumps(json.loads(members["manifest.json"]) | {"more": 1}).encode()

    with pytest.raises(BundleError, match="where only"):
        inspect_bundle(remade(bundle, change_manifest))
