"""A terminal's text as SVG: without anything from elsewhere, in a font that Debian has."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import RenderableType

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.terminal_theme import TerminalTheme

_FONT = "DejaVu Sans Mono"
_THEME = TerminalTheme(
    (22, 27, 34),
    (214, 221, 230),
    [
        (72, 79, 88),
        (255, 123, 114),
        (86, 211, 100),
        (227, 179, 65),
        (121, 192, 255),
        (210, 168, 255),
        (86, 212, 221),
        (201, 209, 217),
    ],
    [
        (110, 118, 129),
        (255, 161, 152),
        (126, 231, 135),
        (242, 204, 96),
        (165, 214, 255),
        (226, 197, 255),
        (179, 240, 255),
        (255, 255, 255),
    ],
)


def terminal_svg(shown: str | RenderableType, *, title: str, columns: int) -> str:
    """Draw `shown`, which may have a terminal's colours, in a window of so many `columns`."""
    console = Console(
        record=True,
        width=columns,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
        emoji=False,
        markup=False,
    )
    console.print(Text.from_ansi(shown) if isinstance(shown, str) else shown)
    return console.export_svg(title=title, theme=_THEME, code_format=_format())


def _format() -> str:
    """Return Rich's own format, but with another font: its own would come from a server elsewhere."""
    local = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return local.replace("Fira Code", _FONT)
