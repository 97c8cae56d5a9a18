import io
import platform
import sys
import tomllib
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn
from formats import OF_OBJECTS
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nirs4all_store import ArtifactLoadError, InvalidInputError, UntrustedArtifactError
from nirs4all_store.artifacts.codecs import CODECS, codec, dump, load, versions_of

X = np.random.default_rng(0).normal(size=(20, 4))
MODEL = make_pipeline(StandardScaler(), Ridge()).fit(X, X[:, 0])


@pytest.mark.parametrize("format", OF_OBJECTS)
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


@pytest.mark.parametrize("format", OF_OBJECTS)
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
    with pytest.raises(ArtifactLoadError, match=r"'vanishing_package', which is not installed; .*unknown versions"):
        load(content, "pickle", None)
    then = {"packages": {"vanishing_package": "1.2", "numpy": "0.1"}}
    with pytest.raises(ArtifactLoadError) as caught:
        load(content, "pickle", then)
    told = f"saved with {then['packages']}, here are {{'vanishing_package': None, 'numpy': '{np.__version__}'}}"
    assert told in str(caught.value)  # Once these were told of every other failure, and not of this one.


def test_no_skops_is_allowed_whose_check_of_types_can_be_got_round() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["skops"] == ["skops>=0.13"]


def test_versions_name_the_packages_inside_and_the_formats_own() -> None:
    from chemotools.scatter import StandardNormalVariate

    packages = versions_of(make_pipeline(StandardNormalVariate(), Ridge()), "joblib")["packages"]
    assert packages["chemotools"] == version("chemotools"), "a package that does not tell its version had none"
    assert {"chemotools", "joblib", "numpy", "sklearn"} <= set(packages)
    assert "pickle" not in versions_of(MODEL, "pickle")["packages"]


@pytest.mark.parametrize("format", OF_OBJECTS)
@pytest.mark.parametrize(
    "fitted",
    [
        StandardScaler().fit(X),
        PLSRegression(2).fit(X, X[:, :2]),
        RandomForestClassifier(3, random_state=0).fit(X, np.where(X[:, 0] > 0, "high", "low")),
    ],
    ids=lambda fitted: type(fitted).__name__,
)
def test_every_format_gives_back_the_class_and_what_it_computes(format: str, fitted: Any) -> None:
    loaded = load(dump(fitted, format), format, versions_of(fitted, format))
    assert type(loaded) is type(fitted)
    compute = "predict" if hasattr(fitted, "predict") else "transform"
    np.testing.assert_array_equal(getattr(loaded, compute)(X), getattr(fitted, compute)(X))


def test_each_format_has_an_extension_of_its_own() -> None:
    assert list(CODECS) == ["joblib", "pickle", "cloudpickle", "skops", "npz", "parquet"]
    extensions = {codec(format).extension for format in CODECS}
    assert len(extensions) == 6
    assert all(extension.startswith(".") for extension in extensions)


@pytest.mark.parametrize("format", ["onnx", "", "JOBLIB", None])
def test_an_unknown_format_is_refused_and_the_known_ones_are_listed(format: Any) -> None:
    for call in (codec, lambda format: dump(1, format)):
        with pytest.raises(InvalidInputError, match="use one of joblib, pickle, cloudpickle, skops, npz"):
            call(format)


@pytest.mark.parametrize("format", OF_OBJECTS)
def test_an_object_that_cannot_be_saved_is_refused_with_its_type(format: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"type generator cannot be saved as {format}"):
        dump((i for i in range(3)), format)


class Refuses:
    def __reduce__(self) -> str:
        raise ZeroDivisionError("no way")


@pytest.mark.parametrize("format", OF_OBJECTS)
def test_an_error_of_the_objects_own_hook_is_told(format: str) -> None:
    with pytest.raises(InvalidInputError, match="type Refuses cannot be saved"):
        dump(Refuses(), format)


@pytest.mark.parametrize("format", OF_OBJECTS)
@pytest.mark.parametrize("content", [b"", b"\x80", b"no fitted object", b"PK\x03\x04"])
def test_bytes_that_are_no_object_are_an_error_that_names_the_format(format: str, content: bytes) -> None:
    with pytest.raises(ArtifactLoadError, match=rf"(?s)its {format} bytes cannot be read back.*unknown versions"):
        load(content, format, None)


@pytest.mark.parametrize("format", ["pickle", "cloudpickle"])
def test_bytes_cut_anywhere_are_an_error(format: str) -> None:
    content = dump(StandardScaler().fit(X), format)
    for length in range(0, len(content), 7):
        with pytest.raises(ArtifactLoadError):
            load(content[:length], format, None)


@pytest.mark.parametrize("format", OF_OBJECTS)
def test_cut_bytes_are_told_with_the_versions_that_are_here(format: str) -> None:
    content = dump(MODEL, format)
    with pytest.raises(ArtifactLoadError) as caught:
        load(content[:-20], format, versions_of(MODEL, format))
    assert f"'sklearn': '{sklearn.__version__}'" in str(caught.value)
    assert f"'numpy': '{np.__version__}'" in str(caught.value)


