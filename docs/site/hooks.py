"""What mkdocs does beside reading docs/: pages from elsewhere, the reference from docstrings, formulas as MathML.

README.md is the site's first page; CONTRIBUTING.md, CHANGELOG.md and examples/README.md are pages too. Files that a
page links to are copied to files/. The pages themselves stay as GitHub shows them.
"""

from __future__ import annotations

from typing import Any

from mkdocs.structure.files import File, Files

from github_markdown import PAGES_ELSEWHERE, ROOT, for_the_site, linked_files, place_in_site, slug
from stage_reference import with_reference


def on_config(config: Any) -> Any:
    config.mdx_configs["toc"]["slugify"] = slug  # a function, which plain YAML can't name
    return config


def on_files(files: Files, config: Any) -> Files:
    for source, place in PAGES_ELSEWHERE.items():
        files.append(File.generated(config, place, content=(ROOT / source).read_text(encoding="utf-8")))
    linked = {path for page in files.documentation_pages() for path in linked_files(page.content_string, page.src_uri)}
    for path in sorted(linked):
        files.append(File.generated(config, place_in_site(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    return with_reference(for_the_site(markdown, page.file.src_uri), page.file.src_uri)
