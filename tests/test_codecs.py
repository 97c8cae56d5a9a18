import sys

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nirs4all_store import ArtifactLoadError, InvalidInputError
from nirs4all_store.codecs import CODECS, dump, load, versions_of

X = np.random.default_rng(0).normal(size=(20, 4))
MODEL = make_pipeline(StandardScaler(), Ridge()).fit(X, X[:, 0])


@pytest.mark.parametrize("format", CODECS)
def test_a_fitted_object_comes_back(format: str) -> None:
    loaded = load(dump(MODEL, format), format, None)
    np.testing.assert_array_equal(loaded.predict(X), MODEL.predict(X))


@pytest.mark.parametrize("format", ["joblib", "pickle", "cloudpickle"])
def test_the_same_object_gives_the_same_bytes(format: str) -> None:
    assert dump(MODEL, format) == dump(MODEL, format)


def test_only_cloudpickle_takes_a_lambda_and_the_others_say_so() -> None:
    assert load(dump(lambda: 7, "cloudpickle"), "cloudpickle", None)() == 7
    for format in ("joblib", "pickle"):
        with pytest.raises(InvalidInputError, match="format='cloudpickle'"):
            dump(lambda: 7, format)
    with pytest.raises(InvalidInputError, match="joblib, pickle, cloudpickle, skops"):
        dump(1, "onnx")


@pytest.mark.parametrize("format", CODECS)
def test_cut_bytes_are_an_error_that_tells_the_versions_then_and_now(format: str) -> None:
    content = dump(MODEL, format)
    with pytest.raises(ArtifactLoadError, match=r"sklearn.*0\.1.*here are"):
        load(content[: len(content) // 2], format, {"packages": {"sklearn": "0.1"}})


def test_a_missing_package_is_named(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "vanishing_package.py").write_text("class Thing: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import vanishing_package  # type: ignore[import-not-found]

    content = dump(vanishing_package.Thing(), "pickle")
    monkeypatch.undo()
    del sys.modules["vanishing_package"]
    with pytest.raises(ArtifactLoadError, match="'vanishing_package', which is not installed"):
        load(content, "pickle", None)


def test_versions_name_the_packages_inside_and_the_formats_own() -> None:
    from chemotools.scatter import StandardNormalVariate

    packages = versions_of(make_pipeline(StandardNormalVariate(), Ridge()), "joblib")["packages"]
    assert {"chemotools", "joblib", "numpy", "sklearn"} <= set(packages)
    assert "pickle" not in versions_of(MODEL, "pickle")["packages"]
