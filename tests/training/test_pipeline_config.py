"""What a configuration means, and what is said of a wrong one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, Normalizer, RobustScaler, StandardScaler

from nirs4all_store import InvalidInputError, NotFoundError, PipelineLibrary
from nirs4all_store.training import pipeline_config
from nirs4all_store.training.config_files import find_config, read_config
from nirs4all_store.training.pipeline_config import pipelines_of

PLS = {"class": "sklearn.cross_decomposition.PLSRegression", "params": {"n_components": {"_range_": [2, 6, 2]}}}


class Tools:
    @staticmethod
    def logarithm(X: Any) -> Any:
        return np.log1p(X)


class Slotted:
    __slots__ = ("alpha",)

    def fit(self, X: Any, y: Any) -> "Slotted":
        return self

    def predict(self, X: Any) -> Any:
        return X[:, 0]


class Secretive(Slotted):
    def get_params(self, deep: bool = True) -> Any:
        raise RuntimeError("no")


def described(**params: Any) -> dict[str, Any]:
    return {"class": "sklearn.preprocessing.FunctionTransformer", "params": params}


AS_LISTS = str.maketrans("()", "[]")  # JSON has no tuples.


def names(config: Any) -> list[str]:
    return [pipeline.name for pipeline in pipelines_of(config)]


def test_a_list_of_operators_is_one_pipeline() -> None:
    (pipeline,) = pipelines_of([StandardScaler(), KFold(3), {"y": MinMaxScaler()}, Ridge()])
    assert [step.kind for step in pipeline.steps] == ["transformer", "splitter", "target", "model"]
    assert (pipeline.preprocessings(pipeline.models[0]), pipeline.name) == (
        "StandardScaler",
        "StandardScaler > Ridge()",
    )
    assert pipeline.choices == []


def test_alternatives_and_ranges_make_one_pipeline_each() -> None:
    config = [{"_or_": [None, StandardScaler(), [MinMaxScaler(), StandardScaler()]]}, {"model": PLS}]
    assert names(config) == [
        before + model
        for before in ("", "StandardScaler > ", "MinMaxScaler > StandardScaler > ")
        for model in ("PLSRegression(n_components=2)", "PLSRegression(n_components=4)", "PLSRegression(n_components=6)")
    ]
    assert pipelines_of(config)[4].choices == [
        {"_or_": {"class": "sklearn.preprocessing.StandardScaler"}},
        {"_range_": 4},
    ]


def test_alternatives_may_stand_in_alternatives() -> None:
    config = [{"_or_": [{"class": "sklearn.linear_model.Ridge", "params": {"alpha": {"_or_": [1, 2]}}}, PLS]}]
    assert names(config) == [
        "Ridge(alpha=1)",
        "Ridge(alpha=2)",
        "PLSRegression(n_components=2)",
        "PLSRegression(n_components=4)",
        "PLSRegression(n_components=6)",
    ]


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ([1, 3], [1, 2, 3]),
        ([5, 1, -2], [5, 3, 1]),
        ([0.1, 0.3, 0.1], [0.1, 0.2, pytest.approx(0.3)]),
        ([1, 6, 2], [1, 3, 5]),
        ([2, 2], [2]),
    ],
)
def test_a_range_has_both_its_ends(given: list[float], numbers: list[float]) -> None:
    pipelines = pipelines_of([{"class": "sklearn.linear_model.Ridge", "params": {"alpha": {"_range_": given}}}])
    assert [pipeline.models[0].operator.alpha for pipeline in pipelines] == numbers


def test_a_pipeline_described_as_json_makes_the_same_pipeline() -> None:
    inner = make_pipeline(StandardScaler(with_std=False), PLSRegression(3))
    columns = ColumnTransformer([("a", MinMaxScaler(), [0, 1])], remainder="passthrough")
    (pipeline,) = pipelines_of([columns, KFold(4, shuffle=True, random_state=7), {"y": MinMaxScaler()}, inner])
    described = json.loads(json.dumps(pipeline.config))
    (again,) = pipelines_of(described)
    assert again.config == pipeline.config
    assert repr([tuple(step) for step in again.models[0].operator.steps]) == repr(inner.steps)  # JSON has no tuples
    assert described[1] == {
        "class": "sklearn.model_selection.KFold",
        "params": {"n_splits": 4, "shuffle": True, "random_state": 7},
    }


def test_what_cannot_be_described_is_told_in_words() -> None:
    (pipeline,) = pipelines_of([FunctionTransformer(lambda X: X), Ridge()])
    assert "lambda" in json.dumps(pipeline.config)


def test_a_configuration_is_read_from_json_and_yaml(tmp_path: Path) -> None:
    config = [{"class": "sklearn.preprocessing.StandardScaler"}, {"model": PLS}]
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    text = "- class: sklearn.preprocessing.StandardScaler\n- model: {class: sklearn.linear_model.Ridge}\n"
    assert read_config(json.dumps(config)) == read_config(file) == read_config(str(file)) == config
    assert names(read_config(text)) == ["StandardScaler > Ridge()"]
    assert names({"pipeline": config}) == names(config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "a list of steps"),
        ("Ridge", "a list of steps"),
        ([StandardScaler()], "no model"),
        ([StandardScaler(), 7, Ridge()], r"step 2 \(int\) is no step"),
        ([{"model": StandardScaler()}], r"step 1 \(StandardScaler\) is no model.*no predict"),
        ([{"y": Ridge()}, Ridge()], r"step 1 \(Ridge\) is no target.*no transform"),
        ([{"class": "sklearn.linear_model.Rigde"}], "step 1: there is no class sklearn.linear_model.Rigde"),
        ([{"class": "no_such_package.Ridge"}], "step 1: there is no class"),
        ([{"class": "Ridge"}], "step 1: there is no class Ridge"),
        ([{"class": "os.system"}], "step 1: os.system is no class of an operator"),
        ([{"class": "subprocess.Popen", "params": {"args": "true"}}], "is no class of an operator"),
        ([{"class": "sklearn.linear_model.Ridge", "params": {"alhpa": 1}}], "did you mean 'alpha'"),
        ([{"class": "sklearn.linear_model.Ridge", "params": [1]}], "params must be a dict"),
        ([{"class": "sklearn.linear_model.Ridge", "parms": {}}], "step 1 has parms beside its class"),
        ([{"class": "sklearn.linear_model.Ridge", "params": {"alpha": -1}}], r"step 1 \(Ridge\): The 'alpha'"),
        ([{"model": Ridge(), "name": "r"}], "step 1 has .*one place"),
        ([{"_or_": [Ridge()], "_range_": [1, 2]}], "step 1 has .*one place"),
        ([{"_or_": []}, Ridge()], "step 1: _or_ needs a list"),
        ([{"_range_": [3, 1]}, Ridge()], "step 1: _range_ takes"),
        ([{"_range_": [1, 2, 0]}, Ridge()], "step 1: _range_ takes"),
        ([KFold(), Ridge(), KFold(3)], r"step 1 \(KFold\) and step 3 \(KFold\) are both a splitter"),
        ([{"y": MinMaxScaler()}, LogisticRegression()], r"step 1 \(MinMaxScaler\): y is transformed for"),
        ([Ridge(), LogisticRegression()], "models of numbers and of classes"),
        ([{"_or_": [None] * 400}, {"_or_": [None] * 400}, Ridge()], "160,000 pipelines"),
        ([{"model": PLS | {"params": {"n_components": {"_range_": [1, 10**9]}}}}], "1,000,000,000 pipelines"),
        ([{"class": ".sklearn.Ridge"}], "step 1: there is no class"),
        ([{"_range_": [0, float("inf"), 1]}, Ridge()], "step 1: _range_ takes"),
        ([{"_range_": [0, float("nan"), 1]}, Ridge()], "step 1: _range_ takes"),
        ([{"_range_": [1, 5, 1e-310]}, Ridge()], "step 1: _range_ takes"),
        ([{"_range_": [1, 10**400]}, Ridge()], "step 1: _range_ takes"),
        ([[[{"_or_": [1] * 1000}] * 9] * 9, Ridge()], r"more than 10\^15 pipelines"),
        ([{"y": Normalizer()}, Ridge()], r"step 1 \(Normalizer\) is no target.*no inverse_transform"),
        ([Ridge(), StandardScaler()], r"step 2 \(StandardScaler\) comes after the last model"),
        ([{"transformer": Ridge()}, Ridge()], r"step 1 \(Ridge\) is no transformer.*no transform"),
    ],
)
def test_a_wrong_configuration_is_refused_naming_the_step(config: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        pipelines_of(config)


@pytest.mark.parametrize("given", ["- [", "- " + "9" * 5000, Path("nowhere.json"), "nowhere.yaml"])
def test_what_cannot_be_read_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_config(given)


def test_a_file_comes_before_a_template_and_a_template_before_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    library = PipelineLibrary(tmp_path / "workspace")
    Path("PLS.YAML").write_text("- in a file\n")
    for name in ("PLS.YAML", "2024", "a: b", "[1]", "best.yaml"):
        library.save_template([name], name)
    assert find_config("PLS.YAML", library.load_template) == ["in a file"]
    for name in ("2024", "a: b", "[1]", "best.yaml"):
        assert find_config(name, library.load_template) == [name]
    assert find_config("[2]", library.load_template) == find_config([2], library.load_template) == [2]
    assert find_config(Path("PLS.YAML"), library.load_template) == ["in a file"]
    with pytest.raises(InvalidInputError, match="cannot be read"):
        find_config("nowhere.yaml", library.load_template)


def test_what_is_no_configuration_was_said_to_be_no_template_only(tmp_path: Path) -> None:
    library = PipelineLibrary(tmp_path)
    with pytest.raises(NotFoundError) as told:
        find_config("pls.yam", library.load_template)
    assert str(told.value) == (
        "'pls.yam' is no file that ends in one of .json, .yaml, .yml, no JSON or YAML of a list of steps, and the "
        "library has no template 'pls.yam'; see list_templates(), in a shell `nirs4all-store library list`, for those "
        "it has"
    )
    library.save_template([1], "pls.yam2")
    with pytest.raises(NotFoundError, match=r"did you mean 'pls.yam2'\?"):
        find_config("pls.yam", library.load_template)


def test_numbers_of_yaml_and_json_are_numbers(tmp_path: Path) -> None:
    assert read_config(json.dumps([1e-5])) == read_config("- 1e-5\n") == [1e-5]
    assert read_config("- -2E+3\n- .5e1\n- 1e\n- 0x10\n") == [-2000.0, 5.0, "1e", 16]
    assert read_config("[\n\t1,\n\t2\n]") == [1, 2]


def test_a_hash_that_begins_like_a_number_once_ended_in_a_raw_error() -> None:
    assert read_config("hash: 65e355dbbd2af6\nsmall: 1e-3\n") == {"hash": "65e355dbbd2af6", "small": 0.001}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "- model: {class: a.B}\n  model: {class: a.C}\n",
            "the key 'model' is given twice, again in line 2; remove",
        ),
        ("- {class: a.B, params: {n: 1, 'n': 2}}", "the key 'n' is given twice, again in line 1"),
        (
            '[{"model": 1,\n\t"model": 2}]',
            "the key 'model' is given twice in one object; remove one, or make a step",
        ),
    ],
)
def test_the_first_of_two_models_in_one_step_once_was_dropped_without_a_word(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "pls.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=rf"pls\.yaml' cannot be read: {message}"):
        read_config(path)
    with pytest.raises(InvalidInputError, match=message):
        find_config(text, PipelineLibrary(tmp_path).load_template)


def test_keys_that_yaml_merges_are_no_keys_that_are_given_twice() -> None:
    text = "- {a: &a {x: 1, y: 1}, b: {c: &b {<<: *a, y: 2}}, d: {<<: *b, x: 3}, e: {<<: [*a, *b]}}"
    assert read_config(text) == yaml.safe_load(text)
    assert read_config("{1: a, '1': b}") == {1: "a", "1": "b"}
    with pytest.raises(InvalidInputError, match="unhashable key"):
        read_config("{[1]: a, [1]: b}")


def test_a_configuration_that_has_itself_inside_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="nested too deeply"):
        pipelines_of(read_config("&a [*a]"))
    with pytest.raises(InvalidInputError, match=r"cannot be read|nested too deeply"):
        pipelines_of(read_config("[" * 5000 + "]" * 5000))


def test_no_transformer_of_the_target_once_was_a_wrong_one() -> None:
    assert names([{"y": {"_or_": [None, StandardScaler()]}}, Ridge()]) == ["Ridge()"] * 2
    assert names([{"transformer": None}, Ridge()]) == ["Ridge()"]
    for config in ([{"model": None}], [{"model": {"_or_": [None, Ridge()]}}, PLSRegression()]):
        with pytest.raises(InvalidInputError, match=r"step 1 \(NoneType\) is no model: .* give an operator"):
            pipelines_of(config)


@pytest.mark.parametrize(
    ("choice", "alphas"),
    [
        ({"_range_": [np.int64(1), np.int64(3)]}, [1, 2, 3]),
        ({"_range_": np.array([0.5, 1.5, 0.5])}, [0.5, 1.0, 1.5]),
        ({"_or_": np.logspace(-1, 1, 3)}, [0.1, 1.0, 10.0]),
        ({"_or_": range(1, 4)}, [1, 2, 3]),
        ({"_range_": [np.float32(0.5), 1]}, [0.5]),
    ],
)
def test_numbers_of_numpy_once_were_no_range(choice: Any, alphas: list[float]) -> None:
    found = pipelines_of([{"model": {"class": "sklearn.linear_model.Ridge", "params": {"alpha": choice}}}])
    assert [pipeline.models[0].operator.alpha for pipeline in found] == alphas
    assert json.dumps([pipeline.choices for pipeline in found])
    for wrong in ({"_or_": np.array(1)}, {"_or_": np.array([])}, {"_range_": range(1, 4)}, {"_range_": np.array(1)}):
        with pytest.raises(InvalidInputError, match="_ needs a list"):
            pipelines_of([wrong, Ridge()])
    with pytest.raises(InvalidInputError, match="1,000,000,000 pipelines"):
        pipelines_of([{"_or_": range(10**9)}, Ridge()])


def test_a_range_has_the_digits_that_one_would_write() -> None:
    config = [{"class": "sklearn.linear_model.Ridge", "params": {"alpha": {"_range_": [0.1, 0.5, 0.1]}}}]
    assert [pipeline.models[0].operator.alpha for pipeline in pipelines_of(config)] == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_a_parameter_that_must_be_a_tuple_can_be_written_as_a_list() -> None:
    scaler = {"class": "sklearn.preprocessing.MinMaxScaler", "params": {"feature_range": [0, 2]}}
    (pipeline,) = pipelines_of([scaler, Ridge()])
    assert pipeline.steps[0].operator.feature_range == (0, 2)
    assert pipeline.config[0] == scaler


def test_what_could_be_a_model_can_be_a_transformer() -> None:
    (pipeline,) = pipelines_of([{"transformer": PLSRegression(3)}, LogisticRegression()])
    assert [step.kind for step in pipeline.steps] == ["transformer", "model"]
    (again,) = pipelines_of(pipeline.config)
    assert again.config == pipeline.config
    assert [step.kind for step in again.steps] == ["transformer", "model"]


def test_parameters_without_a_form_in_json_are_told_in_words() -> None:
    splitter = KFold(3, shuffle=True, random_state=np.random.RandomState(0))
    (pipeline,) = pipelines_of([splitter, Ridge()])
    assert "RandomState" in json.dumps(pipeline.config)


@pytest.mark.parametrize(
    "model",
    [
        TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
        RandomForestClassifier(class_weight={0: 1, 1: 5}),
        CountVectorizer(dtype=np.float32),
        make_pipeline(ColumnTransformer([("a", StandardScaler(), slice(0, 3))]), Ridge()),
        make_pipeline(RobustScaler(quantile_range=(10, 90)), Ridge()),
        TransformedTargetRegressor(Ridge(), transformer=MinMaxScaler((-1, 1))),
        GaussianProcessRegressor(RBF(2.0)),
        FunctionTransformer(Tools.logarithm, kw_args={"slice": [1, 2]}),
        FunctionTransformer(np.log1p, kw_args={"class": "x", 1: {"items": (1, 2)}}),
        GridSearchCV(make_pipeline(StandardScaler(), Ridge()), {"standardscaler": [StandardScaler(), MinMaxScaler()]}),
    ],
)
def test_a_stored_configuration_once_could_not_be_trained_again(model: Any) -> None:
    (pipeline,) = pipelines_of([{"transformer": model}, Ridge()] if not hasattr(model, "predict") else [model])
    (again,) = pipelines_of(json.loads(json.dumps(pipeline.config)))
    assert again.config == pipeline.config
    assert repr(again.steps[0].operator).translate(AS_LISTS) == repr(model).translate(AS_LISTS)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([Ridge(alpha={"_or_": [1, 2]})], r"step 1 \(Ridge\), alpha: .*'params': {'alpha': {'_or_': \[1, 2\]}}"),
        ([make_pipeline(StandardScaler(), Ridge(-1))], r"step 1 \(Pipeline\), Ridge: The 'alpha' parameter"),
        ([{(1, 2): 3}, Ridge()], r"step 1 \(dict\) is no step: {\(1, 2\): 3}"),
        ([{"y": FunctionTransformer(np.log)}, Ridge()], "has a func and no inverse_func"),
        ([FunctionTransformer({"function": "numpy.nowhere"}), Ridge()], "'func' parameter"),
        (
            [{"class": "sklearn.preprocessing.FunctionTransformer", "params": {"func": {"function": "numpy.no"}}}],
            "there is no function numpy.no",
        ),
        ([described(func={"function": "log1p"}), Ridge()], "there is no function log1p"),
        ([described(func={"function": "numpy.pi"}), Ridge()], "numpy.pi is no function"),
        ([described(kw_args={"items": [1]}), Ridge()], r"step 1, kw_args: no items can be made of \[1\]"),
        ([described(kw_args={"slice": [1, 2, 3, 4]}), Ridge()], "no slice can be made of"),
        (
            [{"function": "sklearn.preprocessing.StandardScaler"}, Ridge()],
            "step 1 has the key 'function', which no step has",
        ),
    ],
)
def test_what_would_fail_in_training_is_refused_naming_the_step(config: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        pipelines_of(config)


@pytest.mark.parametrize(
    "model", [Slotted(), Secretive(), GridSearchCV(Ridge(alpha=None), {"alpha": [1.0, 2.0]})], ids=lambda m: type(m)
)
def test_models_that_tell_nothing_or_are_set_later_are_no_wrong_configuration(model: Any) -> None:
    assert len(pipelines_of([{"model": model}])) == 1


def test_a_name_once_left_out_what_is_set_to_the_default_and_what_comes_before_the_model() -> None:
    class Silent(Ridge):  # type: ignore[misc]  # scikit-learn ships no types
        def __repr__(self) -> str:
            raise RuntimeError

    filters = {"class": "chemotools.derivative.SavitzkyGolay", "params": {"window_length": 21, "deriv": 1}}
    pls = {"class": "sklearn.cross_decomposition.PLSRegression", "params": {"n_components": 2}}
    assert names([filters, {"model": pls}]) == [
        "SavitzkyGolay(window_length=21, deriv=1) > PLSRegression(n_components=2)"
    ]
    bagged = {"class": "sklearn.ensemble.BaggingRegressor", "params": {"estimator": pls, "n_estimators": 10}}
    assert names([{"model": bagged}]) == ["BaggingRegressor(estimator=PLSRegression, n_estimators=10)"]
    assert pipelines_of([Silent(alpha=2)])[0].name == "Silent(alpha=2)"
    squared = FunctionTransformer(np.square)
    assert names([squared, Ridge()]) == ["FunctionTransformer(func=square) > Ridge()"]


def test_a_model_that_is_no_estimator_of_scikit_learn_is_a_model_where_it_is_called_one() -> None:
    class Model:
        def fit(self, X: Any, y: Any) -> "Model":
            return self

        def predict(self, X: Any) -> Any:
            return X[:, 0]

    (pipeline,) = pipelines_of([{"model": Model()}])
    assert pipeline.models[0].name == "Model"


def test_aliases_of_aliases_are_counted_once() -> None:
    lines = ["- &a0 [1, 2]"] + [f"- &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    with pytest.raises(InvalidInputError, match="no step"):
        pipelines_of(read_config("\n".join(lines[:2])))
    text = "\n".join(lines).replace("[1, 2]", "{_or_: [1, 2]}")
    with pytest.raises(InvalidInputError, match=r"more than 10\^15 pipelines"):
        pipelines_of(read_config(text))


def test_only_the_list_that_must_be_one_becomes_a_tuple() -> None:
    words = {
        "class": "sklearn.feature_extraction.text.TfidfVectorizer",
        "params": {"ngram_range": [1, 2], "stop_words": ["a"]},
    }
    (pipeline,) = pipelines_of([words, Ridge()])
    assert (pipeline.steps[0].operator.ngram_range, pipeline.steps[0].operator.stop_words) == ((1, 2), ["a"])


def test_another_function_makes_another_configuration() -> None:
    configs = [
        pipelines_of([FunctionTransformer(function), Ridge()])[0].config
        for function in (lambda X: X, lambda X: X * 0, np.log1p)
    ]
    assert configs[0] != configs[1]
    assert configs[2][0]["params"] == {"func": {"function": "numpy.log1p"}}


def test_a_configuration_had_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    config = [{"_or_": [Ridge(alpha) for alpha in range(1, 5)]}]
    assert len(pipelines_of(config)) == 4
    with monkeypatch.context() as patch, pytest.raises(InvalidInputError, match="makes 4 pipelines, more than 3"):
        patch.setattr(pipeline_config, "MOST_PIPELINES", 3)
        pipelines_of(config)
    monkeypatch.setattr(pipeline_config, "MOST_VALUES", 3)
    with pytest.raises(InvalidInputError, match="makes 4 pipelines with 8 values together"):
        pipelines_of(config)


def test_parameters_that_are_many_were_printed_before_they_were_counted() -> None:
    many: Any = 1.0
    for _ in range(7):
        many = [many] * 10
    with pytest.raises(InvalidInputError, match=r"step 1.* has more than"):
        pipelines_of([Ridge(alpha=many)])
