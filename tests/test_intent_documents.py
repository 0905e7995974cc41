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


@pytest.mark.parametrize(
    ("raw", "mistake"),
    [
        (
            b"web-01: {}\nweb-02: {data: {site: Z\xfcrich}}\n",
            "hosts.yaml:2: is not UTF-8: its byte 0xfc on this line is not; "
            "write this line anew, or save the file as UTF-8",
        ),
        (
            "web-01: {}\n".encode("utf-16"),
            "hosts.yaml:1: is not UTF-8: its byte 0xff on this line is not; "
            "write this line anew, or save the file as UTF-8",
        ),
        (
            b"web-01: {}\n\nweb-02: {data: {site: \x07}}\n",
            "hosts.yaml:3: holds the control character 0x07, which YAML does not take; "
            "take it out of this line",
        ),
    ],
)
def test_bytes_that_are_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes, mistake: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hosts.yaml").write_bytes(raw)
    mistakes = Mistakes()
    assert read_document(Path("hosts.yaml"), "host", mistakes).broken
    assert list(mistakes.lines()) == [mistake]


def test_a_folder_instead_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").mkdir()
    mistakes = Mistakes()
    assert read_document(tmp_path / "hosts.yaml", "host", mistakes).broken
    assert "cannot be read (Is a directory)" in mistakes.lines()[0]
