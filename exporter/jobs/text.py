"""Make hostile text of a job's environment short, printable, valid UTF-8, without credentials."""

from __future__ import annotations

import re
from functools import lru_cache

from exporter.redact.command_lines import redact_arguments

MAX_CHARS = 1024
"""Longest value kept. Providers stay far below (GitLab cuts job names and refs at 255, Jenkins nests folders
of 255 a few deep); these values stand on every egress span, so a longer one is an attack or a mistake."""

ORDINARY_CHARS = 256
"""The length beyond which a value counts as long; ordinary values are shorter."""
_LONG_CHARS = 2 * MAX_CHARS
"""The characters that a job's long values may have together, beyond the first ORDINARY_CHARS of each. Once
these are used up, further values are cut at ORDINARY_CHARS."""

_KEPT = 256
"""The number of texts whose public form is cached."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+")
_SPACES = re.compile(r"(\s+)")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_USER_INFO = re.compile(r"(?<=://)[^\s/?#]*@")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#\\]*)([^\\]*)")
_HOST = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_SCP = re.compile(r"(?:[\w.-]+@)?([\w.-]+\.[\w-]+):(?!/)(\S+)")


def clean_text(raw: str) -> str | None:
    """Return `raw` as short, valid UTF-8; None when nothing is left.

    Control and direction characters and the user info of URLs are removed, and the rest is cut to
    `MAX_CHARS`.
    """
    return _shortened(_legible(raw))


class Publishing:
    """A redaction of all texts of one job.

    After the first long texts (`_LONG_CHARS`), further ones are cut at ORDINARY_CHARS. So the redaction takes
    some 30 ms, whatever the texts are.
    """

    def __init__(self) -> None:
        """Begin with no text."""
        self._left = _LONG_CHARS
        self._public = set[str]()

    def __call__(self, raw: str) -> str | None:
        """Return `public_text` of the next text; a text that this returned before is returned unchanged."""
        if raw in self._public:
            return raw
        most = 2 * MAX_CHARS if self._left > 0 else ORDINARY_CHARS
        self._left -= max(0, len(raw) - ORDINARY_CHARS)
        public = public_text(raw, most)
        if public is not None:
            self._public.add(public)
        return public


def public_text(raw: str, most_chars: int = 2 * MAX_CHARS) -> str | None:
    """Return the text as `clean_text` does, with `<redacted>` for secrets, found as in a command line.

    Only the first `most_chars` are looked at, and kept.
    """
    text = _legible(raw)
    head = text[:most_chars]  # cut here, too, to bound the work: other jobs wait meanwhile
    if head != text:
        head = head.rpartition(" ")[0] or head  # half a secret is harder to recognise
    return _public(head)


@lru_cache(_KEPT)
def _public(text: str) -> str | None:
    """Redact and shorten; cached, since a job's processes have the same values again and again."""
    return _shortened(_without_secrets(text))


def _legible(raw: str) -> str:
    # Cut first: the bound holds for the work too. Eight times as much leaves room for removed characters.
    printable = _CONTROLS.sub("", raw[: 8 * MAX_CHARS])
    return _USER_INFO.sub("", _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", printable))


def _without_secrets(text: str) -> str:
    # As a script, then word by word: in prose a lone apostrophe would be a quote up to the end.
    (redacted,) = redact_arguments([text])
    words = _SPACES.split(redacted)
    words[::2] = redact_arguments(words[::2])
    return "".join(words)


def _shortened(text: str) -> str | None:
    """Cut the text. This comes last: a secret that was cut is harder to recognise."""
    return text[:MAX_CHARS].strip() or None


def clean_url(raw: str) -> str | None:
    """Remove user and password of an http(s) URL; None for other URLs (`javascript:` would be clickable)."""
    url = _without_credentials(raw)
    return url if url and url.lower().startswith(("http://", "https://")) else None


def clean_repository_url(raw: str) -> str | None:
    """Return a repository's URL without credentials, query, fragment and `.git`; None for a path or a helper.

    The short form of ssh, `git@host:group/app.git`, comes out as `ssh://host/group/app`.
    """
    short = _SCP.fullmatch(raw) if "://" not in raw else None
    url = _without_credentials(f"ssh://{short[1]}/{short[2]}" if short else raw)
    return re.split(r"[?#]", url)[0].rstrip("/").removesuffix(".git") if url else None


def server_of(url: str) -> str | None:
    """Return `scheme://host:port` of `url`; None when it isn't a URL."""
    match = _URL.fullmatch(url)
    return f"{match[1]}://{match[2]}" if match else None


def path_of(url: str) -> str | None:
    """Return the path of a cleaned repository URL, without slashes around it; None when there is none."""
    match = _URL.fullmatch(url)
    return match[3].strip("/") or None if match else None


def _without_credentials(raw: str) -> str | None:
    """Remove a URL's user info. Returns None if no host is left in its place: a password may hold a slash."""
    match = _URL.fullmatch(raw)
    if match is None:
        return None
    scheme, authority, rest = match.groups()
    host = authority.rpartition("@")[2]
    return f"{scheme}://{host}{rest}" if _HOST.fullmatch(host) else None
