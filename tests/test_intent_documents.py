from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.intent.documents import read_document
from tasks.mistakes import Mistakes

CASES: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parent / "cases" / "intent_documents.yaml").read_text()
)["cases"]


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    monkeypatch.chdir(tmp_path)
    Path("hosts.yaml").write_text(case["text"])
    mistakes = Mistakes()

    document = read_document(Path("hosts.yaml"), "host", mistakes)

    assert list(mistakes.lines()) == case.get("mistakes", [])
    if "content" in case:
        assert document.content == case["content"]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_bytes(b"web-01: {data: {site: \xff\xfe}}\n")
    mistakes = Mistakes()
    assert read_document(tmp_path / "hosts.yaml", "host", mistakes).broken
    assert "is not YAML" in mistakes.lines()[0]


def test_a_folder_instead_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").mkdir()
    mistakes = Mistakes()
    assert read_document(tmp_path / "hosts.yaml", "host", mistakes).broken
    assert "cannot be read (Is a directory)" in mistakes.lines()[0]
