"""Templates of files: Jinja2 in its sandbox, where an undefined name is a mistake."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from traceback import walk_tb
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined, TemplateError, TemplateNotFound
from jinja2.exceptions import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tasks.intent.model import Machine
from tasks.intent.secret import Secret
from tasks.mistakes import Mistakes, Place


class _Environment(ImmutableSandboxedEnvironment):
    """Neither a secret nor a file of the controller can be read from a template."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, Secret | PurePath) and callable(value):
            return False
        return super().is_safe_attribute(obj, attr, value)


class Templates:
    """The templates of one inventory folder, each read once."""

    def __init__(self, folder: Path, fleet: Mapping[str, object], mistakes: Mistakes) -> None:
        """``fleet`` are further variables for all templates."""
        self._environment = _Environment(
            loader=FileSystemLoader(folder),
            undefined=StrictUndefined,
            autoescape=False,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._fleet = fleet
        self._folder = folder
        self._mistakes = mistakes

    def render(self, template: str, machine: Machine, place: Place) -> str | None:
        """A template with ``name``, ``machine``, ``data`` and the fleet's names; None with a
        mistake at ``place`` where it cannot be rendered."""
        try:
            return self._environment.get_template(template).render(
                name=machine.name, machine=machine, data=machine.data, **self._fleet
            )
        except TemplateNotFound as error:
            self._mistakes.add(
                place,
                f"there is no template {self._folder / str(error.name)}",
                "write its path from the inventory folder on",
            )
        except TemplateSyntaxError as error:
            self._mistakes.add(
                place, f"{error.filename}:{error.lineno}: {error.message}", "mend the template"
            )
        except Exception as error:  # a template's own expressions may raise anything
            where = self._line(error, template)
            kind = "" if isinstance(error, TemplateError) else f"{type(error).__name__}: "
            self._mistakes.add(place, f"{where}: {kind}{error}", "mend the template, or the data")
        return None

    def _line(self, error: Exception, template: str) -> str:
        frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
        inside = [
            f"{file}:{line}" for file, line in frames if Path(file).is_relative_to(self._folder)
        ]
        return inside[-1] if inside else str(self._folder / template)
