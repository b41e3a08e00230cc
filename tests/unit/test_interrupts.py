"""An interrupt comes neither while the demo starts something nor while it tidies up, and isn't lost."""

from __future__ import annotations

import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import pytest

from demo.stack.interrupts import scratch_folder, undisturbed_ending, uninterrupted


def test_while_something_starts_it_waits_until_that_is_known() -> None:
    started = []

    def start() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            started.append("server")
        pytest.fail("goes on")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert started == ["server"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_starts_meanwhile_can_be_ended_by_signals() -> None:
    with uninterrupted():
        process = subprocess.Popen(["sleep", "60"])
    process.terminate()
    assert process.wait(60) == -signal.SIGTERM


def test_in_another_thread_nothing_needs_to_wait() -> None:
    done = []

    def start() -> None:
        with uninterrupted():
            done.append("started")

    thread = Thread(target=start)
    thread.start()
    thread.join()
    assert done == ["started"]


def test_while_it_tidies_up_it_waits_until_the_folder_is_gone() -> None:
    folders: list[Path] = []
    tidied: list[str] = []

    def run() -> None:
        with scratch_folder() as folder, ExitStack() as servers, undisturbed_ending():
            folders.append(folder)
            servers.callback(tidied.append, "the second server")
            servers.callback(signal.raise_signal, signal.SIGINT)
        pytest.fail("goes on")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert tidied == ["the second server"]
    assert [folder.exists() for folder in folders] == [False]


def test_otherwise_it_comes_at_once() -> None:
    folders: list[Path] = []

    def run() -> None:
        with scratch_folder() as folder, undisturbed_ending():
            folders.append(folder)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("goes on")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert [folder.exists() for folder in folders] == [False]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
