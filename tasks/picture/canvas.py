"""A canvas for drawings of boxes, lines and labels, as SVG text."""

from __future__ import annotations

from html import escape

#: A monospaced font: how wide a label is must be known here, where no font is at hand.
FONT = "DejaVu Sans Mono, Menlo, Consolas, Courier New, monospace"
#: Width of a character as a part of the font's size, rounded up.
CHARACTER = 0.61
#: What stays free at the right and at the bottom.
MARGIN = 20


def width_of(text: str, size: float) -> float:
    """How wide a label of this font size is, in the drawing's units."""
    return len(text) * size * CHARACTER


class Canvas:
    """Collects shapes; text is escaped, coordinates are rounded to tenths."""

    def __init__(self) -> None:
        """An empty drawing, as large as what is drawn on it."""
        self._shapes: list[str] = []
        self._right = 0.0
        self._bottom = 0.0

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str,
        stroke: str,
        dashed: bool = False,
        radius: float = 4,
    ) -> None:
        """A rectangle with round corners."""
        self._grow(x + width, y + height)
        self._shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'rx="{radius:g}" fill="{fill}" stroke="{stroke}"{_dashes(dashed)}/>'
        )

    def line(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        *,
        stroke: str,
        width: float = 2,
        dashed: bool = False,
    ) -> None:
        """A straight line."""
        self._grow(max(start[0], end[0]), max(start[1], end[1]))
        self._shapes.append(
            f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" '
            f'stroke="{stroke}" stroke-width="{width:g}"{_dashes(dashed)}/>'
        )

    def dot(self, x: float, y: float, *, fill: str) -> None:
        """A small disc, where a line is plugged in."""
        self._shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}"/>')

    def label(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 11,
        fill: str = "#222222",
        bold: bool = False,
        anchor: str = "start",
        upright: bool = False,
    ) -> None:
        """Text with its baseline at ``y``; ``upright`` turns it to read from bottom to top."""
        if not upright and anchor == "start":
            self._grow(x + width_of(text, size), y + size / 3)
        weight = ' font-weight="bold"' if bold else ""
        turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if upright else ""
        self._shapes.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{fill}" '
            f'text-anchor="{anchor}"{weight}{turn}>{escape(text)}</text>'
        )

    def svg(self, title: str) -> str:
        """The whole drawing."""
        width, height = self._right + MARGIN, self._bottom + MARGIN
        return "\n".join(
            [
                '<?xml version="1.0" encoding="UTF-8"?>',
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" '
                f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
                f'font-family="{FONT}">',
                f"<title>{escape(title)}</title>",
                f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
                *self._shapes,
                "</svg>\n",
            ]
        )

    def _grow(self, right: float, bottom: float) -> None:
        self._right = max(self._right, right)
        self._bottom = max(self._bottom, bottom)


def _dashes(dashed: bool) -> str:
    return ' stroke-dasharray="5 4"' if dashed else ""
