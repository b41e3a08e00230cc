"""Baselines of what was traced, as files."""

from __future__ import annotations

import json
from collections import defaultdict
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .tracing import Span

_NAMES = {"cicd.pipeline.name": "pipeline", "cicd.pipeline.task.name": "task"}


def entry(
    destination: str, port: int | None, *lineages: Sequence[str], transport: str = "tcp", **names: str
) -> dict[str, Any]:
    """One, by those chains, or any; `names` are the pipeline's and the task's."""
    found: dict[str, Any] = {**names, "destination": destination, "transport": transport}
    return found | ({} if port is None else {"port": port}) | {"lineage": lineages or "any"}


def baseline(path: Path, *entries: dict[str, Any]) -> str:
    """Write them to `path`; gives its name."""
    path.write_text(json.dumps({"version": 1, "entries": entries}))
    return str(path)


def entries_of(spans: Iterable[Span]) -> list[dict[str, Any]]:
    """What acts have in common that went anywhere but to this machine itself."""
    chains: defaultdict[tuple[Any, ...], set[tuple[str, ...]]] = defaultdict(set)
    for span in spans:
        if ip_address(str(span["network.peer.address"])).is_loopback:
            continue
        names = tuple((key, span[name]) for name, key in _NAMES.items() if name in span.attributes)
        where = (span["server.address"], span.attributes.get("server.port"), span["network.transport"], names)
        chains[where].add(tuple(span["egress.lineage"]))  # type: ignore[arg-type]
    return [
        entry(host, port, *lineages, transport=transport, **dict(names))
        for (host, port, transport, names), lineages in chains.items()
    ]


def said(stderr: str) -> list[str]:
    """The lines about what is novel."""
    mark = "ci-egress: novel: "
    return [line.removeprefix(mark) for line in stderr.splitlines() if line.startswith(mark)]
