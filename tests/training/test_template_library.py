import json
import threading
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nirs4all_store import (
    InvalidInputError,
    InvalidTypeError,
    NotFoundError,
    OutputPathError,
    PipelineLibrary,
    TemplateExistsError,
)
from nirs4all_store.identifiers import utc_now

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=400).filter(
    str.strip
)
HOSTILE = ["../../x", "/etc/passwd", "..", ".", "con", "CON.json", "a/b", "a\\b", ".hidden", "x" * 400, "%2e%2e", "a~b"]


@pytest.fixture
def library(tmp_path: Path) -> PipelineLibrary:
    return PipelineLibrary(tmp_path / "workspace")


def test_a_template_is_one_json_file_of_its_name(library: PipelineLibrary, tmp_path: Path) -> None:
    assert library.list_templates() == []
    assert not (tmp_path / "workspace").exists()
    path = library.save_template(
        {"pipeline": ["SNV"]}, "baseline_pls", "regression", "PLS", ["nirs"], {"rmse": 0.1}, "n"
    )
    assert path == tmp_path / "workspace" / "library" / "templates" / "baseline_pls.json"
    assert library.load_template("baseline_pls") == {"pipeline": ["SNV"]}
    metadata = library.get_template_metadata("baseline_pls")
    assert {key: metadata[key] for key in ("name", "category", "description", "tags", "metrics", "notes")} == {
        "name": "baseline_pls",
        "category": "regression",
        "description": "PLS",
        "tags": ["nirs"],
        "metrics": {"rmse": 0.1},
        "notes": "n",
    }
    assert "pipeline_config" not in metadata


def test_templates_are_listed_by_category_and_by_any_of_the_tags(library: PipelineLibrary) -> None:
    library.save_template([], "b", "regression", tags=["x"])
    library.save_template([], "a", "regression", tags=["y"])
    library.save_template([], "c", tags=["x"])
    assert [item["name"] for item in library.list_templates()] == ["a", "b", "c"]
    assert [item["name"] for item in library.list_templates("regression")] == ["a", "b"]
    assert [item["name"] for item in library.list_templates(tags=["x", "z"])] == ["b", "c"]
    assert library.list_templates("regression", ["z"]) == []


def test_a_taken_name_is_only_replaced_on_request(library: PipelineLibrary) -> None:
    library.save_template([1], "t")
    made = library.get_template_metadata("t")["created_at"]
    with pytest.raises(FileExistsError, match="overwrite=True"):
        library.save_template([2], "t")
    assert library.load_template("t") == [1]
    library.save_template([2], "t", overwrite=True)
    assert library.load_template("t") == [2]
    assert library.get_template_metadata("t")["created_at"] == made


def test_an_unknown_name_or_category_is_not_found(library: PipelineLibrary) -> None:
    library.save_template([], "baseline_pls", "regression")
    with pytest.raises(NotFoundError, match="did you mean"):
        library.load_template("baseline_plz")
    for call in (library.load_template, library.get_template_metadata, library.delete_template):
        with pytest.raises(KeyError, match="of category 'regression'"):
            call("baseline_pls", "classification")
    library.delete_template("baseline_pls", "regression")
    assert library.list_templates() == []


def test_an_exported_template_can_be_imported_elsewhere(library: PipelineLibrary, tmp_path: Path) -> None:
    library.save_template({"a": float("inf")}, "t/1", "regression", "d", ["x"])
    path = library.export_template("t/1", tmp_path / "out" / "mine")
    assert path.name == "mine.json"
    other = PipelineLibrary(tmp_path / "other")
    other.import_template(path)
    assert other.load_template("t/1", "regression") == {"a": float("inf")}
    with pytest.raises(TemplateExistsError):
        other.import_template(path)
    other.import_template(path, category="shared", overwrite=True)
    assert other.get_template_metadata("t/1")["category"] == "shared"
    with pytest.raises(NotFoundError):
        other.import_template(tmp_path / "missing.json")
    (tmp_path / "bad.json").write_text('{"name": "x"}')
    with pytest.raises(InvalidInputError, match=r"bad\.json is no template"):
        other.import_template(tmp_path / "bad.json")


