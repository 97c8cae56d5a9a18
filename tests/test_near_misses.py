"""Names that were mistyped: each message says what does not exist, and which name was probably meant."""

import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sklearn.linear_model import Ridge
from typer.testing import CliRunner

from nirs4all_store import InvalidInputError, load_bundle
from nirs4all_store.cli import app
from nirs4all_store.datasets import read_dataset
from nirs4all_store.training import near_names, pipelines_of
from nirs4all_store.validation import did_you_mean, nearest

PLS = "sklearn.cross_decomposition.PLSRegression"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with spectra and a configuration in it, in which one works."""
    monkeypatch.chdir(tmp_path)
    spectra = {f"{1100 + 2 * place}.0 nm": [1.0 + place, 2.0, 3.0] for place in range(30)}
    pl.DataFrame({"sample": ["a", "b", "c"], **spectra, "glucose": [1.0, 2.0, 3.0]}).write_csv("glucose.csv")
    Path("pls.yaml").write_text("- class: sklearn.linear_model.Ridge\n")
    return tmp_path


def test_a_name_is_near_by_its_characters_and_whatever_its_capitals() -> None:
    assert nearest("glucos", ["sample", "glucose", "1100.0"]) == ["glucose"]
    assert nearest("PLS", ["ridge", "pls"]) == ["pls"]
    assert nearest("pls", ["pls"]) == [], "a name that is there is no suggestion for itself"
    assert did_you_mean("sort", ["json"]) == ""
    assert did_you_mean("_ro_", ["_or_", "_range_"]) == "; did you mean '_or_'?"
    assert did_you_mean("ab_", ["ab1", "ab2"]) in ("", "; did you mean 'ab1' or 'ab2'?")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sklearn.preprocessing.StandardScalar", "StandardScalar; did you mean sklearn.preprocessing.StandardScaler?"),
        ("StandardScalar", "there is no class StandardScalar; did you mean sklearn.preprocessing.StandardScaler?"),
        ("StandardScaler", "there is no class StandardScaler; did you mean sklearn.preprocessing.StandardScaler?"),
        ("sklearn.preprocesing.StandardScaler", "did you mean sklearn.preprocessing.StandardScaler?"),
        ("sklearn.Ridge", "did you mean sklearn.linear_model.Ridge?"),
        ("KFlod", "did you mean sklearn.model_selection.KFold?"),
        ("chemotools.scatter.StandardNormalVariat", "did you mean chemotools.scatter.StandardNormalVariate"),
        ("chemotools.scater.StandardNormalVariate", "did you mean chemotools.scatter.StandardNormalVariate?"),
        ("chemotool.scatter.StandardNormalVariate", "did you mean chemotools.scatter.StandardNormalVariate?"),
        ("SNV", "there is no class SNV; did you mean chemotools.scatter.StandardNormalVariate?"),
        ("PLSR", "did you mean sklearn.cross_decomposition.PLSRegression?"),
        # These once were what merely looks alike, as chemotools.baseline.ArPls for PLS, or nothing.
        ("PLS", "no class PLS; did you mean sklearn.cross_decomposition.PLSRegression?"),
        ("sklearn.cross_decomposition.PLS", "did you mean sklearn.cross_decomposition.PLSRegression?"),
        ("pls", "did you mean sklearn.cross_decomposition.PLSRegression?"),
        ("SG", "did you mean chemotools.derivative.SavitzkyGolay or chemotools.smooth.SavitzkyGolayFilter?"),
        ("SavGol", "did you mean chemotools.derivative.SavitzkyGolay or chemotools.smooth.SavitzkyGolayFilter?"),
        ("RF", "did you mean sklearn.ensemble.RandomForestRegressor or sklearn.ensemble.RandomForestClassifier?"),
        ("sklearn.svm.SVM", "did you mean sklearn.svm.SVR or sklearn.svm.SVC?"),
        ("LDA", "did you mean sklearn.discriminant_analysis.LinearDiscriminantAnalysis?"),
        ("KNN", "did you mean sklearn.neighbors.KNeighborsRegressor or sklearn.neighbors.KNeighborsClassifier?"),
        ("Detrend", "did you mean chemotools.baseline.PolynomialCorrection or chemotools.baseline.LinearCorrection?"),
        ("MeanCenter", "no class MeanCenter; use sklearn.preprocessing.StandardScaler with with_std: false"),
        ("Autoscale", "did you mean sklearn.preprocessing.StandardScaler?"),
        ("chemotools.scatter.EMSC", "did you mean chemotools.scatter.ExtendedMultiplicativeScatterCorrection?"),
        ("PLS-DA", "scikit-learn has no PLS-DA: you can use sklearn.discriminant_analysis.LinearDiscriminantAnalysis"),
        ("MinMax", "did you mean sklearn.preprocessing.MinMaxScaler?"),
        ("Ridg", "did you mean sklearn.linear_model.Ridge or sklearn.linear_model.RidgeCV or "),
        (
            "chemotool.Unheard",
            "there is no class chemotool.Unheard: no package 'chemotool' is installed; did you mean ",
        ),
        ("no_such_package.Ridgy", "no package 'no_such_package' is installed; install it, or correct its name"),
        ("json.decoder.Qqqqqqqq", "json.decoder.Qqqqqqqq: json.decoder has no 'Qqqqqqqq'; give its whole name, as in "),
        ("Unheard", "there is no class Unheard; give its whole name, as in sklearn.preprocessing.StandardScaler"),
    ],
)
def test_the_nearest_class_is_named_by_its_whole_name(name: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        pipelines_of([{"class": name}, Ridge()])
    assert str(caught.value).startswith("step 1: there is no class ")
    assert message in str(caught.value)


def test_a_module_that_lacks_another_one_is_told_apart_from_a_name_that_nothing_has(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "__init__.py").write_text("")
    (here / "mine" / "steps.py").write_text("import no_such_package\n")
    (here / "alone.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(here)
    for name, message in [
        ("mine.steps.Smooth", "mine.steps cannot be imported: ModuleNotFoundError: No module named 'no_such_package'"),
        ("alone.Smooth", "the module of alone.Smooth cannot be imported: ModuleNotFoundError: No module named"),
        ("mine.step.Smooth", "did you mean mine.steps.Smooth?"),
    ]:
        with pytest.raises(InvalidInputError) as caught:
            pipelines_of([{"class": name}, Ridge()])
        assert message in str(caught.value)
    for name in ("mine", "alone"):
        sys.modules.pop(name, None)


def test_short_names_of_the_field_are_names_of_classes_that_are_there() -> None:
    classes = near_names._public_classes()
    assert {name for names in near_names.SHORT_NAMES.values() for name in names.split()} <= {*classes}
    named = {word.rstrip(",") for text in near_names.NO_CLASSES.values() for word in text.split() if "sklearn." in word}
    assert named <= {*classes.values()}


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"modle": {"class": PLS}}, "step 1 has the key 'modle', which no step has; did you mean 'model'?"),
        ({"clas": PLS}, "step 1 has the key 'clas', which no step has; did you mean 'class'?"),
        ({"scaling": {"class": PLS}}, "which no step has; a step is written with one of class, model, y, transformer"),
        ({"class": PLS, "param": {"n_components": 3}}, "step 1 has param beside its class; did you mean 'params'?"),
        (
            {"class": PLS, "params": {"n_component": 3}},
            "step 1: PLSRegression has no parameter 'n_component'; did you mean 'n_components'?",
        ),
        (
            {"class": PLS, "params": {"latent": 3}},
            "step 1: PLSRegression has no parameter 'latent'; it takes n_components, scale, ",
        ),
        (
            {"model": {"class": PLS, "params": {"n_components": {"_rang_": [1, 3]}}}},
            "step 1: '_rang_' makes no alternatives; did you mean '_range_'?",
        ),
        ({"_ro_": [None, {"class": PLS}]}, "step 1: '_ro_' makes no alternatives; did you mean '_or_'?"),
        ({"_range": [1, 3]}, "step 1: '_range' makes no alternatives; did you mean '_range_'?"),
        ({"_grid_": {"a": [1]}}, "step 1: '_grid_' makes no alternatives; write _or_ or _range_"),
        ("StandardScaler", "step 1 is the text 'StandardScaler'; a class is written {'class': 'package.Name'}"),
    ],
)
def test_the_nearest_key_parameter_or_generator_is_named(step: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        pipelines_of([step, Ridge()])
    assert message in str(caught.value)


def test_a_dict_of_one_key_is_no_generator_because_its_key_has_an_underscore() -> None:
    (pipeline,) = pipelines_of(
        [{"class": "sklearn.preprocessing.FunctionTransformer", "params": {"kw_args": {"x_": 1}}}, Ridge()]
    )
    assert pipeline.steps[0].operator.kw_args == {"x_": 1}


def test_the_nearest_key_of_a_configuration_or_a_dataset_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"a list of steps, not .*; did you mean 'pipeline'\?"):
        pipelines_of({"pipelin": [Ridge()]})
    with pytest.raises(InvalidInputError, match=r"it has X, y, gruops; did you mean 'groups'\?"):
        read_dataset({"X": [[1.0]], "y": [1.0], "gruops": [1]})


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("glucos.csv", "glucos.csv cannot be read: there is no such file; did you mean glucose.csv?"),
        ("glucose.cvs", "glucose.cvs is no table by its name; did you mean glucose.csv?"),
        ("wheat.csv", "wheat.csv cannot be read: there is no such file; correct its name, or go to its folder"),
        ("no/glucose.csv", "no/glucose.csv cannot be read: there is no such file; correct its name, or go to"),
        ({"X": "glucose.csv", "y": Path("glucos.csv")}, "did you mean glucose.csv?"),
        ({"X": "spectra.npy", "y": [1.0]}, "did you mean spectrum.npy?"),
    ],
)
def test_the_nearest_file_of_the_folder_is_named(here: Path, dataset: Any, message: str) -> None:
    Path("spectrum.npy").touch()
    with pytest.raises(InvalidInputError) as caught:
        read_dataset(dataset)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "target", "message"),
    [
        ({}, "glucos", "has no column 'glucos'; did you mean 'glucose'? Give it as target=, in a shell with --target"),
        ({}, "ash", "has no column 'ash'; name one of ['sample', 'glucose'] as target="),
        ({}, None, "has no column that is known to be y; name one of ['sample', 'glucose'] as target="),
        ({"groups": "smaple"}, "glucose", "did you mean 'sample'? Give it as groups=, in a shell with --groups"),
        (
            {"y": Path("glucose.csv"), "join": "smaple"},
            "glucose",
            "to join the references by; did you mean 'sample'? Name one that both have as join=",
        ),
    ],
)
def test_the_nearest_column_is_named_and_of_others_none_of_spectra(
    here: Path, parts: Any, target: str | None, message: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_dataset({"X": "glucose.csv", **parts}, target)
    assert message in str(caught.value)
    assert "nm" not in str(caught.value), "it has listed twenty columns of spectra and not the target"


def test_a_file_of_spectra_alone_has_no_target_to_name(here: Path) -> None:
    spectra = pl.read_csv("glucose.csv").drop("sample", "glucose")
    with pytest.raises(
        InvalidInputError, match=r"all its columns are spectra; .* another file with y=, in a shell --y"
    ):
        read_dataset(spectra, "glucose")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "run psl.yaml glucose.csv -t glucose",
            "psl.yaml cannot be read: there is no such file; did you mean pls.yaml?",
        ),
        ("run pls.yaml glucos.csv", "glucos.csv cannot be read: there is no such file; did you mean glucose.csv?"),
        ("run pls.yaml glucose.csv -t glucos", "did you mean 'glucose'? Give it as target=, in a shell with --target"),
        ("predict modell.n4a glucose.csv", "it is no file; did you mean model.n4a?"),
    ],
)
def test_the_shell_names_what_was_probably_meant(here: Path, line: str, message: str) -> None:
    Path("model.n4a").touch()
    done = CliRunner().invoke(app, line.split())
    assert done.exit_code == 1
    assert message in done.output


def test_the_nearest_bundle_is_named(here: Path) -> None:
    Path("model.n4a").touch()
    with pytest.raises(Exception, match=r"it is no file; did you mean .*model\.n4a\?"):
        load_bundle(here / "modle.n4a")
