"""What the site of the documents needs beside mkdocs.yml: MkDocs calls these functions.

The pages stand at the paths that the files have in the repository, so that a link means the same
on the site, in an editor and on a hosting service. Diagrams are drawn while the site is built.
"""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from typing import Any

import mermaidx
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = ("README.md", "*.md", "LICENSE", "tests/README.md", "benchmarks/NOTES.md")
"""The documents that do not stand in docs/. README.md is the front page."""

ASYNCAPI = """# AsyncAPI document

`consumer contract --asyncapi` prints it, and [asyncapi.yaml](asyncapi.yaml) is the file itself.

```yaml
{text}```
"""

LOADED = re.compile(r"""(?:\bsrc=|<link\b[^>]*\bhref=|@import\s)["']?(?:https?:)?//[^"'\s>]*""")
"""What a browser fetches without being asked; a link that is followed is no such thing."""

log = get_plugin_logger("site")
diagrams = count(1)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Draw Mermaid fences here: in a browser they would need a script from another host."""
    fence = {"name": "mermaid", "class": "diagram", "format": drawn}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put each file where the repository has it, and add those from outside docs/."""
    theme = [file for file in files if file.src_dir != config.docs_dir]
    inside = sorted(path for path in (ROOT / "docs").rglob("*") if path.is_file())
    outside = [path for pattern in ELSEWHERE for path in sorted(ROOT.glob(pattern))]
    paths = dict.fromkeys(str(path.relative_to(ROOT)) for path in (*outside, *inside))
    asyncapi = (ROOT / "docs" / "asyncapi.yaml").read_text(encoding="utf-8")
    return Files(
        [
            *theme,
            *(File(path, str(ROOT), config.site_dir, config.use_directory_urls) for path in paths),
            File.generated(config, "docs/asyncapi.md", content=ASYNCAPI.format(text=asyncapi)),
        ]
    )


def on_post_page(output: str, page: Page, **_: Any) -> str:  # noqa: ANN401 -- MkDocs' own
    """Warn of a page that loads something from another host; a strict build fails by it."""
    for loaded in LOADED.findall(output):
        log.warning("%s loads from another host: %s", page.file.src_uri, loaded)
    return output


def drawn(source: str, *_: Any, **__: Any) -> str:  # noqa: ANN401 -- superfences' own
    """Return the diagram as an SVG element; its ids are its own, since a page may have several."""
    svg: str = mermaidx.render(source).svg()
    named = svg.replace("my-svg", f"diagram-{next(diagrams)}")
    return f'<div class="diagram">{named}</div>'
