"""A report that means harm to who reads it."""

from __future__ import annotations

from dataclasses import replace

from exporter.report.model import Report, ReportedProgram
from tests.unit.report.builds import build
from tests.unit.report.samples import BEGAN_NS, act, sample, span_id

SPECIMENS = (
    "<script>window.hurt = 1</script>",
    "</script><script>window.hurt = 2</script>",
    '"><img src=x onerror="window.hurt = 3">',
    "' onfocus='window.hurt = 4' autofocus='",
    "<!--<script>",
    "]]><svg onload=window.hurt=5>",
    "{{ 7 * 7 }}{% raw %}${7*7}#{7*7}<%= 7*7 %>",
    "javascript:window.hurt=6//",
    "registry\u202egnp.elpmaxe",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "new\nline\ttab\0nul",
    "\u2028line\u2029separators",
    "not\ufffdutf8",
    "zero\u200bwidth\ufeff",
    "&lt;b&gt;&amp;",
    "x" * 100_000,
    "ü" * 3000 + "🦊" * 100,
    "__proto__",
    "constructor",
    "",
)
"""Texts that break pages."""


def hostile() -> Report:
    """Each text of each kind is one that breaks pages, and the tree of programs runs in circles."""
    programs = [
        ReportedProgram(
            span_id(n), span_id((n + 1) % 5 if n < 5 else n - 1), text, text, n, BEGAN_NS, BEGAN_NS
        )
        for n, text in enumerate(SPECIMENS)
    ]
    acts = [
        act(
            n,
            text or "empty.example",
            by=n,
            chain=(text, *SPECIMENS[:3]),
            address=text,
            question=text,
            outcome=text,
            error=text,
            rule=text,
            step=text,
            transport=text,
            novel=True,
            verdict=text if n % 2 else "deny",
            command_line=text,
            ancestors=SPECIMENS[:3],
        )
        for n, text in enumerate(SPECIMENS)
    ]
    acts.append(replace(acts[0], started_ns=0, ended_ns=1 << 63, parent_id="nobody"))
    job = replace(
        build(),
        title=SPECIMENS[1],
        trace_id=SPECIMENS[2],
        pipeline=SPECIMENS[0],
        task=SPECIMENS[1],
        run_id=SPECIMENS[2],
        repository=SPECIMENS[8],
        mode=SPECIMENS[3],
        programs=tuple(programs),
        acts=tuple(acts),
    )
    return sample(job, replace(job, title=SPECIMENS[8]), notes=SPECIMENS, left_out=3)
