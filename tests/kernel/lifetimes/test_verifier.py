"""The kernel takes each program, whichever compiler made it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from exporter.kernel.compilation.btf import kernel_offsets
from exporter.kernel.compilation.bytecode import BytecodeObject
from exporter.kernel.compilation.uses import Uses
from exporter.kernel.programs.hooks import PROGRAMS
from exporter.kernel.programs.kinds import possible
from exporter.kernel.programs.objects import create_map
from exporter.kernel.programs.verifier import VerifierError
from tests.kernel.compilers import of_this_machine, of_trixie

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exporter.kernel.compilation.bytecode import Bytecode
    from exporter.kernel.programs.kinds import Program

COMPILERS = {"llvm14": of_this_machine, "llvm19": of_trixie}
"""By what Debian's are linked with; the first is that of Debian 12 where objects are made ahead."""


class Loaded:
    """The maps of a compiler's bytecode, and its programs to be loaded one by one."""

    def __init__(self, bytecode: Bytecode) -> None:
        """Make the maps."""
        self._programs = bytecode.programs
        self._maps = [create_map(spec) for spec in bytecode.maps]

    def refusal_of(self, program: Program) -> str:
        """What the verifier says last of it; nothing where it takes it."""
        try:
            os.close(program.load(self._programs[program.name], self._maps))
        except VerifierError as error:
            return f"{error}: {error.reason}"
        return ""

    def close(self) -> None:
        """Let go of the maps."""
        for descriptor in self._maps:
            os.close(descriptor)


@pytest.fixture(
    scope="module", params=[Uses(), Uses(policies=False, environments=False)], ids=["all", "none"]
)
def uses(request: pytest.FixtureRequest) -> Uses:
    made: Uses = request.param
    return made


@pytest.fixture(scope="module", params=COMPILERS)
def loaded(request: pytest.FixtureRequest, made_ahead: Path | None, uses: Uses) -> Iterator[Loaded]:
    name: str = request.param
    if made_ahead:
        ready = BytecodeObject.parse((made_ahead / "objects" / f"{name}.json").read_bytes())
    else:
        ready = COMPILERS[name]().compiled()
    made = Loaded(ready.fitted(kernel_offsets() | uses.numbers))
    yield made
    made.close()


@pytest.mark.timeout(600)  # a Debian root may have to be made
@pytest.mark.everywhere(feature="verifier")
@pytest.mark.parametrize("program", possible(PROGRAMS), ids=lambda program: program.name)
def test_the_verifier_takes_each_program(loaded: Loaded, program: Program) -> None:
    assert loaded.refusal_of(program) == ""
