"""Checks for tampering with the tracing, and for losses of its own."""
