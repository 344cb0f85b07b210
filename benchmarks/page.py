"""Sections of a results page that programs write: what a command measured stands there as it printed it.

    write_section("docs/results.md", "scene-inputs", markdown)

replaces what lies between `<!-- begin scene-inputs -->` and `<!-- end scene-inputs -->` and leaves every other byte of
the page alone. A section that is not there yet is added at the end, a page that is not there yet is begun.
"""

from __future__ import annotations

import platform
import re
from datetime import date
from pathlib import Path

from video3d_plugin.errors import DataError
from video3d_plugin.files.atomic import write_bytes

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_NEW_PAGE = "# Results\n\nWritten by the commands themselves; text outside the marked sections is written by hand.\n"


def write_section(page: str | Path, name: str, markdown: str) -> None:
    """Put `markdown` into section `name` of `page`; the page is replaced in one step, or not at all.

    One writer at a time: two that end together could lose one's section. Raises DataError where the page's marks do
    not pair, and for a name that is not lower-case letters, digits and hyphens.
    """
    page = Path(page)
    if not _NAME.fullmatch(name):
        raise DataError(f"section name {name!r}", where=page, remedy="use lower-case letters, digits and hyphens")
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    if "<!-- begin " in markdown or "<!-- end " in markdown:
        raise DataError(f"the text of section {name} holds a section mark", where=page, remedy="write it without")
    text = page.read_text(encoding="utf-8") if page.exists() else _NEW_PAGE
    section = f"{begin}\n{markdown.strip()}\n{end}"
    starts, ends = text.count(begin), text.count(end)
    if (starts, ends) == (0, 0):
        text = f"{text.rstrip()}\n\n{section}\n"
    elif (starts, ends) == (1, 1) and text.index(begin) < text.index(end):
        text = text[: text.index(begin)] + section + text[text.index(end) + len(end) :]
    else:
        raise DataError(
            f"section {name} has {starts} begin and {ends} end marks",
            where=page,
            remedy=f"leave one `{begin}` and one `{end}` after it",
        )
    write_bytes(page, text.encode("utf-8"))


def machine() -> str:
    """One line for a section: date, processor, threads that torch uses, GPU, versions."""
    import torch
    import transformers

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{date.today().isoformat()}, {processor()}, {gpu}, {torch.get_num_threads()} thread(s), "
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"
    )


def processor() -> str:
    """The processor's name where the system tells it, else its architecture."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", info.read_text(), re.M) if info.exists() else []
    return names[0].strip() if names else platform.machine()


def table(header: list[str], rows: list[list[str]]) -> str:
    """A markdown table; columns after the first are right-aligned."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *rows])
