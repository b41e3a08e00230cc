"""Reads OTLP/JSON back: files, lines, spans and metrics. Their writer may be hostile."""