def test_a_damaged_template_is_named_in_a_warning_and_once_hid_all_the_others(library: PipelineLibrary) -> None:
    path = library.save_template([], "t")
    library.save_template([], "good")
    path.write_text("{")
    with pytest.warns(UserWarning, match=r"t\.json cannot be read") as caught:
        assert [item["name"] for item in library.list_templates()] == ["good"]
    assert caught[0].filename == __file__
    with pytest.raises(InvalidInputError, match=r"t\.json cannot be read"):
        library.load_template("t")
    with pytest.raises(NotFoundError, match="did you mean"):
        library.load_template("goood")


def test_a_damaged_template_could_neither_be_replaced_nor_deleted(library: PipelineLibrary) -> None:
    path = library.save_template([1], "t")
    path.write_text("{")
    with pytest.raises(TemplateExistsError, match="overwrite=True"):
        library.save_template([2], "t")
    assert path.read_text() == "{"
    library.save_template([2], "t", overwrite=True)
    assert library.load_template("t") == [2]
    path.write_text("{")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        library.delete_template("t", "general")  # Which category it has is not known.
    library.delete_template("t")
    assert library.list_templates() == []


def test_a_key_that_is_twice_in_a_template_once_was_dropped_without_a_word(library: PipelineLibrary) -> None:
    path = library.save_template([{"model": 1}], "t")
    path.write_text(path.read_text().replace('"model": 1', '"model": 1, "model": 2'))
    with pytest.raises(InvalidInputError, match="cannot be read as a template: the key 'model' is given twice"):
        library.load_template("t")


def test_a_name_from_an_enum_was_saved_as_the_enums_own_and_not_found_again(library: PipelineLibrary) -> None:
    class Kind(str, Enum):  # noqa: UP042  # str() of a StrEnum is its value
        BASE = "base"

    path = library.save_template([1], Kind.BASE, category=Kind.BASE)
    assert path.name == "base.json"
    assert library.load_template("base") == library.load_template(Kind.BASE, Kind.BASE) == [1]
    assert library.get_template_metadata("base")["name"] == "base"
    library.delete_template(Kind.BASE, "base")
    assert library.list_templates() == []


def test_several_writers_of_one_new_name_once_all_succeeded(library: PipelineLibrary) -> None:
    together = threading.Barrier(8)
    outcomes: list[int | None] = []

    def save(i: int) -> None:
        together.wait()
        try:
            library.save_template([i], "t")
            outcomes.append(i)
        except TemplateExistsError:
            outcomes.append(None)

    threads = [threading.Thread(target=save, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [i for i in outcomes if i is not None]
    assert len(outcomes) == 8
    assert [library.load_template("t")] == [[i] for i in winners]


def test_what_is_no_template_is_refused(library: PipelineLibrary) -> None:
    for name in ("", "  ", "a\0b", "\ud800"):
        with pytest.raises(InvalidInputError):
            library.save_template([], name)
    with pytest.raises(InvalidTypeError, match="dict or a list"):
        library.save_template("SNV", "t")  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError):
        library.save_template([object()], "t")
    assert library.list_templates() == []


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_only_a_name(library: PipelineLibrary, tmp_path: Path, name: str) -> None:
    check_name(library, tmp_path, name)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES)
def test_any_name_is_only_a_name(library: PipelineLibrary, tmp_path: Path, name: str) -> None:
    check_name(library, tmp_path, name)


def check_name(library: PipelineLibrary, tmp_path: Path, name: str) -> None:
    path = library.save_template([name], name, name)
    assert path.parent == tmp_path / "workspace" / "library" / "templates"
    assert [item.relative_to(tmp_path) for item in tmp_path.rglob("*") if item.is_file()] == [
        path.relative_to(tmp_path)
    ]
    assert library.load_template(name, name) == [name]
    assert library.list_templates(name)[0]["name"] == name
    library.delete_template(name)
    assert library.list_templates() == []


