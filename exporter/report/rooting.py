"""Repairs the process trees of spans: each program's parent becomes another program, or else the job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace

from exporter.report.model import ReportedAct, ReportedProgram


def rooted(programs: Mapping[str, ReportedProgram], root: str | None) -> dict[str, ReportedProgram]:
    """Return `programs`, by span id, with `root` for each parent that is missing or would close a circle."""
    parents: dict[str, str | None] = {}
    for start in programs:
        way: list[str] = []
        current: str | None = start
        while current is not None and current not in parents:
            above = programs[current].parent_id
            parents[current] = above if above in programs else None
            way.append(current)
            current = parents[current]
        if current is not None and current in way:  # the way came back to it: a circle
            parents[current] = None
    return {
        span_id: replace(program, parent_id=parents[span_id] or root) for span_id, program in programs.items()
    }


def chosen(programs: Mapping[str, ReportedProgram], acts: Iterable[ReportedAct], limit: int) -> dict[str, ReportedProgram]:
    """Choose at most `limit` of `programs`, which are `rooted`: first those of `acts` and their ancestors."""
    wanted: dict[str, None] = {}
    for act in acts:
        _want(programs, act.parent_id, wanted, limit)
    for program in sorted(programs.values(), key=lambda each: each.started_ns):
        _want(programs, program.span_id, wanted, limit)
    return {span_id: program for span_id, program in programs.items() if span_id in wanted}


def _want(programs: Mapping[str, ReportedProgram], span_id: str | None, wanted: dict[str, None], limit: int) -> None:
    """Add a program and all its ancestors to `wanted`, or none of them if there is too little room."""
    way: list[str] = []
    while span_id is not None and span_id in programs and span_id not in wanted:
        way.append(span_id)
        span_id = programs[span_id].parent_id
    if len(wanted) + len(way) <= limit:
        wanted.update(dict.fromkeys(way))


def hung(acts: Iterable[ReportedAct], programs: Set[str], root: str | None) -> list[ReportedAct]:
    """Return `acts` by start, with `root` as the parent of those whose parent is none of `programs`."""
    placed = (
        act if act.parent_id in programs or act.parent_id == root else replace(act, parent_id=root)
        for act in acts
    )
    return sorted(placed, key=lambda act: (act.started_ns, act.span_id))
