"""SIGHUP: the policy is read again. What can't be read, or isn't valid, changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable

from exporter.cli.governing import source_of
from exporter.cli.governor import Governor
from exporter.cli.messages import Messages
from exporter.config import WatchConfig
from exporter.errors import CiEgressError, UsageError
from exporter.pipeline import Pipeline
from exporter.text import counted


def reread(
    config: WatchConfig, governor: Governor, pipeline: Pipeline, catch_up: Callable[[], object]
) -> None:
    """Hold the jobs that run to the policy as it is now, and say what came of it.

    `catch_up` has all handled that the kernel told so far.
    """
    messages = Messages.current()
    if governor.source is None:
        messages.say("SIGHUP: there is no policy to read again")
        return
    try:
        if config.policy is not None and config.policy.is_fifo():  # a daemon waits for no writer
            hint = "let it be a file; a pipe is read at the start alone"
            raise UsageError(f"cannot read the policy {config.policy} again: it is a pipe", hint=hint)
        source = source_of(config)
        assert source is not None  # noqa: S101 - the options are what they were
        jobs = governor.change(source, pipeline.names_in, catch_up, pipeline.change_terms)
    except CiEgressError as error:
        messages.fail(error)
        messages.say("SIGHUP: the policy stays as it was", level=logging.ERROR, policy="kept")
        return
    go = f"{counted(jobs, 'job')} {'goes' if jobs == 1 else 'go'}"
    messages.say(f"SIGHUP: read the policy again, {go} by it", policy="read", jobs=jobs)