@pytest.mark.parametrize("module", [b"no_such_package", b"no_such_package.inner.module"])
def test_a_package_that_is_not_installed_is_named_without_its_modules(module: bytes) -> None:
    with pytest.raises(ArtifactLoadError, match="needs the package 'no_such_package', which is not installed"):
        load(b"c" + module + b"\nThing\n.", "pickle", None)


@pytest.mark.parametrize("name", [b"no_such_module\nThing", b"linear_model\nNoSuchClass"])
def test_what_another_version_of_an_installed_package_lacks_is_told_with_the_versions(name: bytes) -> None:
    with pytest.raises(ArtifactLoadError, match=r"'sklearn': '0\.1'.*here are.*install the versions of then") as caught:
        load(b"csklearn." + name + b"\n.", "pickle", {"packages": {"sklearn": "0.1"}})
    assert "not installed" not in str(caught.value)


@pytest.mark.parametrize("format", OF_OBJECTS)
def test_versions_name_python_scikit_learn_and_the_format(format: str) -> None:
    dump(MODEL, format)
    versions = versions_of(MODEL, format)
    assert versions["python"] == platform.python_version()
    assert versions["packages"]["sklearn"] == sklearn.__version__
    assert versions["packages"]["numpy"] == np.__version__
    assert format == "pickle" or versions["packages"][format]


def test_versions_are_found_in_lists_dicts_and_objects_that_hold_each_other() -> None:
    first: dict[str, Any] = {"models": [(Ridge(),)]}
    first["me"] = first
    assert "sklearn" in versions_of(first, "pickle")["packages"]
    assert set(versions_of({"a": 1}, "pickle")["packages"]) == {"numpy"}
    assert "sklearn" in versions_of(Ridge, "pickle")["packages"]


@pytest.mark.parametrize("format", OF_OBJECTS)
def test_saving_and_loading_warn_of_nothing(format: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(dump(MODEL, format), format, None)


def test_a_type_of_skops_that_nobody_named_was_an_error_of_skops() -> None:
    content = dump(Refuses, "skops")
    with pytest.raises(UntrustedArtifactError, match=r"it is made of .*Refuses"):
        load(content, "skops", None, [])


@pytest.mark.parametrize("made_with", [{"packages": ["numpy"]}, {"packages": "numpy"}, ["numpy"], "numpy", 3], ids=str)
def test_a_damaged_row_of_versions_ended_a_message(made_with: Any) -> None:
    with pytest.raises(ArtifactLoadError, match="saved with unknown versions"):
        load(b"no pickle", "pickle", made_with)


def test_arrays_come_back_without_any_trust_and_import_nothing() -> None:
    arrays = {"loadings": np.asfortranarray(X), "limits": np.float32([1, 2])}
    content = dump(arrays, "npz")
    loaded = load(content, "npz", None, [])
    assert list(loaded) == ["loadings", "limits"]
    assert all(np.array_equal(loaded[name], arrays[name]) for name in arrays)
    assert loaded["limits"].dtype == np.float32
    assert CODECS["npz"].names(content) == []
    assert set(versions_of(arrays, "npz")["packages"]) == {"numpy"}
    assert dump({"loadings": X.copy(), "limits": arrays["limits"].copy()}, "npz") == content


def test_an_array_of_objects_would_be_a_pickle_and_is_neither_saved_nor_loaded() -> None:
    with pytest.raises(InvalidInputError, match="cannot be saved as npz"):
        dump({"a": np.array([print])}, "npz")
    with pytest.raises(InvalidInputError, match="type Pipeline cannot be saved as npz"):
        dump(MODEL, "npz")
    stream = io.BytesIO()
    np.savez(stream, a=np.array([print]))
    with pytest.raises(ArtifactLoadError, match="allow_pickle=False"):
        load(stream.getvalue(), "npz", None)


def test_compressed_arrays_of_which_few_bytes_stand_for_very_many_are_not_loaded() -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, a=np.zeros(1_000_000))
    with pytest.raises(ArtifactLoadError, match="is compressed"):
        load(stream.getvalue(), "npz", None)


@pytest.mark.parametrize("content", [b"", b"no arrays", b"PK\x03\x04", dump({"a": X}, "npz")[:-20]])
def test_bytes_that_are_no_arrays_are_an_error(content: bytes) -> None:
    with pytest.raises(ArtifactLoadError, match="its npz bytes cannot be read back"):
        load(content, "npz", None)


def test_a_frame_comes_back_from_parquet_and_nothing_of_it_is_run() -> None:
    frame = pl.DataFrame({"sample": ["a", None], "weight": [0.1, np.nan], "1100": np.float32([1, 2])})
    content = dump(frame, "parquet")
    assert content == dump(frame, "parquet")
    assert load(content, "parquet", None).equals(frame)
    assert load(content, "parquet", None, ["polars.DataFrame"]).equals(frame)
    with pytest.raises(UntrustedArtifactError):
        load(content, "parquet", None, [])
    assert "parquet" not in versions_of(frame, "parquet")["packages"]
    with pytest.raises(ArtifactLoadError, match="parquet bytes cannot be read back"):
        load(content[:-9], "parquet", None)
