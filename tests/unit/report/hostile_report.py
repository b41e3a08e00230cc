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


HOSTILE = {
    "HTML": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "the end of what it stands in": "</code></td></tr></table></details><h1>All is well</h1>",
    "an attribute": '" onmouseover="alert(1)',
    "a comment": "<!-- hidden",
    "CDATA": "<![CDATA[ x ]]>",
    "a link": "[click](https://evil.example)",
    "an image": "![x](https://evil.example/pixel.png)",
    "a reference": "[x]: https://evil.example",
    "a footnote": "[^1]",
    "a URL": "https://evil.example/?q=1",
    "a domain": "www.evil.example",
    "a mail address": "someone@evil.example",
    "a mention": "@octocat",
    "a team": "@org/team",
    "an issue": "#1 GH-1 org/repo#1",
    "a merge request": "!1 $1 &1 %1 ~bug",
    "a commit": "deadbeefcafe org/repo@deadbeef",
    "emoji": ":rocket: :+1:",
    "mathematics": "$\\sqrt{x}$ $$x$$",
    "code": "`x` ``y`` ```",
    "a fence": "```\n\n# heading\n\n```yaml\nversion: 1",
    "a table": "a | b | c \\| d\n|---|---|---|\n",
    "emphasis": "**bold** _it_ ~~gone~~ <b>x</b>",
    "headings": "# one\n\n## two\n---\n",
    "entities": "&lt;b&gt; &amp; &#64;octocat &copy;",
    "a colour": "\x1b[31mred\x1b[0m",
    "a link of the terminal": "\x1b]8;;https://evil.example\x1b\\x\x1b]8;;\x1b\\",
    "lines": "a\n\nb\r\nc\u2028d\u2029e\x85f",
    "NUL": "a\x00b",
    "directions": "\u202egnp.exe\u202c\u2066x\u2069\u200f",
    "hidden characters": "a\u200bb\ufeffc\u2060d\U000e0041\u00ad",
    "surrogates": "\udc80\ud800",
    "commands": "::add-mask::x",
    "commands of old": "##[add-mask]x ##vso[task]x",
    "a command on a line": "x\n::stop-commands::x\n",
}
