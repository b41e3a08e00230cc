"""The uses of an instance, on which it depends how much the kernel has to verify at a start."""

from __future__ import annotations

from typing import NamedTuple


class Uses(NamedTuple):
    """What an instance is for. The fewer uses, the quicker it starts."""

    policies: bool = True
    """Whether jobs can be held to a policy."""
    environments: bool = True
    """Whether jobs can be found by the environments of processes."""

    @property
    def numbers(self) -> dict[str, int]:
        """The number for each use, by the name of its constant in bpf/."""
        return {f"USE_{name.upper()}": int(is_used) for name, is_used in self._asdict().items()}


ALL_USES = Uses()
