"""How Sphinx builds these pages: `sphinx-build -W docs FOLDER`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from typer.main import get_command

from nirs4all_store import __version__
from nirs4all_store.cli import app

project = "nirs4all_store"
author = copyright = "the nirs4all_store developers"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"nirs4all_store {version}"
html_static_path = ["pictures", "static"]
html_css_files = ["pages.css"]
copybutton_exclude = ".linenos, .gp, .go"

# A name in single backticks is a link where there is something of that name.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # The docstrings have them.
napoleon_google_docstring = False
napoleon_use_rtype = False


def overview() -> str:
    """Return the commands in groups as `--help` shows them, each with its whole first sentence and a link."""
    lines: list[str] = []
    panels = {name: command.rich_help_panel for name, command in get_command(app).commands.items()}
    for panel in dict.fromkeys(panels.values()):
        lines += [f"**{panel}**", ""]
        for name, command in get_command(app).commands.items():
            if panels[name] == panel:
                first = command.help.split("\n\n")[0].replace("\n", " ")
                lines.append(f"* [`{name}`](#{name}): {first}")
        lines.append("")
    return "\n".join(lines)


def commands() -> str:
    """Return what the command line says of itself, as Markdown."""
    command = [sys.executable, "-m", "typer", "nirs4all_store.cli", "utils", "docs", "--name", "nirs4all-store"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    told = told.replace("# `nirs4all-store`", "# Command line", 1)
    told = re.sub(r"^(##+) `nirs4all-store (.*)`$", r"\1 \2", told, flags=re.MULTILINE)
    told = re.sub(r"^\*\*Commands\*\*:\n\n(\* .*\n)+", overview(), told, count=1, flags=re.MULTILINE)
    return re.sub(
        r"^((?:nirs4all-store|alembic) .*)$", r"For example:\n\n```console\n$ \1\n```", told, flags=re.MULTILINE
    )


(Path(__file__).parent / "reference" / "commands.md").write_text(commands(), encoding="utf-8")
