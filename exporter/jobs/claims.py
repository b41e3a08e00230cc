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
    """A job as the variables of one CI system describe it; a field is None where no variable has it.

    Claims are never exported, so they aren't redacted: the job waits for the policy that they choose.
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
    """One claim for each CI system whose marks the job carries. A job with several contradicts itself."""
    is_vouched: bool = False
    """Whether system and project were set by an agent that lets no author change them."""
    is_recorded: bool = False
    """Whether only names are known, from a recording: a policy then counts unknown fields as a match."""
    is_partial: bool = False
    """Whether there may be other claims: the environment was read in part, or has a variable twice."""
    besides: tuple[Claim, ...] = ()
    """Claims by marks of other systems that such jobs may carry, too (`Provider.beside`). A section that only
    these match can deny the job more, and allow it nothing."""

    @property
    def is_contradictory(self) -> bool:
        """Whether the marks are of several CI systems, so that some are forged."""
        return len(self.claims) > 1

    @property
    def identity(self) -> int:
        """A 128-bit number that another job has only if it makes the same claims, and is believed as much."""
        text = repr((*map(tuple, self.claims), self.is_vouched, self.is_partial, *map(tuple, self.besides)))
        return int.from_bytes(hashlib.sha256(text.encode(errors="replace")).digest()[:16])

    @property
    def digest(self) -> int:
        """`identity`, by which a watch that adopts an instance knows the job; 0 if claims are in doubt."""
        return 0 if self.is_contradictory or self.is_partial else self.identity

    @property
    def unnamed(self) -> Who:
        """These claims without the names of pipelines and tasks."""
        claims, besides = (
            tuple(claim._replace(pipeline=None, task=None) for claim in found)
            for found in (self.claims, self.besides)
        )
        return self._replace(claims=claims, besides=besides)


def named(pipeline: str | None, task: str | None) -> Who:
    """Return the claims of a job of which only the names are known."""
    return Who((Claim(None, None, pipeline, task),))


def recorded(pipeline: str | None, task: str | None) -> Who:
    """Return the claims of a job of which only the names were recorded."""
    return named(pipeline, task)._replace(is_recorded=True)


def claims_of(provider: Provider, environ: Mapping[str, str]) -> tuple[Claim, ...]:
    """Return the claims of `environ`: first `provider`'s, then those of other systems with marks there.

    A blank mark counts, too: a job could blank the marks of its own system to hide it. Systems in
    `provider.beside` are left out.
    """
    others = (each for each in marked(environ) if each is not provider and each.name not in provider.beside)
    return tuple(_claim(each, environ) for each in (provider, *others))


def besides(provider: Provider, environ: Mapping[str, str]) -> tuple[Claim, ...]:
    """Return the claims by marks that jobs of `provider` may carry beside its own."""
    return tuple(_claim(each, environ) for each in marked(environ) if each.name in provider.beside)


def contradict(one: Sequence[Claim], other: Sequence[Claim]) -> bool:
    """Whether the two can't be claims of one job: a field that both have differs, or their number does."""
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
    """Return the project. None also where a text had to be cleaned: cleaned, it may name another project."""
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
