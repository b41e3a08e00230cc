"""Whether `ci-egress watch` needs more memory or disk the longer it runs.

What: two hours' worth of a busy runner, ten jobs a minute, in three minutes: 1,200 jobs, one every 150 ms,
each of four steps and 45 processes that connect twenty times, to another port each time. The figures are the
resident set of the watch meanwhile, and the size of its files.

How: /proc/PID/status at each job. The growth is the median of the last quarter of the time minus that of
the second quarter: in the first, caches fill up to their bounds. The files may hold 24 MiB, a fraction of
what is written. Every attempt must be exported, and every job over in the end.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from benchmarks.figures import LIMITS, Figure
from benchmarks.watching import Watch, watching
from benchmarks.workshop import BenchmarkError, Workshop

_JOBS, _JOBS_QUICKLY = 1200, 40
_AT_ONCE = 4
_EVERY_S = 0.15
_STEPS = 4
_CONNECTS = 5
"""The number of connects of a step."""
_LIMIT_MIB = 24
_SHOWN = 10

_STEP = f'for n in $(seq {_CONNECTS}); do echo 1 | "$0" connect >/dev/null; done'
_WORKER = f'for n in $(seq {_STEPS}); do env "$@"; done'


def measure(shop: Workshop) -> Iterator[Figure]:
    """Yield the memory, its growth, and the size of the files."""
    jobs = _JOBS_QUICKLY if shop.is_quick else _JOBS
    folder = shop.folder / "soak"
    with watching(shop, folder, f"--otlp-dir-limit={_LIMIT_MIB}") as watch:
        began_s = time.monotonic()
        resident_mb = _run_jobs(shop, jobs, watch.process)
        took_s = time.monotonic() - began_s
        _wait_for_ends(watch, jobs)
    account = watch.said()[-1]["account"]
    lost = account["attempts"] - account["exported"] - account["aggregated"]
    if lost:
        raise BenchmarkError(f"{lost} attempts were not exported: the machine is too busy")
    quarter = max(len(resident_mb) // 4, 1)
    growth_mb = median(resident_mb[-quarter:]) - median(resident_mb[quarter : 2 * quarter] or resident_mb)
    note = f"{account['attempts']:,} attempts in {took_s:.0f} s"
    yield Figure(f"watch, {jobs:,} jobs, memory", max(resident_mb), "MB", note, LIMITS.watch_mb)
    over_time = ", ".join(f"{mb:.1f}" for mb in resident_mb[:: max(len(resident_mb) // _SHOWN, 1)])
    name = f"watch, {jobs:,} jobs, growth of memory"
    yield Figure(name, growth_mb, "MB", f"over time: {over_time}", LIMITS.soak_growth_mb)
    held_mb = sum(path.stat().st_size for path in folder.glob("*.jsonl")) / 1e6
    limit_mb = _LIMIT_MIB * (1 << 20) / 1e6
    yield Figure(f"watch, {jobs:,} jobs, files", held_mb, "MB", "a third of it is for traces", limit_mb)


def _run_jobs(shop: Workshop, jobs: int, process: subprocess.Popen[bytes]) -> list[float]:
    """Run all jobs; returns the resident set of `process` over time, in 10⁶ bytes."""
    resident_mb: list[float] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running = []
        for number in range(jobs):
            running.append(pool.submit(_run_job, shop.plain()[0], number))
            time.sleep(_EVERY_S)
            resident_mb.append(_resident_mb(process.pid))
    for job in running:
        job.result()
    return resident_mb


def _run_job(load: str, number: int) -> None:
    variables = {"GITLAB_CI": "true", "CI_PIPELINE_ID": number, "CI_JOB_ID": number, "CI_JOB_NAME": "build"}
    step = [*(f"{name}={value}" for name, value in variables.items()), "sh", "-c", _STEP, load]
    path = {"PATH": os.environ.get("PATH", os.defpath)}
    subprocess.run(["sh", "-c", _WORKER, "sh", *step], env=path, stdin=subprocess.DEVNULL, check=True)


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024 / 1e6


def _wait_for_ends(watch: Watch, jobs: int) -> None:
    def all_ended() -> bool:
        return sum(" ended: " in line["message"] for line in watch.said()) >= jobs

    watch.wait(all_ended, "not every job ended")
