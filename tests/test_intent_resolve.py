from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import InventoryError
from tasks.intent.merge import merge
from tasks.load import load_intent
from tests.test_intent_mistakes import CONTENT as BASE
from tests.test_intent_mistakes import mistakes_of, read, write

CASES: dict[str, Any] = read("intent_resolve.yaml")["cases"]


def look_up(value: Any, path: str) -> Any:
    for quoted, plain in re.findall(r"\[(.+?)\]|([^.\[\]]+)", path):
        key = quoted or plain
        value = value[key] if isinstance(value, Mapping) else getattr(value, key)
    return value


def as_text(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {key: as_text(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [as_text(item) for item in value]
    return str(value)


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, tmp_path: Path) -> None:
    case = dict(CASES[name])
    resolved = case.pop("resolved")
    folder = write(tmp_path / "fleet", merge(BASE["base"], case))

    intent = load_intent(folder)

    found = {path: as_text(look_up(intent, path)) for path in resolved}
    assert found == {path: as_text_of_yaml(value) for path, value in resolved.items()}


def as_text_of_yaml(value: Any) -> Any:
    return str(value) if isinstance(value, int) else value


def render(template: str, folder: Path) -> list[str]:
    """The mistakes, or the file's content, of a host with this template."""
    files = {"/etc/motd": {"template": "templates/motd.j2"}}
    write(
        folder,
        merge(
            BASE["base"],
            {"hosts": {"web-01": {"data": {"site": "ams", "configure": {"files": files}}}}},
        ),
    )
    (folder / "templates").mkdir()
    (folder / "templates" / "motd.j2").write_text(template)
    try:
        return [load_intent(folder).containers["web-01"].configure.files[0].content]
    except InventoryError as error:
        return [
            line.partition("template: ")[2].replace(str(folder), "FOLDER")
            for line in error.mistakes
        ]


TEMPLATES: dict[str, Any] = read("intent_templates.yaml")["cases"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_template(name: str, tmp_path: Path) -> None:
    case = TEMPLATES[name]
    assert render(case["template"], tmp_path / "fleet") == [case["rendered"]]


def test_a_template_reads_no_secret_and_no_file(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HIDDEN", "horse staple")
    key = tmp_path / "key"
    key.write_text("horse staple")
    folder = write(
        tmp_path / "fleet",
        merge(
            BASE["base"],
            {
                "defaults": {
                    "data": {
                        "ssh_key": str(key),
                        "configure": {
                            "files": {
                                "/etc/a": {"template": "a.j2"},
                                "/etc/b": {"template": "b.j2"},
                            }
                        },
                    }
                },
                "groups": {
                    "lxd-host": {
                        "data": {"lxd": {"config": {"core.trust_password": {"env": "HIDDEN"}}}}
                    }
                },
            },
        ),
    )
    (folder / "a.j2").write_text("{{ data.lxd.config['core.trust_password'].read() }}")
    (folder / "b.j2").write_text("{{ machine.ssh.key_file.read_text() }}")

    mistakes = "\n".join(mistakes_of(folder))

    assert "attribute 'read' of 'Secret' object is unsafe" in mistakes
    assert "attribute 'read_text' of 'PosixPath' object is unsafe" in mistakes
    assert "horse" not in mistakes
