"""The outputs of a run and of a watch: their telemetry, and the documents for people."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from exporter.otlp.courier import Spooling
from exporter.otlp.settings import Destinations
from exporter.otlp.spool_folder import SpoolFolder, default_folder
from exporter.otlp.telemetry import Telemetry

from .reports import Reporting
from .settings import ReportConfig


@contextmanager
def outputs(
    destinations: Destinations,
    identity: Mapping[str, str],
    reports: ReportConfig,
    environment: Mapping[str, str],
    user: str | None = None,
) -> Iterator[tuple[Reporting, Telemetry]]:
    """Open the outputs for the block, and import what they need at its end. Raises CiEgressError.

    `identity` is as Telemetry takes it, `user` as Reporting does.
    """
    spooling = Spooling(SpoolFolder(default_folder(environment, os.geteuid())))
    with (
        Reporting(reports, environment, user) as reporting,
        Telemetry(destinations, identity, spooling=spooling, transcript=reporting.transcript) as telemetry,
    ):
        telemetry.prepare()
        reporting.prepare()
        yield reporting, telemetry
