"""Turn bytecode into running programs: make maps, load and attach programs, and pin maps and links.

The verifier takes long, and waits for nobody else. So this module imports little, and whatever else a start
needs is imported, and done, while a thread loads the programs.

with loading() as kernel:
    tracer = kernel.ready(Coverage(is_host=True))
    tracer.drain(handle, limit=8192)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from exporter.kernel.compilation.bytecode import Bytecode
from exporter.kernel.compilation.compiling import Compiler, our_bytecode, system_compiler
from exporter.kernel.compilation.uses import ALL_USES, Uses
from exporter.kernel.maps.windows import Coverage
from exporter.kernel.mounts import cgroup2_root, ensure_bpffs
from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.programs.kinds import FOR_POLICIES, Program, Reserve, is_needed, possible
from exporter.kernel.programs.objects import create_map, pin
from exporter.kernel.programs.verifier import failures_told
from exporter.kernel.requirements import require_host

if TYPE_CHECKING:
    from exporter.kernel.tracer import Tracer

_VERIFIERS = 2
"""The number of threads that load programs: the kernel verifies one program on one processor."""


@dataclass(frozen=True)
class Loaded:
    """Descriptors of maps, and of programs that the verifier let through: no program is called yet."""

    maps: Mapping[str, int]
    programs: Sequence[tuple[Program, int]]


def load(
    bytecode: Bytecode,
    programs: Sequence[Program],
    stack: ExitStack,
    goes_on: Callable[[], bool] = lambda: True,
) -> Loaded:
    """Make the maps and load `programs`, as long as `goes_on()`.

    `stack` closes the descriptors. Raises KernelError.
    """
    maps: dict[str, int] = {}
    for spec in bytecode.maps:
        with failures_told("load", spec.name):
            maps[spec.name] = create_map(spec)
        stack.callback(os.close, maps[spec.name])
    programs = possible(programs)
    verified = _verified(bytecode, programs, list(maps.values()), stack, goes_on)
    return Loaded(maps, list(zip(programs, verified, strict=False)))


def pin_maps(loaded: Loaded, pins: Path, names: Sequence[str]) -> None:
    """Pin maps in `pins`. Raises KernelError; the caller has to remove the pins made until then."""
    for name in names:
        with failures_told("pin", name):
            pin(loaded.maps[name], pins / f"map_{name}")


def attach(loaded: Loaded, pins: Path, unpinned: dict[str, int] | None = None) -> None:
    """Attach the programs, and pin their links in `pins`.

    With `unpinned`, the links are put into it by their programs' names, and not pinned. Raises KernelError;
    the caller has to remove the pins made until then, and to close the links in `unpinned`.
    """
    with ExitStack() as stack:
        with failures_told("attach", "cgroup v2"):
            cgroup = os.open(cgroup2_root(), os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, cgroup)
        linked = set[str]()
        for program, descriptor in loaded.programs:
            if not is_needed(program, linked):
                continue
            link = _put_in_place(program, descriptor, loaded.maps, cgroup, pins)
            if link is not None:
                linked.add(program.name)
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

    def __init__(  # noqa: PLR0913 - the last ones are options
        self,
        stack: ExitStack,
        compiler: Compiler,
        *,
        uses: Uses,
        compiles: bool,
        outlives: bool,
        tell: Callable[[str], object],
    ) -> None:
        """Begin to load; closing `stack` ends it.

        With `outlives`, the programs stay attached when the exporter is killed. `tell` is as for
        `new_instance`. Raises KernelError.
        """
        self._uses = uses
        self._programs = [each for each in PROGRAMS if uses.policies or each.name not in FOR_POLICIES]
        self._stack = stack
        self._unpinned: dict[str, int] | None = None if outlives else {}
        self._compiler = compiler
        self._compiles = compiles
        self.tracer: Tracer | None = None
        """The tracer that `loaded` returned; None until then."""
        self._descriptors = ExitStack()
        self._loaded = Loaded({}, ())
        self._is_over, self._is_read = Event(), Event()
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="loading")
        self._thread.start()
        try:
            from exporter.kernel.pins import new_instance

            self._directory = stack.enter_context(new_instance(ensure_bpffs(), tell))
            # The verifier runs beside the interpreter, which runs one thread at a time: whatever the caller
            # did now would only keep the verifier waiting for the bytecode.
            self._is_read.wait()
        except BaseException:
            self._end()
            raise
        stack.callback(self._end)

    def ready(self, coverage: Coverage = Coverage()) -> Tracer:  # noqa: B008 - immutable
        """Wait until every program is loaded, and attach them. Raises as `loaded` and `attach` do."""
        tracer = self.loaded(coverage)
        self.attach()
        return tracer

    def loaded(self, coverage: Coverage) -> Tracer:
        """Wait until every program is loaded; return a tracer. Its maps can be filled; nothing is traced yet.

        Raises KernelError with what is missing and how to get it.
        """
        from exporter.kernel.tracer import PINNED_MAPS, Tracer

        self._thread.join()
        if self._error:
            raise self._error
        pin_maps(self._loaded, self._directory, PINNED_MAPS)
        with failures_told("load", "what is pinned"):
            self.tracer = Tracer(self._directory, self._stack, coverage, outlives=self._unpinned is None)
        return self.tracer

    def attach(self) -> None:
        """Attach the programs, once `loaded` has returned. Raises KernelError."""
        assert self.tracer is not None  # noqa: S101 - as above
        attach(self._loaded, self._directory, self._unpinned)
        with failures_told("load", "what is pinned"):
            self.tracer.hold_links(self._unpinned or {})
        self._unpinned = None  # they are the tracer's now
        self._descriptors.close()

    def _work(self) -> None:
        try:
            try:
                with failures_told("compile", "bpf/"):
                    bytecode = our_bytecode(self._compiler, self._uses, compiles=self._compiles)
            finally:
                self._is_read.set()
            self._loaded = load(bytecode, self._programs, self._descriptors, self._goes_on)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error

    def _goes_on(self) -> bool:
        return not self._is_over.is_set()

    def _end(self) -> None:
        self._is_over.set()
        self._compiler.end()
        if self._thread.ident is not None:
            self._thread.join()
        self._descriptors.close()
        while self._unpinned:
            os.close(self._unpinned.popitem()[1])


@contextmanager
def loading(
    compiler: Compiler | None = None,
    *,
    uses: Uses = ALL_USES,
    compiles: bool = False,
    outlives: bool = True,
    tell: Callable[[str], object] = lambda _: None,
) -> Iterator[Loading]:
    """Begin to load the programs; at the end they are detached and unpinned, and nothing of them is left.

    The fewer `uses`, the quicker the start. With `compiles`, the programs are compiled here, though the
    package has them. If this process is killed, the programs go on with `outlives`, and are gone otherwise.
    `tell` is as for `new_instance`. Raises KernelError.
    """
    require_host()
    with ExitStack() as stack:
        compiler = compiler or system_compiler()
        yield Loading(stack, compiler, uses=uses, compiles=compiles, outlives=outlives, tell=tell)
