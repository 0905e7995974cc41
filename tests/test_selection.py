from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.errors import UsageError
from tasks.intent.model import Intent
from tasks.load import load_intent
from tasks.selection import select

HERE = Path(__file__).parent
CASES: dict[str, Any] = yaml.safe_load((HERE / "cases" / "selection.yaml").read_text())["cases"]


@pytest.fixture(scope="module")
def voice() -> Intent:
    return load_intent(HERE.parent / "inventory" / "voice")


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, voice: Intent) -> None:
    case = CASES[name]
    if "error" in case:
        with pytest.raises(UsageError) as caught:
            select(voice, case["selectors"])
        assert str(caught.value) == case["error"]
    else:
        assert select(voice, case["selectors"]) == frozenset(case["names"])


def test_no_selector_chooses_all(voice: Intent) -> None:
    assert select(voice, ()) == frozenset(voice.names())
