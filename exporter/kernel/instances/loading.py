"""Turn bytecode into running programs: make maps, load programs, attach them, and pin both.

with loading() as kernel:
    tracer = kernel.ready(Coverage(is_host=True))
    tracer.drain(handle, limit=8192)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread

from exporter.kernel.compilation.bytecode import Bytecode, default_cache
from exporter.kernel.compilation.compiling import Compiler, compiled, our_request, system_compiler
from exporter.kernel.maps.windows import Coverage
from exporter.kernel.mounts import cgroup2_root, ensure_bpffs
from exporter.kernel.pins import new_instance
from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.programs.kinds import Program, Reserve, possible
from exporter.kernel.programs.objects import create_map, pin
from exporter.kernel.programs.verifier import failures_told
from exporter.kernel.requirements import require_host
from exporter.kernel.tracer import PINNED_MAPS, Tracer

_VERIFIERS = 2
"""The number of threads that load programs: the kernel verifies one program on one processor."""


def is_complete(bytecode: Bytecode) -> bool:
    """Whether `bytecode` has every program to load and every map to pin."""
    names = {spec.name for spec in bytecode.maps}
    return names.issuperset(PINNED_MAPS) and all(each.name in bytecode.programs for each in PROGRAMS)


def load(  # noqa: PLR0913, PLR0917 - the last two are for a caller that may be interrupted
    bytecode: Bytecode,
    pins: Path,
    programs: Sequence[Program],
    pinned_maps: Sequence[str],
    goes_on: Callable[[], bool] = lambda: True,
    unpinned: dict[str, int] | None = None,
) -> None:
    """Make the maps, load and attach `programs`, and pin both in `pins`, as long as `goes_on()`.

    With `unpinned`, the links are put there by their programs' names, and not pinned. Raises KernelError; the
    caller has to remove the pins made until then, and to close the links in `unpinned`.
    """
    programs = possible(programs)
    with ExitStack() as stack:
        with failures_told("attach", "cgroup v2"):
            cgroup = os.open(cgroup2_root(), os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, cgroup)
        maps: dict[str, int] = {}
        for spec in bytecode.maps:
            with failures_told("load", spec.name):
                maps[spec.name] = create_map(spec)
            stack.callback(os.close, maps[spec.name])
        for name in pinned_maps:
            with failures_told("pin", name):
                pin(maps[name], pins / f"map_{name}")
        loaded = _verified(bytecode, programs, list(maps.values()), stack, goes_on)
        for program, descriptor in zip(programs, loaded, strict=False):
            if not goes_on():
                return
            link = _put_in_place(program, descriptor, maps, cgroup, pins)
            if link is not None and unpinned is not None:
                unpinned[program.name] = link
            elif link is not None:
                stack.callback(os.close, link)
                with failures_told("pin", program.name):
                    pin(link, pins / f"link_{program.name}")


def _verified(
    bytecode: Bytecode,
    programs: Sequence[Program],
    maps: Sequence[int],
    stack: ExitStack,
    goes_on: Callable[[], bool],
) -> list[int]:
    """Load programs, two at a time, as long as `goes_on()`; return the descriptors, as far as it got."""

    def take(program: Program) -> int | None:
        if not goes_on():
            return None
        with failures_told("load", program.name):
            descriptor = program.load(bytecode.programs[program.name], maps)
        stack.callback(os.close, descriptor)
        return descriptor

    with ThreadPoolExecutor(_VERIFIERS, "verifier") as pool:
        return [descriptor for descriptor in pool.map(take, programs) if descriptor is not None]


def _put_in_place(
    program: Program, loaded: int, maps: Mapping[str, int], cgroup: int, pins: Path
) -> int | None:
    """Attach a loaded program, or pin a reserve; return the link's descriptor, None if there is no link."""
    if isinstance(program, Reserve):
        with failures_told("pin", program.name):
            pin(loaded, pins / f"prog_{program.name}")
        return None
    with failures_told("attach", program.name):
        return program.attach(loaded, maps, cgroup)


class Loading:
    """The programs, being loaded by a thread: until they are ready, the caller can do something else."""

    def __init__(self, stack: ExitStack, compiler: Compiler, *, uses_cache: bool, outlives: bool) -> None:
        """Begin to load; closing `stack` ends it.

        With `outlives`, the programs stay attached when the exporter is killed. Raises KernelError.
        """
        self._stack = stack
        self._unpinned: dict[str, int] | None = None if outlives else {}
        self._compiler = compiler
        self._cache = default_cache(os.geteuid()) if uses_cache else None
        self._directory = stack.enter_context(new_instance(ensure_bpffs()))
        self.tracer: Tracer | None = None
        """The tracer that `ready` returned; None until then."""
        self._is_over = Event()
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="loading")
        stack.callback(self._end)  # before the directory goes: it may still be pinning there
        self._thread.start()

    def ready(self, coverage: Coverage = Coverage()) -> Tracer:  # noqa: B008 - immutable
        """Wait until every program is attached. Raises KernelError with what is missing and how to get it."""
        self._thread.join()
        if self._error:
            raise self._error
        with failures_told("load", "what is pinned"):
            self.tracer = Tracer(self._directory, self._stack, coverage, self._unpinned)
            self._unpinned = None  # they are the tracer's now
        return self.tracer

    def _work(self) -> None:
        try:
            with failures_told("compile", "bpf/"):
                bytecode = compiled(our_request(), self._compiler, self._cache, is_complete)
            load(bytecode, self._directory, PROGRAMS, PINNED_MAPS, self._goes_on, self._unpinned)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error

    def _goes_on(self) -> bool:
        return not self._is_over.is_set()

    def _end(self) -> None:
        self._is_over.set()
        self._compiler.end()
        if self._thread.ident is not None:
            self._thread.join()
        while self._unpinned:
            os.close(self._unpinned.popitem()[1])


@contextmanager
def loading(
    compiler: Compiler | None = None, *, uses_cache: bool = True, outlives: bool = True
) -> Iterator[Loading]:
    """Begin to load the programs; at the end they are detached and unpinned, and nothing of them is left.

    With `uses_cache`, bytecode is taken from an earlier start, or kept for the next one. If this process is
    killed, the programs go on with `outlives`, and are gone otherwise. Raises KernelError.
    """
    require_host()
    with ExitStack() as stack:
        yield Loading(stack, compiler or system_compiler(), uses_cache=uses_cache, outlives=outlives)
