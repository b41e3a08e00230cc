"""Services that may take port 53 again: the kernel knows them by their whole names."""

from __future__ import annotations

import pytest

from exporter.events import wire
from exporter.kernel.maps.resolvers import UNITS


@pytest.mark.parametrize("name", UNITS)
def test_a_units_name_has_room_for_its_end(name: str) -> None:
    assert name.endswith(".service")
    assert len(name) < wire.UNIT_ROOM


def test_nothing_that_takes_ports_for_others_is_among_them() -> None:
    assert not {"docker.service", "containerd.service", "podman.service", "ssh.service"} & {*UNITS}
