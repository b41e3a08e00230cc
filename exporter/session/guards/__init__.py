"""Checks that find out what somebody does to the tracing, and what the tracing itself loses."""
