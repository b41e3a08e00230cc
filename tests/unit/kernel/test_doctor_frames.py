"""What `doctor` says of frames of packet sockets, by what the kernel has to stop them."""

from __future__ import annotations

import pytest

from exporter.kernel import requirements
from exporter.kernel.doctor import frames
from exporter.kernel.frames.interface_egress import AttachMethod


@pytest.fixture(autouse=True)
def _with_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "has_effective", lambda *_: True)


@pytest.mark.parametrize("way", [AttachMethod.TCX, AttachMethod.CLSACT])
def test_how_they_are_stopped_is_told(way: AttachMethod) -> None:
    (check,) = frames(lambda: way)
    assert (check.ok, check.found) == (True, f"their frames can be stopped, by {way.value}")


def test_a_kernel_that_cannot_is_a_limit_and_no_obstacle() -> None:
    (check,) = frames(lambda: AttachMethod.NONE)
    assert (check.ok, check.is_required, check.is_loss) == (False, False, False)
    assert check.lost.endswith("the kernel has neither tcx nor clsact")
    assert "sch_ingress and cls_bpf" in check.fix
