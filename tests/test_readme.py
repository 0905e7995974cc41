"""What the README says, where it can be held against the code."""

from __future__ import annotations

import re
from pathlib import Path

import tasks

README = Path(__file__).parent.parent / "README.md"


def test_it_names_every_public_task_once() -> None:
    text = README.read_text().split("\n## In a notebook\n")[1].split("\n## ")[0]
    listed = re.search(r"^Tasks on LXD hosts: .*?\n\n", text, re.DOTALL | re.MULTILINE)
    assert listed
    named = re.findall(r"`([a-z_]+)[`(]", listed[0])
    assert sorted(named) == sorted(set(tasks.__all__) - {"open_fleet"})


def test_a_heading_has_an_empty_line_before_it() -> None:
    text = re.sub(r"```.*?```", "", README.read_text(), flags=re.DOTALL)
    assert re.findall(r"[^\n]\n(#+ .*)", text) == []
