from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.errors import InventoryError
from tasks.intent.documents import read_document
from tasks.intent.merge import merge
from tasks.load import load_intent
from tasks.mistakes import Mistakes

CASES = Path(__file__).parent / "cases"


def read(name: str) -> Any:
    # The inventory's own reader: to PyYAML the key `on` is a boolean.
    return read_document(CASES / name, "defaults", Mistakes()).content


def write(folder: Path, files: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def mistakes_of(folder: Path) -> list[str]:
    try:
        load_intent(folder)
    except InventoryError as error:
        assert len(error.mistakes) == len(str(error).splitlines())
        return list(error.mistakes)
    return []


CONTENT = read("intent_mistakes.yaml")


@pytest.mark.parametrize("name", CONTENT["cases"])
def test_case(name: str, tmp_path: Path) -> None:
    case = dict(CONTENT["cases"][name])
    expected = case.pop("mistakes")
    folder = write(tmp_path / "fleet", merge(CONTENT["base"], case))

    found = [line.partition(": ")[2].replace(str(folder), "FOLDER") for line in mistakes_of(folder)]

    assert sorted(found) == sorted(expected)
