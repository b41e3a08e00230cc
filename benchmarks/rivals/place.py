"""Where tools are compared: a network with the load and the tool, joined to that of the load's peer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.workshop import Load, Workshop
from demo.namespaces import Namespace

INTERFACE = "near"
PORT = 8443
"""The port of the load's peer."""
_NEAR, _FAR = "192.0.2.1", "192.0.2.2"
_JOB = {
    "GITLAB_CI": "true",
    "CI_SERVER_URL": "https://gitlab.example",
    "CI_PROJECT_PATH": "group/app",
    "CI_PIPELINE_ID": "987",
    "CI_JOB_ID": "4321",
    "CI_JOB_NAME": "build",
}
"""The variables by which the load is a job's."""


class Place(NamedTuple):
    """The folder and the networks of a comparison."""

    shop: Workshop
    near: Namespace
    far: Namespace

    def load(
        self,
        *arguments: str,
        prefix: Sequence[str] = (),
        is_outside: bool = False,
        beside_flood: bool = False,
    ) -> Load:
        """Return load.c, to be started behind `prefix`, as a job, in the near network.

        With `is_outside`, in this process's own. A flood beside it goes to the peer's network as well: not
        every tool looks at loopback.
        """
        command = [*prefix, *self.shop.plain(*arguments, beside_flood=beside_flood)]
        peer = {"LOAD_ADDRESS": _FAR, "LOAD_PORT": str(PORT), "LOAD_FLOOD_NETWORK": self.far.path}
        environment = {**self.shop.environment, **_JOB, **peer}
        return Load(command if is_outside else self.near_command(command), environment)

    def near_command(self, command: Sequence[str]) -> list[str]:
        """Return a command line that runs `command` in the near network."""
        return [*map(os.fsdecode, self.near.command(command))]

    @property
    def folder(self) -> Path:
        """The folder that a tool writes into."""
        return self.shop.folder / "watched"

    def empty_folder(self) -> Path:
        """Make the folder anew, and return it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700)
        return self.folder


@contextmanager
def place(shop: Workshop) -> Iterator[Place]:
    """Make the networks."""
    with Namespace() as near, Namespace() as far:
        near.configure_links(
            "link set lo up",
            f"link add {INTERFACE} type veth peer name far netns {far.path}",
            f"addr add {_NEAR}/24 dev {INTERFACE}",
            f"link set {INTERFACE} up",
        )
        far.configure_links(f"addr add {_FAR}/24 dev far", "link set far up")
        yield Place(shop, near, far)
