"""A secret that was read is hidden in what others have written: LXD quotes what it refuses."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tasks.errors import LxdError, SecretError
from tasks.intent.secret import Secret, hide
from tasks.log import log_to
from tasks.outcome import failure


def test_each_secret_that_was_read_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "token").write_text('Odd "one"\nof two lines\n')
    value = Secret("file", str(tmp_path / "token")).read()
    assert hide(f"refused: {value}!") == "refused: (secret)!"
    assert hide(f"refused: {value!r}!") == "refused: '(secret)'!"
    assert hide(r'refused: "Odd \"one\"\nof two lines"!') == 'refused: "(secret)"!'


def test_an_empty_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "")
    with pytest.raises(SecretError, match="the secret in EMPTY is empty; give it a value"):
        Secret("env", "EMPTY").read()


def test_what_was_not_read_and_what_is_too_short_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT", "17")
    Secret("env", "SHORT").read()
    assert hide("17 of 17 hosts, Never-Read-Secret") == "17 of 17 hosts, Never-Read-Secret"


def test_a_failure_and_its_traceback_in_the_log_show_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("QUOTED", "Quoted-By-Somebody")
    value = Secret("env", "QUOTED").read()
    with log_to(tmp_path, "run") as path:
        try:
            try:
                raise ValueError(f"cannot set a key to {value}")
            except ValueError as error:
                raise LxdError(f"LXD refused it: {error}") from error
        except LxdError as error:
            record = failure("lxd", error)
        logging.getLogger("tasks").error("with its own words: %s", value)
    assert record["message"] == "LXD refused it: cannot set a key to (secret)"
    log = path.read_text()
    assert "ValueError: cannot set a key to (secret)" in log
    assert "with its own words: (secret)" in log
    assert value not in log