def test_names_that_differ_only_a_little_are_different_templates(library: PipelineLibrary) -> None:
    names = ["a b", "a_b", "a-b", "a.b", "a/b", "a b ", "é", "e"]
    for name in names:
        library.save_template([name], name)
    assert [library.load_template(name) for name in names] == [[name] for name in names]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES, category=NAMES)
def test_any_name_and_category_is_exported_and_imported_again(
    library: PipelineLibrary, tmp_path: Path, name: str, category: str
) -> None:
    library.save_template({"name": name}, name, category, name, [name], {name: 1}, name)
    path = library.export_template(name, tmp_path / "out" / "exported.json", category)
    other = PipelineLibrary(tmp_path / "other")
    imported = other.import_template(path)
    assert other.load_template(name, category) == {"name": name}
    kept = ("name", "category", "description", "tags", "metrics", "notes")
    there, here = other.get_template_metadata(name), library.get_template_metadata(name)
    assert {key: there[key] for key in kept} == {key: here[key] for key in kept}
    assert imported.parent == tmp_path / "other" / "library" / "templates"
    library.delete_template(name, category)
    other.delete_template(name)
    assert files(tmp_path) == {"out/exported.json"}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NAMES, min_size=2, max_size=5, unique=True))
def test_different_names_are_different_templates_in_one_folder(
    library: PipelineLibrary, tmp_path: Path, names: list[str]
) -> None:
    for name in names:
        library.save_template([name], name)
    assert [item["name"] for item in library.list_templates()] == sorted(names)
    assert [library.load_template(name) for name in names] == [[name] for name in names]
    folder = tmp_path / "workspace" / "library" / "templates"
    assert all((folder / name).parent == folder for name in files(folder))
    assert len(files(folder)) == len(files(tmp_path)) == len(names)
    for name in names:
        library.delete_template(name)
    assert files(tmp_path) == set()


@pytest.mark.parametrize("config", [{}, [], {"a": [1, None, True, "é", 1.5, {"b": []}]}, [{"model": "PLS"}]])
def test_a_configuration_comes_back_as_it_was(library: PipelineLibrary, config: Any) -> None:
    library.save_template(config, "t")
    assert library.load_template("t") == config


def test_a_template_is_there_for_another_library_of_the_same_workspace(
    library: PipelineLibrary, tmp_path: Path
) -> None:
    library.save_template([1], "t")
    assert PipelineLibrary(str(tmp_path / "workspace")).load_template("t") == [1]


def test_a_template_without_the_rest_has_their_defaults(library: PipelineLibrary) -> None:
    library.save_template([], "t")
    metadata = library.get_template_metadata("t")
    defaults = {"category": "general", "description": "", "tags": [], "metrics": {}, "notes": ""}
    assert {key: metadata[key] for key in defaults} == defaults
    assert library.list_templates() == [metadata]


def test_every_method_finds_a_template_only_in_its_category(library: PipelineLibrary, tmp_path: Path) -> None:
    library.save_template([1], "t", "regression")
    library.export_template("t", tmp_path / "mine.json", "regression")
    with pytest.raises(NotFoundError):
        library.export_template("t", tmp_path / "other.json", "classification")
    assert not (tmp_path / "other.json").exists()
    assert library.load_template("t", category="regression") == [1]
    assert library.get_template_metadata("t", category="regression")["category"] == "regression"


def test_every_method_says_that_an_unknown_name_is_not_found(library: PipelineLibrary, tmp_path: Path) -> None:
    for call in (
        library.load_template,
        library.get_template_metadata,
        library.delete_template,
        lambda name: library.export_template(name, tmp_path / "out" / "mine.json"),
    ):
        with pytest.raises(NotFoundError, match=r"no template '\.\./unknown'"):
            call("../unknown")
    assert files(tmp_path) == set()


