"""Installs what package.json asks for, as npm does: fetch, unpack, run each package's postinstall."""

import http.client
import json
import pathlib
import subprocess
import sys


def fetch(registry: http.client.HTTPConnection, path: str) -> bytes:
    registry.request("GET", path)
    answer = registry.getresponse()
    content = answer.read()
    if answer.status != 200:
        sys.exit(f"install: {path}: {answer.status} {answer.reason}")
    return content


def newest(releases: dict[str, str], wanted: str) -> str:
    """The newest release in a range such as ^2.0.0: any of the same major version."""
    major = wanted.lstrip("^").split(".")[0]
    allowed = [version for version in releases if version.split(".")[0] == major]
    return max(allowed, key=lambda version: [int(part) for part in version.split(".")])


def install(archive: bytes, directory: pathlib.Path) -> None:
    directory.mkdir(parents=True)
    subprocess.run(["tar", "-xz", "-C", directory], input=archive, check=True)
    scripts = json.loads((directory / "package.json").read_text()).get("scripts", {})
    if "postinstall" in scripts:
        subprocess.run(["/bin/sh", "-c", scripts["postinstall"]], cwd=directory, check=True)


wanted = json.loads(pathlib.Path("package.json").read_text())["dependencies"]
registry = http.client.HTTPConnection("registry.example", timeout=60)
index = json.loads(fetch(registry, "/index.json"))
chosen = {name: newest(index[name], version_range) for name, version_range in wanted.items()}
for name, version in chosen.items():
    install(fetch(registry, index[name][version]), pathlib.Path("node_modules", name))
print(", ".join(f"{name} {version}" for name, version in chosen.items()), "from registry.example")
