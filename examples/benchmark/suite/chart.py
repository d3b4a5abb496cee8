"""Bar charts as SVG, readable on light and on dark ground."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, LABEL_WIDTH, VALUE_WIDTH = 760, 170, 110  # pixels
BAR_HEIGHT, GROUP_GAP, TITLE_HEIGHT = 16, 30, 34
GREY = "#808080"  # on white and on black alike
COLOURS = {"ours": "#2f8f5b", "native": "#9a9a9a"}
PEER_COLOUR = "#5b82b8"


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        name: Of the contender.
        value: Its median; the bar's length.
        low: Lower quartile, where the whisker begins.
        high: Upper quartile, where it ends.
        text: The value as it is written beside the bar.
        kind: "ours", "native" or anything else.
    """

    name: str
    value: float
    low: float
    high: float
    text: str
    kind: str


def draw(title: str, groups: Mapping[str, Sequence[Bar]]) -> str:
    """A chart of groups of horizontal bars; each group has a scale of its own."""
    parts: list[str] = []
    y = TITLE_HEIGHT
    for name, bars in groups.items():
        parts.append(_text(0, y + 12, name, weight="bold"))
        y += 20
        longest = max(bar.high for bar in bars) or 1
        for bar in bars:
            parts += _bar(bar, y, (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / longest)
            y += BAR_HEIGHT + 2
        y += GROUP_GAP - 20
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" '
        f'font-family="sans-serif" font-size="12" fill="{GREY}" role="img">'
    )
    return "\n".join(
        [head, f"<title>{html.escape(title)}</title>", _text(0, 18, title, "bold", 15), *parts, "</svg>", ""]
    )


def _bar(bar: Bar, y: float, scale: float) -> list[str]:
    colour = COLOURS.get(bar.kind, PEER_COLOUR)
    middle = y + BAR_HEIGHT / 2
    low, high = (LABEL_WIDTH + edge * scale for edge in (bar.low, bar.high))
    return [
        _text(LABEL_WIDTH - 6, y + 12, bar.name, anchor="end"),
        f'<rect x="{LABEL_WIDTH}" y="{y}" width="{bar.value * scale:.1f}" height="{BAR_HEIGHT}" fill="{colour}"/>',
        f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="{GREY}" stroke-width="3"/>',
        _text(max(high, LABEL_WIDTH + bar.value * scale) + 6, y + 12, bar.text),
    ]


def _text(x: float, y: float, text: str, weight: str = "normal", size: int = 12, anchor: str = "start") -> str:
    style = f'font-weight="{weight}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{html.escape(text)}</text>'
