"""Documents as PNG, by Debian's Chromium."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

FOLDER = Path(__file__).resolve().parents[2] / "build" / "pictures"
CHROMIUM = Path(shutil.which("chromium") or "/usr/bin/chromium")
WAIT_MS = 60_000
"""Time to wait for what comes at once, unless the machine stalls: after it, something has failed."""
_WIDE_PX = 4000
_LINE_PX = 100


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium during the block. It has no sandbox, as for root, so it is for documents of one's own."""
    expect.set_options(timeout=WAIT_MS)
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as running,
    ):
        yield running


def picture(browser: Browser, svg: str, name: str, *, width_px: int = 1500) -> Path:
    """Draw `svg` as FOLDER/`name`.png, so many pixels wide; returns its path."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.png"
    page = browser.new_page(viewport={"width": _WIDE_PX, "height": 800})
    page.set_default_timeout(WAIT_MS)
    try:
        page.set_content(f"<style>body{{margin:0}}svg{{width:{width_px}px;display:block}}</style>{svg}")
        page.locator("svg").screenshot(path=path, omit_background=True)
    finally:
        page.close()
    return path


def is_picture(path: Path, *, width_px: int) -> bool:
    """Whether the file is a PNG of this width, and higher than a line."""
    head = path.read_bytes()[:24]
    width, height = struct.unpack(">II", head[16:24])
    return head.startswith(b"\x89PNG") and width == width_px and height > _LINE_PX
