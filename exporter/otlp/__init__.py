"""Export of spans, metrics and log records as OTLP, to collectors and files; accounts for every attempt."""

from exporter.otlp.courier import Spooling, Timer
from exporter.otlp.environment import ignored_variables, resolve_destinations
from exporter.otlp.ledger import LedgerTotals
from exporter.otlp.records import LogRecord, Severity
from exporter.otlp.settings import Destinations, Endpoint, OtlpProtocol, Rotation, Route, Signal
from exporter.otlp.spool_folder import SpoolFolder, default_folder
from exporter.otlp.telemetry import FLUSH_TIMEOUT_S, Telemetry
from exporter.otlp.transcript import Transcript

__all__ = [
    "FLUSH_TIMEOUT_S",
    "Destinations",
    "Endpoint",
    "LedgerTotals",
    "LogRecord",
    "OtlpProtocol",
    "Rotation",
    "Route",
    "Severity",
    "Signal",
    "SpoolFolder",
    "Spooling",
    "Telemetry",
    "Timer",
    "Transcript",
    "default_folder",
    "ignored_variables",
    "resolve_destinations",
]
