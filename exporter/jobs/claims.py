"""The claims of a job about itself, and how far they can be believed: they choose sections of a policy.

All claims stand in the job's environment. The job's author chooses the names of pipelines and tasks. On some
systems the author can't choose the project: the agent sets it last, whatever the job asks for. That is true
only of processes that the agent made: a service container of GitHub's gets its variables from the author.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from .providers import PROVIDERS, Provider
from .sources import resolve
from .text import clean_text, clean_url, server_of

_ANSWERS = {"true": True, "false": False}
_SHARED = frozenset({"CI", "BUILD_ID"})
"""Marks that other programs set, too, so that a blank one is no sign of a system."""


class Claim(NamedTuple):
    """A job as the variables of one CI system describe it; a field is None where they don't tell.

    Nothing is redacted, since a job waits for its policy: claims choose that policy, and are never exported.
    """

    provider: str | None
    """The provider's name in the provider table."""
    project: str | None
    """The project as keys of a policy name it, in the form of `Provider.place`."""
    pipeline: str | None
    task: str | None
    is_protected: bool | None = None
    """Whether the job is of a branch or tag that the project protects."""


class Who(NamedTuple):
    """All claims of a job about itself."""

    claims: tuple[Claim, ...]
    """One for each CI system whose marks the job carries. With more than one it contradicts itself."""
    is_vouched: bool = False
    """Whether system and project were set by an agent that lets no author change them."""
    is_recorded: bool = False
    """Whether only names are known, from a recording: a field that isn't known is then taken to fit."""
    is_partial: bool = False
    """Whether there may be more claims, in a part of the environment that couldn't be read."""
    besides: tuple[Claim, ...] = ()
    """Claims by marks that such jobs may carry beside their own: sections for these may deny it more."""

    @property
    def is_contradictory(self) -> bool:
        """Whether several CI systems claim it, so that one of them is forged."""
        return len(self.claims) > 1

    @property
    def identity(self) -> int:
        """A 128-bit number that another job has only if it makes the same claims, and is believed as much."""
        text = repr((*map(tuple, self.claims), self.is_vouched, self.is_partial, *map(tuple, self.besides)))
        return int.from_bytes(hashlib.sha256(text.encode(errors="replace")).digest()[:16])

    @property
    def digest(self) -> int:
        """The same number, by which the job is known again; 0 where its claims are in doubt."""
        return 0 if self.is_contradictory or self.is_partial else self.identity

    @property
    def unnamed(self) -> Who:
        """The same without the names of pipelines and tasks."""
        claims, besides = (
            tuple(claim._replace(pipeline=None, task=None) for claim in found)
            for found in (self.claims, self.besides)
        )
        return self._replace(claims=claims, besides=besides)


def named(pipeline: str | None, task: str | None) -> Who:
    """Return a job of which only the names are known."""
    return Who((Claim(None, None, pipeline, task),))


def recorded(pipeline: str | None, task: str | None) -> Who:
    """Return a job of which only the names were recorded."""
    return named(pipeline, task)._replace(is_recorded=True)


def claims_of(provider: Provider, environ: Mapping[str, str]) -> tuple[Claim, ...]:
    """Return the claims of `environ`: first `provider`'s, then those of other systems with marks there.

    A blank mark counts, too: that is how a job would hide its own system. Systems in `provider.beside` are
    left out.
    """
    others = (each for each in marked(environ) if each is not provider and each.name not in provider.beside)
    return tuple(_claim(each, environ) for each in (provider, *others))


def besides(provider: Provider, environ: Mapping[str, str]) -> tuple[Claim, ...]:
    """Return the claims by marks that jobs of `provider` may carry beside its own."""
    return tuple(_claim(each, environ) for each in marked(environ) if each.name in provider.beside)


def contradict(one: Sequence[Claim], other: Sequence[Claim]) -> bool:
    """Whether both can't be of the same job: they differ, and not only because one of them says less."""
    return len(one) != len(other) or any(
        None not in {mine, its} and mine != its
        for pair in zip(one, other, strict=True)
        for mine, its in zip(*pair, strict=True)
    )


def server_url(provider: Provider, environ: Mapping[str, str]) -> str | None:
    """Return the URL of the CI system's server, without a slash at the end."""
    server = clean_url(resolve(provider.server, environ) or "")
    run_url = clean_url(resolve(provider.run_url, environ) or "")
    return server.rstrip("/") if server else server_of(run_url or "")


def marked(environ: Mapping[str, str]) -> Iterator[Provider]:
    """Yield systems whose marks are all there, with any values, or that have a blank mark of their own."""
    for provider in PROVIDERS:
        marks = [mark.partition("=") for mark in provider.present]
        are_there = all(
            environ.get(name) == value if equals else name in environ for name, equals, value in marks
        )
        is_blanked = any(environ.get(name) == "" for name, _, _ in marks if name not in _SHARED)
        if are_there or is_blanked:
            yield provider


def _claim(provider: Provider, environ: Mapping[str, str]) -> Claim:
    pipeline, task = (resolve(source, environ) for source in (provider.pipeline, provider.task))
    protected = _ANSWERS.get(resolve(provider.protected, environ) or "")
    return Claim(provider.name, _project(provider, environ), pipeline, task, protected)


def _project(provider: Provider, environ: Mapping[str, str]) -> str | None:
    """Return the project. None also where a text had to be cleaned: it may then name another project."""
    path = resolve(provider.keyed or provider.project, environ, _exact)
    if "/" not in provider.place or path is None:
        return path
    url = server_url(provider, environ)
    if url is None:
        return None
    host, slash, below = url.partition("://")[2].partition("/")
    return f"{host.lower()}{slash}{below}/{path}"


def _exact(raw: str) -> str | None:
    return raw if clean_text(raw) == raw else None
