"""Links, files that a repository has, and commands in sentences, which are not run."""

from __future__ import annotations

import re

import pytest
from blocks import PAGES, ROOT, Command
from docs_plan import is_a_target

from video3d_plugin.cli import parser

INLINE = sorted(
    {
        (page.name, " ".join(text.split()))
        for page in PAGES
        for text in re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M))
        if re.match(r"(video3d|make) [a-z]", text)
    }
)


@pytest.mark.parametrize(("page", "text"), INLINE)
def test_a_command_in_a_sentence_exists_and_so_do_its_options(page, text):
    words = text.split()
    if words[0] == "make":
        return is_a_target(Command(page, tuple(words[:2])))
    assert words[1] in parser.COMMANDS
    options = parser.commands_of(parser.build_parser((words[1],)))[words[1]]._option_string_actions
    assert [word for word in words if word.startswith("--") and word.split("=")[0] not in options] == []


def test_links_lead_somewhere():
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []


@pytest.mark.parametrize("name", ["LICENSE", "CITATION.cff", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_what_a_repository_should_have_is_there(name):
    assert (ROOT / name).stat().st_size > 300


def test_the_citation_names_the_paper():
    import yaml

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    paper = citation["preferred-citation"]
    assert citation["license"] == "Apache-2.0" and "2412.00493" in paper["notes"]
    assert [a["family-names"] for a in paper["authors"]] == ["Zheng", "Huang", "Wang"]
