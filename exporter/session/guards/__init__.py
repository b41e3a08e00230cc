"""Notices what somebody does to the tracing, and what the tracing itself loses."""
