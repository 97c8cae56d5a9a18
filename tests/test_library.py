from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nirs4all_store import InvalidInputError, InvalidTypeError, NotFoundError, PipelineLibrary, TemplateExistsError

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
        "name": "baseline_pls", "category": "regression", "description": "PLS", "tags": ["nirs"],
        "metrics": {"rmse": 0.1}, "notes": "n",
    }  # fmt: skip
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
    with pytest.raises(NotFoundError, match="nearest are"):
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


def test_a_damaged_template_is_named_and_never_passed_over(library: PipelineLibrary) -> None:
    path = library.save_template([], "t")
    path.write_text("{")
    with pytest.raises(InvalidInputError, match=r"t\.json cannot be read"):
        library.list_templates()


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
