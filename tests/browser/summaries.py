"""A job's summary as GitHub's renderer makes it, in a page that is laid out as GitHub lays it out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cmarkgfm
from cmarkgfm.cmark import Options

from exporter.pipeline.account import Account
from exporter.report.markdown import render
from exporter.report.sheet import Sheet
from tests.unit.report.sheets import TRACE_URL, row, sheet

_STYLE = """
body { margin: 0; padding: 16px; font: 14px/1.5 "DejaVu Sans", sans-serif; color: #1f2328;
  background: #fff; overflow-wrap: break-word; max-width: 880px; }
h3 { font-size: 1.25em; margin: 16px 0; } h4 { font-size: 1em; margin: 16px 0 8px; }
p, table, ul, pre, details { margin: 0 0 12px; }
code, pre { font: 85% "DejaVu Sans Mono", monospace; background: #eff1f3; border-radius: 6px; }
code { padding: .2em .4em; white-space: break-spaces; }
pre { padding: 12px; overflow: auto; } pre code { padding: 0; white-space: pre; background: none;
  font-size: 100%; }
table { display: block; width: max-content; max-width: 100%; overflow: auto; border-collapse: collapse; }
th, td { padding: 6px 10px; border: 1px solid #d1d9e0; } tr { background: #fff; }
a { color: #0969da; text-decoration: none; }
"""
"""GitHub's, as far as it matters for what fits where."""

INSTALL = ("bash", "npm", "node")
EVIL = (*INSTALL, "sh", "curl")
PUBLISH = ("bash", "make", "aws")
TEST = ("bash", "make", "pytest")
STORE = "artifacts.eu-central-1.storage.example"
METADATA = "169.254.169.254"
THEFT: dict[str, Any] = {"chain": EVIL, "step": "install", "novel": True}
NEW: dict[str, Any] = {"novel": True, "verdict": "audit", "rule": "default"}


def example() -> Sheet:
    """One job that went somewhere new."""
    known = (
        row(chain=INSTALL, step="install", attempts=1100, sent=300_000, received=55_000_000, novel=False),
        row("192.0.2.53", 53, "udp", chain=INSTALL, step="install", attempts=58, novel=False),
        row("files.example", chain=("bash", "pip"), step="install", attempts=31, failed=2, novel=False),
        row(STORE, chain=PUBLISH, step="publish", attempts=3, sent=18_000_000, received=9000, novel=False),
        row("127.0.0.1", 5432, chain=TEST, step="test", attempts=9, loopback=True, novel=False),
    )
    theft = row("beacon.example", chain=EVIL, step="install", attempts=2, sent=90_000, received=1200, **NEW)
    cloud = row(METADATA, 80, chain=EVIL, step="install", failed=1, **{**NEW, "rule": METADATA})
    told = "note: docker ran: what the Docker daemon did on its behalf isn't seen here"
    return sheet(*known, theft, cloud, mode="audit", notes=[told])


def small() -> Sheet:
    """As much as the manual has room for."""
    return sheet(row(chain=INSTALL, attempts=1202, novel=False), row("beacon.example", attempts=2, **THEFT))


def markdown(*sheets: Sheet) -> str:
    return render(sheets, account=Account(1204, 1100, 104), trace_url=TRACE_URL)


def page(text: str, folder: Path) -> Path:
    """The path of a page that shows `text`, which is Markdown."""
    body = cmarkgfm.github_flavored_markdown_to_html(text, Options.CMARK_OPT_UNSAFE)
    path = folder / "summary.html"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Summary</title>'
    path.write_text(f'<!doctype html><html lang="en">{head}<style>{_STYLE}</style>{body}')
    return path