def test_a_refused_template_leaves_the_one_that_is_there(library: PipelineLibrary, tmp_path: Path) -> None:
    path = library.save_template([1], "t")
    before = path.read_bytes()
    for bad in (
        {"pipeline_config": [object()]},
        {"category": 1},
        {"tags": [1]},
        {"notes": "\0"},
        {"description": None},
    ):
        arguments: dict[str, Any] = {"pipeline_config": [2], "name": "t", "overwrite": True, **bad}
        with pytest.raises(InvalidInputError):
            library.save_template(**arguments)
    assert path.read_bytes() == before
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize("metrics", [[0.1], "rmse", 0.1, ("rmse", 0.1)])
def test_metrics_that_are_no_dict_are_refused_and_harm_no_other_template(
    library: PipelineLibrary, metrics: Any
) -> None:
    library.save_template([], "good")
    with pytest.raises(InvalidTypeError, match="metrics"):
        library.save_template([], "bad", metrics=metrics)
    assert [item["name"] for item in library.list_templates()] == ["good"]


def test_one_text_is_no_list_of_tags(library: PipelineLibrary) -> None:
    with pytest.raises(InvalidTypeError, match="tags"):
        library.save_template([], "t", tags="nirs")
    with pytest.raises(InvalidTypeError, match="tags"):
        library.list_templates(tags="nirs")


def test_a_number_for_tags_or_a_category_is_refused_and_found_nothing_before(library: PipelineLibrary) -> None:
    library.save_template([], "t")
    with pytest.raises(InvalidTypeError, match="tags must be a list of texts"):
        library.save_template([], "u", tags=5)  # type: ignore[arg-type]
    for call in (library.list_templates, lambda category: library.load_template("t", category)):
        with pytest.raises(InvalidTypeError, match="category must be text"):
            call(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", [None, 5, b"x", "a\0b", "n" * 300], ids=["None", "5", "bytes", "NUL", "long"])
def test_what_is_no_path_is_refused_with_an_error_of_ours(library: PipelineLibrary, path: Any) -> None:
    library.save_template([], "t")
    with pytest.raises(InvalidInputError, match="be a path"):
        library.import_template(path)
    with pytest.raises(InvalidInputError, match="be a path"):
        PipelineLibrary(path)
    with pytest.raises((InvalidTypeError, OutputPathError), match="be a path"):
        library.export_template("t", path)


def test_a_template_exported_among_the_artifacts_would_be_collected(library: PipelineLibrary, tmp_path: Path) -> None:
    library.save_template([], "t")
    with pytest.raises(OutputPathError, match=r"below .*artifacts"):
        library.export_template("t", tmp_path / "workspace" / "artifacts" / "t.json")


def test_an_export_is_whole_or_not_at_all(library: PipelineLibrary, tmp_path: Path) -> None:
    library.save_template([1], "t")
    path = library.export_template("t", tmp_path / "a" / "b" / "t.json")
    exported = json.loads(path.read_text(encoding="utf-8"))
    assert (exported["name"], exported["pipeline_config"]) == ("t", [1])
    with pytest.raises(OutputPathError):
        library.export_template("t", tmp_path / "a")
    assert files(tmp_path / "a") == {"b/t.json"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"name": "x", "pipeline_config": []}'])
def test_a_file_that_is_no_template_is_refused_by_name_and_changes_nothing(
    library: PipelineLibrary, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"bad\.json"):
        library.import_template(tmp_path / "bad.json")
    assert files(tmp_path) == {"bad.json"}


def test_an_imported_name_is_data_as_well(library: PipelineLibrary, tmp_path: Path) -> None:
    library.save_template([], "t")
    path = library.export_template("t", tmp_path / "t.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "name": "../../../escaped"}))
    imported = library.import_template(path)
    assert imported.parent == tmp_path / "workspace" / "library" / "templates"
    assert library.load_template("../../../escaped") == []
    assert all(name == "t.json" or name.startswith("workspace/library/templates/") for name in files(tmp_path))


def test_another_writer_of_a_new_name_came_between(
    library: PipelineLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile() -> datetime:
        monkeypatch.undo()
        PipelineLibrary(tmp_path / "workspace").save_template([1], "t")
        return utc_now()

    monkeypatch.setattr("nirs4all_store.training.template_library.utc_now", meanwhile)
    with pytest.raises(TemplateExistsError):
        library.save_template([2], "t")
    assert library.load_template("t") == [1]
