"""deploy/kubernetes as a container runtime gets it: the DaemonSet's containers for runc."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.checkout import ROOT

from .machine import LIMIT_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .machine import Machine

MANIFEST = ROOT / "deploy/kubernetes/ci-egress.yaml"
CONTAINERFILE = ROOT / "deploy/container/Containerfile"
_NODE, _IMAGE = Path("/root/node"), Path("/image")
"""In the machine."""


def documents() -> dict[str, dict[str, Any]]:
    """What the manifest makes, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(MANIFEST.read_text())}


def pod() -> dict[str, Any]:
    """The DaemonSet's."""
    spec: dict[str, Any] = documents()["DaemonSet"]["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    """The only one that isn't over before the other begins."""
    (only,) = pod()["containers"]
    found: dict[str, Any] = only
    return found


def capabilities(of: dict[str, Any]) -> set[str]:
    """Which a container has."""
    asked = of["securityContext"]["capabilities"]
    assert asked["drop"] == ["ALL"]
    return {f"CAP_{name}" for name in asked.get("add", ())}


def instructions(name: str) -> list[str]:
    """What stands behind each instruction of that name in the Containerfile."""
    text = CONTAINERFILE.read_text().replace("\\\n", " ")
    lines = (line.partition(" ") for line in text.splitlines() if not line.startswith("#"))
    return [rest for first, _, rest in lines if first == name]


@dataclass(frozen=True)
class Node:
    """Where the pod runs: a machine with the image's files, and folders for the pod's volumes."""

    image: Machine
    """The image's files are in a folder there."""
    token: str = field(default_factory=partial(secrets.token_hex, 8))
    """The end of its containers' names, which are the host's."""

    @property
    def folder(self) -> Path:
        """The node's, for volumes and bundles."""
        return self.image.root / _NODE.relative_to("/")

    def prepare(self) -> None:
        """Put the runtime there."""
        self.folder.mkdir()
        runc = shutil.which("runc")
        assert runc, "runc is missing"
        shutil.copy(runc, self.folder / "runc")
        self._make_volumes()

    def _make_volumes(self) -> None:
        """Make what the kubelet makes: folders open to everyone, and the ConfigMap's files."""
        for volume in pod()["volumes"]:
            if "emptyDir" in volume:
                made = self.folder / volume["name"]
                made.mkdir()
                made.chmod(0o777)
            elif "configMap" in volume:
                made = self.folder / volume["name"]
                made.mkdir()
                for name, text in documents()["ConfigMap"]["data"].items():
                    (made / name).write_text(text)

    @contextmanager
    def started(self, of: dict[str, Any], arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        """A container of the pod, with these arguments, until the block ends."""
        bundle = self.folder / f"bundle-{of['name']}"
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(self._config(of, arguments)))
        name, runc = self._name(of), self._runc(of)
        inside = _NODE / bundle.name
        with (bundle / "log").open("wb") as log:
            command = [*runc, "run", "--bundle", str(inside), name]
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process:
                try:
                    yield process
                finally:
                    subprocess.run([*runc, "kill", name, "TERM"], check=False, capture_output=True)
                    try:
                        process.wait(LIMIT_S)
                    finally:
                        subprocess.run([*runc, "delete", "--force", name], check=False, capture_output=True)

    def executes(self, of: dict[str, Any], command: Sequence[str]) -> int:
        """The status of a command in a container that runs."""
        return subprocess.run([*self._runc(of), "exec", self._name(of), *command], check=False).returncode

    def _name(self, of: dict[str, Any]) -> str:
        return f"test-{of['name']}-{self.token}"

    def _runc(self, of: dict[str, Any]) -> list[str]:
        state = _NODE / f"bundle-{of['name']}" / "state"
        return self.image.command(str(_NODE / "runc"), "--root", str(state))

    def log(self, of: dict[str, Any]) -> str:
        """What a container said."""
        return (self.folder / f"bundle-{of['name']}" / "log").read_text()

    def _config(self, of: dict[str, Any], arguments: Sequence[str]) -> dict[str, object]:
        """As the OCI's runtime specification has it: with the manifest's rights and mounts."""
        given, kept = of["securityContext"], sorted(capabilities(of))
        assert pod()["hostPID"]
        sets = dict.fromkeys(("bounding", "effective", "permitted"), kept)
        mounts = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
        ]
        return {
            "ociVersion": "1.0.2",
            "process": {
                "terminal": False,
                "user": {"uid": given["runAsUser"], "gid": 0},
                "args": list(arguments),
                "env": ["PATH=/usr/bin:/bin", *self._environment(of)],
                "cwd": "/",
                "capabilities": sets,
                "noNewPrivileges": not given["allowPrivilegeEscalation"],
            },
            "root": {"path": str(_IMAGE), "readonly": given["readOnlyRootFilesystem"]},
            "mounts": [*mounts, *map(self._mount, of["volumeMounts"])],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("mount", "ipc", "uts", "cgroup", "network")]
            },
        }

    def _environment(self, of: dict[str, Any]) -> list[str]:
        return [
            f"{each['name']}={each['value']}"
            for each in of.get("env", ())
            if each["name"] == "STATE_DIRECTORY"
        ]

    def _mount(self, mounted: dict[str, Any]) -> dict[str, object]:
        (volume,) = [each for each in pod()["volumes"] if each["name"] == mounted["name"]]
        source = volume["hostPath"]["path"] if "hostPath" in volume else str(_NODE / volume["name"])
        options = ["rbind", "ro" if mounted.get("readOnly") else "rw"]
        return {"destination": mounted["mountPath"], "type": "none", "source": source, "options": options}
