"""Render a report as one HTML file. It loads nothing, and no recorded text in it can run or hide anything.

Its Content-Security-Policy lets only the one script and the one style sheet through, by their hashes. The
recorded data comes as JSON in a block that no browser runs, and becomes text nodes. Without JavaScript there
is a table of destinations.
"""

from __future__ import annotations

import json
from base64 import b64encode
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.report.page.data import PageData
from exporter.report.page.plain import plain_jobs

if TYPE_CHECKING:
    from jinja2 import Template

    from exporter.baseline.model import Baseline
    from exporter.policy.model import Policy

    from .model import Report

PAGE = Path(__file__).parent / "page"
SCRIPTS = (
    "dom",
    "data",
    "badges",
    "head",
    "table",
    "details",
    "pane",
    "tree",
    "marks",
    "timeline",
    "news",
    "policy",
    "tabs",
    "main",
)
"""The names of the scripts, in the order in which they are joined to one."""
_STYLES = ("base", "views", "narrow")
_ESCAPES = str.maketrans(
    {
        "<": "\\u003c",
        ">": "\\u003e",
        "&": "\\u0026",
        "\u2028": "\\u2028",
        "\u2029": "\\u2029",
    }
)


def prepare() -> None:
    """Read now the files that pages are made of: later, a job may have put other files in their place."""
    _page()
    _joined("js", SCRIPTS)
    _joined("css", _STYLES)


def render(
    report: Report,
    *,
    trace_url: str | None = None,
    baseline: Baseline | None = None,
    policy: Policy | None = None,
) -> str:
    """Render the page.

    `trace_url` is the URL of a trace, with `{trace_id}` in it. A `baseline` decides which acts are new, in
    place of the recorded decisions. With a `policy`, the page shows its decision on each act; in it,
    `resolvers: system` means this machine's resolvers.
    """
    from markupsafe import Markup

    from exporter.policy.resolvers import system_resolvers

    resolvers = system_resolvers() if policy is not None else ()
    data = PageData(report, baseline=baseline, policy=policy, resolvers=resolvers, trace_url=trace_url)
    script, style = _joined("js", SCRIPTS), _joined("css", _STYLES)
    return _page().render(
        csp=_policy(script, style),
        script=Markup(script),  # noqa: S704 - the project's own
        style=Markup(style),  # noqa: S704
        data=Markup(embedded(data.fields)),  # noqa: S704 - `embedded` escapes it
        jobs=plain_jobs(data),
        account=data.fields["account"],
        notes=data.fields["notes"],
        title=data.fields["jobs"][0]["title"] if len(data.fields["jobs"]) == 1 else "several jobs",
    )


def embedded(value: Any) -> str:
    """Encode `value` as JSON that means nothing to a parser of HTML, wherever it stands."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES)


def _policy(script: str, style: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",  # its icon
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


@lru_cache(maxsize=1)
def _page() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja")


@lru_cache(maxsize=2)
def _joined(kind: str, names: tuple[str, ...]) -> str:
    parts = [(PAGE / kind / f"{name}.{kind}").read_text(encoding="utf-8") for name in names]
    return "\n" + "\n".join(parts)
