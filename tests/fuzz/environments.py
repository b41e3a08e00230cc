"""Environments: read and made into a job, whatever they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator

from exporter.common.errors import UsageError
from exporter.events.environments import variables
from exporter.jobs.attributes import resource_attributes, span_attributes
from exporter.jobs.detect import detect, recognise
from exporter.jobs.model import Job
from exporter.jobs.providers import PROVIDERS
from exporter.jobs.sources import read
from exporter.jobs.text import MAX_CHARS
from tests.fuzz.draw import Draw
from tests.unit.jobs.provider_environments import VARIABLES

_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff]")
_SECRET = "s3cr3tPassw0rd"  # noqa: S105 - it is planted
_URLS = (
    f"https://user:{_SECRET}@git.example/group/app.git",
    f"https://{_SECRET}@git.example/group/app",
    f"ssh://git:{_SECRET}@git.example:22/group/app",
    *(
        "git@git.example:group/app.git",
        "javascript:alert(1)",
        "https://git.example",
        "http://[2001:db8::1]:80/x",
    ),
)
_VALUES = (
    *(
        "true",
        "1",
        "refs/heads/main",
        "refs/tags/v1",
        "refs/tags/",
        "woodpecker",
        "a/b/c",
        "123",
        "{",
        '{"name":"a"',
        "\x1b[2J",
    ),
    *(
        "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01",
        "ff-" + "0" * 32 + "-" + "0" * 16 + "-00",
        "a=b,c=d",
        " ",
        "$A",
    ),
    *("x" * 1024, "\u202e" * 1025, "\ud800", *_URLS),
)


def check(draw: Draw) -> None:
    """Mostly of a known system, with some of the variables that any of them has."""
    environ: dict[str, str] = {}
    if draw.chance(0.9):
        for mark in draw.choice(PROVIDERS).present:
            name, _, expected = mark.partition("=")
            environ[name] = expected or "x"
    for _ in range(draw.length(30)):
        environ.setdefault(draw.choice(VARIABLES), value(draw))
    if draw.chance(0.5):
        environ = variables(_block(environ))
    becomes_a_job(environ)
    job_env = draw.choice(VARIABLES)
    try:
        _is_clean(detect(environ, job_env=job_env))
    except UsageError:
        assert read(job_env, environ) is None


def value(draw: Draw) -> str:
    """Mostly one that some CI system may set, or that looks like it."""
    return draw.choice(_VALUES) if draw.chance(0.8) else draw.text(40)


def _block(environ: dict[str, str]) -> bytes:
    return "".join(f"{name}={value}\0" for name, value in environ.items()).encode(errors="surrogatepass")


def becomes_a_job(environ: dict[str, str]) -> None:
    """The same one each time, and nothing in it is harmful."""
    job = detect(environ, new_run_id=lambda: "fresh")
    assert job == detect(environ, new_run_id=lambda: "fresh")
    recognised = recognise(environ)
    assert job.provider == (recognised.name if recognised else "run")
    _is_clean(job)


def _is_clean(job: Job) -> None:
    assert 0 < job.ids.trace_id < 1 << 128
    assert 0 < job.ids.job_span_id < 1 << 64
    assert job.ids.parent_span_id is None or 0 < job.ids.parent_span_id < 1 << 64
    assert job.ids.trace_state.isascii()
    for text in (*_texts(job), job.display_name):
        assert 0 < len(text) <= MAX_CHARS + len("ssh://"), text
        assert not _STEERING.search(text), ascii(text)
        assert text == text.strip()
        assert text.encode().decode() == text
        assert f":{_SECRET}@" not in text
    for url in (job.run_url, job.repository_url):
        assert url is None or (re.match(r"[A-Za-z][\w+.-]*://[^/@]+", url) and "javascript:" not in url[:11])
        assert url is None or _SECRET not in url.partition("//")[2].partition("/")[0]
    assert all(span_attributes(job).values())
    assert all(resource_attributes(job).values())


def _texts(job: Job) -> Iterator[str]:
    yield from (value for value in vars(job).values() if isinstance(value, str))
    for claim in job.claims:
        yield from (name for name in (claim.provider, claim.pipeline, claim.task) if name is not None)
