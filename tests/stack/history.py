"""A Prometheus with days of history, as if it had scraped a fleet: written by promtool, served by it."""

from __future__ import annotations

import ssl
import subprocess
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import urllib3

from demo.stack.process import READY_WITHIN_S, Server
from demo.stack.servers import free_ports
from tests.checkout import ROOT
from tests.stack.conftest import wait_until

METRIC = "cicd_egress_connections"
_EVERY = timedelta(minutes=5)
_BLOCK = "768h"
"""All of it in a block or two: hundreds, of two hours each, take a while."""


class Samples(NamedTuple):
    """Of one series; the same value each time, but in the days of `grows`, when it grows."""

    labels: Mapping[str, str]
    days: list[date]
    """From eight to nine o'clock in UTC; of the first and the last all between, where it `lasts`."""
    lasts: bool = False
    grows: frozenset[date] = frozenset()


class Programs(NamedTuple):
    """Where they are."""

    prometheus: Path
    promtool: Path


def programs() -> Programs:
    """Those of the distribution, unpacked where they aren't installed."""
    script = ROOT / "tools/stack/servers.sh"
    done = subprocess.run([script, "prometheus", "promtool"], capture_output=True, text=True, check=True)
    paths = dict(line.split() for line in done.stdout.splitlines())
    return Programs(Path(paths["prometheus"]), Path(paths["promtool"]))


@contextmanager
def serving(folder: Path, series: Iterable[Samples], *options: str, user: str | None = None) -> Iterator[str]:
    """Its URL, with `series` in it; `options` are Prometheus's. With a `user:password` it is one with TLS."""
    tools = programs()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "history.txt").write_text("".join(_exposition(series)))
    history = (
        "tsdb",
        "create-blocks-from",
        f"--max-block-duration={_BLOCK}",
        "openmetrics",
        folder / "history.txt",
        folder / "data",
    )
    subprocess.run([tools.promtool, *history], check=True, capture_output=True)
    (folder / "prometheus.yaml").write_text("{}\n")
    with free_ports("prometheus") as ports:
        address = f"127.0.0.1:{ports['prometheus']}"
        command: list[str | Path] = [
            tools.prometheus,
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--storage.tsdb.retention.time=1y",
            f"--web.listen-address={address}",
            *options,
        ]
        url = f"{'https' if user else 'http'}://{address}"
        server = Server("prometheus", command, f"{url}/-/ready", folder)
        try:
            server.launch()
            wait_until(lambda: _is_ready(server, user), within_s=READY_WITHIN_S)
            yield url
        finally:
            server.stop()


def _is_ready(server: Server, user: str | None) -> bool:
    assert server.pid, server.log_tail()
    headers = urllib3.make_headers(basic_auth=user)
    pool = urllib3.PoolManager(cert_reqs=ssl.CERT_NONE, assert_hostname=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        try:
            return (
                pool.request("GET", server.ready_url, headers=headers, retries=False).status == HTTPStatus.OK
            )
        except urllib3.exceptions.HTTPError:
            return False


def _exposition(series: Iterable[Samples]) -> Iterator[str]:
    yield f"# TYPE {METRIC} counter\n"
    for each in series:
        labels = ",".join(f'{name}="{value}"' for name, value in each.labels.items())
        value = 3
        for moment in _moments(each):
            value += moment.date() in each.grows
            yield f"{METRIC}_total{{{labels}}} {value} {moment.timestamp():.0f}\n"
    yield "# EOF\n"


def _moments(series: Samples) -> Iterator[datetime]:
    if series.lasts:
        moment = _at_eight(series.days[0])
        while moment < _at_eight(series.days[-1]) + timedelta(hours=1):
            yield moment
            moment += _EVERY
        return
    for day in series.days:
        yield from (_at_eight(day) + _EVERY * number for number in range(12))


def _at_eight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 8, tzinfo=UTC)
