"""Hooks of mkdocs: what every command says to --help, and the page of the weights, which lies beside them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
INSTALLED = (["-m", "patrack", "track"], ["-m", "patrack", "doctor"])


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of the weights, and the licence that it links to."""
    text = (ROOT / "weights" / "README.md").read_text(encoding="utf-8").replace("](../docs/", "](")
    files.append(File.generated(config, "weights.md", content=text))
    licence = (ROOT / "weights" / "LICENSE-DINOv2.txt").read_text(encoding="utf-8")
    files.append(File.generated(config, "LICENSE-DINOv2.txt", content=licence))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Append the help texts to their page; a command whose help fails stops the build."""
    markdown = markdown.replace("](../weights/README.md", "](weights.md")
    if page.file.src_uri != "commands.md":
        return markdown
    scripts = [path for folder in ("tracking", "scripts") for path in sorted(ROOT.glob(f"{folder}/*.py"))]
    commands = {f"patrack {words[-1]}": words for words in INSTALLED}
    commands |= {f"python {path.relative_to(ROOT)}": [str(path)] for path in scripts}
    environment = {**os.environ, "COLUMNS": "100", "PYTHONPATH": str(ROOT)}
    parts = [markdown]
    for name, words in commands.items():
        done = subprocess.run(
            [sys.executable, *words, "--help"], capture_output=True, text=True, check=True, env=environment, cwd=ROOT
        )
        parts.append(f"## {name}\n\n```text\n{done.stdout.strip()}\n```\n")
    return "\n".join(parts)
