"""A machine that builds and an internet for it: two network namespaces, joined by veth."""

from __future__ import annotations

import socketserver
import subprocess
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from demo import names, sites
from demo.dns import name_server
from demo.namespaces import Namespace
from demo.relay import relay
from exporter.common.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_RESOLV_CONF = Path("/etc/resolv.conf")
_NSSWITCH_CONF = Path("/etc/nsswitch.conf")


class Build:
    """The machine that the CI job runs on."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    def run(self, command: Sequence[str], *, directory: Path, environment: Mapping[str, str]) -> int:
        """Run `command` on that machine, with this terminal; returns its exit status.

        When interrupted, it ends the command, and waits for its end: the network must exist until then.
        """
        starting = self._namespace.call(
            subprocess.Popen, command, cwd=directory, env=dict(environment), stdin=subprocess.DEVNULL
        )
        try:
            return starting.result().wait()
        except BaseException:
            process = starting.result()
            process.terminate()
            process.wait()
            raise


@contextmanager
def network(
    beacon: sites.Beacon | None, scratch: Path, *, collector_port: int | None = None
) -> Iterator[Build]:
    """Set both networks up, in about a tenth of a second, and leave nothing of them; `scratch` is for files.

    Without a beacon no package is poisoned. `collector_port` is a port of this machine's loopback that
    accepts OTLP over HTTP: in the network, it is collector.example:4318. Raises KernelError where the kernel
    or a container doesn't allow the networks.
    """
    with ExitStack() as stack:
        try:
            build = stack.enter_context(Namespace())
            internet = stack.enter_context(Namespace())
            _join(build, internet)
            build.replace_files(_resolver_files(scratch))
            for server in internet.call(_servers, beacon, collector_port).result():
                stack.enter_context(_serving(server))
        except (OSError, subprocess.SubprocessError) as error:
            raise KernelError(
                f"the demo can't make its network: {error}",
                hint="it needs veth, and in a container --privileged",
            ) from error
        yield Build(build)


def _join(build: Namespace, internet: Namespace) -> None:
    build.configure_links(
        f"link add build0 type veth peer name internet0 netns {internet.path}",
        "link set lo up",
        f"addr add {names.BUILD}/24 dev build0",
        f"addr add {names.BUILD_V6}/64 dev build0 nodad",
        "link set build0 up",
    )
    internet.configure_links(
        "link set lo up",
        f"addr add {names.GATEWAY}/24 dev internet0",
        f"addr add {names.GATEWAY_V6}/64 dev internet0 nodad",
        *(
            f"addr add {address} dev internet0{' nodad' if ':' in address else ''}"
            for address in names.ADDRESSES.values()
        ),
        "link set internet0 up",
    )
    build.configure_links(
        f"route add default via {names.GATEWAY}", f"route add default via {names.GATEWAY_V6}"
    )


def _resolver_files(scratch: Path) -> dict[Path, Path]:
    """Write resolver settings for the network to `scratch`; return each by the file that it is to replace.

    Where one of these is a symlink, its target is replaced.
    """
    # On a busy machine a resolver might ask again: one more attempt than the demo explains.
    resolver = f"nameserver {names.RESOLVER}\noptions timeout:30\n"
    contents = {_RESOLV_CONF: resolver, _NSSWITCH_CONF: "hosts: files dns\n"}
    files = {}
    for shown, text in contents.items():
        if not shown.exists():
            raise KernelError(
                f"{shown} is missing, or its target is", hint="create it; an empty file will do"
            )
        source = scratch / shown.name
        source.write_text(text)
        files[shown.resolve()] = source
    return files


def _servers(beacon: sites.Beacon | None, collector_port: int | None) -> list[socketserver.BaseServer]:
    servers: list[socketserver.BaseServer] = [
        name_server(names.RESOLVER, names.DNS_PORT, names.ADDRESSES),
        socketserver.UDPServer((names.METRICS, names.METRICS_PORT), socketserver.BaseRequestHandler),
    ]
    for address, respond in sites.internet(beacon).items():
        servers.append(sites.web_server(address, names.HTTP_PORT, respond))
    if collector_port is not None:
        servers.append(relay(names.COLLECTOR, names.OTLP_PORT, collector_port))
    return servers


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    # A daemon, so that a Ctrl-C between its start and its end leaves nothing to wait for.
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
