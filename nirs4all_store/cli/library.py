"""The commands `nirs4all-store library ...`, for templates: configurations that are kept for later use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .. import training, validation, views
from .output import (
    DEFAULT_WORKSPACE,
    Csv,
    Json,
    Overwrite,
    Workspace,
    Yes,
    confirm,
    parse_path,
    print_line,
    print_rows,
    refuse_output,
)
from .terminal import for_programs, put

app = typer.Typer(no_args_is_help=True, help="Keep configurations as templates.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The template's name.")]
Category = Annotated[str | None, typer.Option(help="The template's category.")]


@app.command("list", epilog="nirs4all-store library list")
def list_(
    category: Category = None, as_json: Json = False, as_csv: Csv = False, workspace: Workspace = DEFAULT_WORKSPACE
) -> None:
    """List the templates."""
    found = training.PipelineLibrary(workspace).list_templates(category)
    print_rows(views.list_templates(found), as_json=as_json, as_csv=as_csv)


@app.command("save", epilog="nirs4all-store library save pls.yaml baseline_pls --category regression")
def save(
    config: Annotated[Path, typer.Argument(parser=parse_path, metavar="CONFIG", help="A JSON or YAML file.")],
    name: Name,
    category: Annotated[str, typer.Option(help="The template's category.")] = "general",
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag; give it again for several.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a template of this name.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Save a configuration as a template."""
    found = training.read_config(config)
    training.pipelines_of(found)
    library = training.PipelineLibrary(workspace)
    saved = library.save_template(found, name, category, description, tag, overwrite=overwrite)
    print_line(Console(), f"saved {saved}")


@app.command("show", epilog="nirs4all-store library show baseline_pls")
def show(name: Name, category: Category = None, workspace: Workspace = DEFAULT_WORKSPACE) -> None:
    """Print a template's configuration as JSON."""
    put(f"{for_programs(validation.file_text(training.PipelineLibrary(workspace).load_template(name, category)))}\n")


@app.command("delete", epilog="nirs4all-store library delete baseline_pls --yes")
def delete(name: Name, category: Category = None, yes: Yes = False, workspace: Workspace = DEFAULT_WORKSPACE) -> None:
    """Delete a template."""
    library = training.PipelineLibrary(workspace)
    library.get_template_metadata(name, category)
    if not yes:
        confirm(f"Delete template {name}?")
    library.delete_template(name, category)
    print_line(Console(), f"deleted {name}")


@app.command("export", epilog="nirs4all-store library export baseline_pls baseline.json")
def export(
    name: Name,
    output: Annotated[Path, typer.Argument(parser=parse_path, metavar="OUTPUT", help="The file to write.")],
    category: Category = None,
    overwrite: Overwrite = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Write a template to a file, to give it to somebody else."""
    refuse_output(output, workspace, overwrite=overwrite)
    print_line(Console(), f"wrote {training.PipelineLibrary(workspace).export_template(name, output, category)}")


@app.command("import", epilog="nirs4all-store library import baseline.json")
def import_(
    path: Annotated[
        Path, typer.Argument(parser=parse_path, metavar="FILE", help="A file that `library export` has written.")
    ],
    category: Annotated[str, typer.Option(help="The category, if the file has none.")] = "general",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a template of this name.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Import a template from a file that `library export` has written."""
    print_line(
        Console(), f"saved {training.PipelineLibrary(workspace).import_template(path, category, overwrite=overwrite)}"
    )
