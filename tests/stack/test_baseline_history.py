"""A baseline from a real Prometheus that remembers a fleet of runners, most of which are gone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from exporter.baseline.conclude import Learnt, conclude
from exporter.baseline.model import Entry, Task
from exporter.baseline.parse import load_baseline
from exporter.baseline.prometheus import read_history, require_history
from exporter.baseline.prometheus_api import Prometheus, PrometheusError
from exporter.policy.model import Name
from tests.launch import ci_egress
from tests.stack.history import Samples, serving
from tests.unit.baseline.spans import line, span

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]  # the first one may wait for the builds

TODAY = datetime.now(UTC).date()
DAYS = [TODAY - timedelta(days=back) for back in range(20, 0, -1)]
USER = "reader:s3cret-word"
HASHED = "$2b$04$ZPKosCPmn6yhUip5JFG/RO97FUhnt4e1bAJfEkye3wVXzL4yYCAJ."
"""By bcrypt, as cheap as it gets."""
BUILD = Task("release", "build")


def series(
    host: str, *days: date, pipeline: str | None = "release", runner: str = "", chain: str = "", **more: str
) -> Samples:
    """Of a runner of its own for each set of days, unless it is named."""
    labels = {
        "instance": runner or f"{host}-{days[0]}",
        "cicd_pipeline_name": pipeline or "",
        "cicd_pipeline_task_name": "build" if pipeline else "",
        "server_address": host,
        "server_port": "443",
        "network_transport": "tcp",
        "egress_verdict": "allow",
        "egress_lineage": chain,
        **more,
    }
    return Samples({name: value for name, value in labels.items() if value}, list(days))


def fleet() -> Iterator[Samples]:
    for number, day in enumerate(DAYS):
        yield series("registry.example", day, chain="bash>npm", egress_novel="false")
        yield series(f"n{number % 5}.cdn.example", day, chain="bash>curl")
    yield series("registry.example", DAYS[4], runner="other", chain="bash>pip")
    yield series("mirror.example", DAYS[2])
    yield series("mirror.example", DAYS[7], chain="bash>npm")
    yield series("192.0.2.53", DAYS[3], chain="bash>dig", network_transport="udp", server_port="53")
    yield series("192.0.2.1", DAYS[3], chain="bash>ping", network_transport="icmp", server_port="")
    yield series("evil.example", DAYS[5], egress_verdict="deny")
    yield series("127.0.0.1", DAYS[5])
    yield series("::1", DAYS[5])
    yield series("_other", DAYS[5], server_port="")
    yield series("many.example", DAYS[5], chain="_other")
    yield series("host.example", DAYS[5], pipeline=None)
    daemon = series("old.example", DAYS[0], DAYS[-1], pipeline="nightly", chain="sh>git")
    yield daemon._replace(lasts=True, grows=frozenset({DAYS[3]}))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("prometheus"), fleet()) as served:
        yield served


def history(url: str, days: int = 30) -> Learnt:
    server = Prometheus(url, {})
    seen = read_history(server, days, today=TODAY)
    require_history(seen, server, days)
    return conclude(seen)


@pytest.fixture(scope="module")
def learnt(url: str) -> Learnt:
    return history(url)


def entry(learnt: Learnt, host: str) -> Entry:
    (found,) = [each for each in learnt.baseline.entries if str(each.host) == host]
    return found


def test_what_a_fleet_connected_to_is_learnt_and_nothing_else(learnt: Learnt) -> None:
    assert [(*each.task, str(each.host), each.port, each.transport) for each in learnt.baseline.entries] == [
        ("nightly", "build", "old.example", 443, "tcp"),
        ("release", "build", "*.cdn.example", 443, "tcp"),
        ("release", "build", "192.0.2.1", None, "icmp"),
        ("release", "build", "192.0.2.53", 53, "udp"),
        ("release", "build", "mirror.example", 443, "tcp"),
        ("release", "build", "registry.example", 443, "tcp"),
    ]
    assert learnt.baseline.histories == {}


def test_runners_that_are_gone_add_up_to_one_entry(learnt: Learnt) -> None:
    chains = frozenset({("bash", "npm"), ("bash", "pip")})
    expected = Entry(BUILD, Name("registry.example"), 443, "tcp", chains, DAYS[0], DAYS[-1], None)
    assert entry(learnt, "registry.example") == expected


def test_names_that_vary_from_day_to_day_fold(learnt: Learnt) -> None:
    wildcard = entry(learnt, "*.cdn.example")
    assert wildcard.folded == tuple(f"n{number}.cdn.example" for number in range(5))
    assert wildcard.lineages == frozenset({("bash", "curl")})


def test_a_destination_that_anybody_may_have_reached_is_for_any_program(learnt: Learnt) -> None:
    mirror = entry(learnt, "mirror.example")
    assert (mirror.lineages, mirror.first_seen, mirror.last_seen) == (None, DAYS[2], DAYS[7])


def test_a_daemons_series_counts_in_the_days_that_it_grew(learnt: Learnt) -> None:
    old = entry(learnt, "old.example")
    assert (old.first_seen, old.last_seen) == (DAYS[0], DAYS[3])


def test_what_is_not_learnt_is_told(url: str, learnt: Learnt) -> None:
    notes = [note.removeprefix(f"not learnt of {url}: ") for note in learnt.notes if "not learnt" in note]
    assert notes == [
        "1 series by programs beyond those that are told apart",
        "1 series denied, so nothing went there",
        "1 series of destinations that were counted together (_other)",
        "1 series of no job, or of one without a name, which metrics don't tell apart",
    ]
    assert any("doesn't tell which programs reached 1 destination" in note for note in learnt.notes)


def test_only_the_days_that_are_asked_for_count(url: str) -> None:
    found = history(url, days=3).baseline.entries
    assert {str(each.host): each.first_seen for each in found} == {
        **{f"n{number}.cdn.example": DAYS[-5 + number] for number in (3, 4)},
        "registry.example": DAYS[-2],
    }


def test_a_history_without_a_job_is_an_error(url: str) -> None:
    with pytest.raises(PrometheusError, match=r"has no cicd_egress_connections_total .* the last 1 day;"):
        history(url, days=1)


def test_files_and_prometheus_are_learnt_from_together(url: str, tmp_path: Path) -> None:
    today_ns = int(datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC).timestamp()) * 10**9
    spans = [
        span("registry.example", run=run, started_ns=today_ns, chain=chain)
        for run, chain in enumerate((("bash", "npm"), ("make", "npm")))
    ]
    (tmp_path / "traces.jsonl").write_bytes(line([*spans, span("only.example", started_ns=today_ns)]))
    arguments = ("traces.jsonl", "--from-prometheus", url, "--days", "30", "--output", "baseline.yaml")
    done = ci_egress("baseline", "learn", *arguments, cwd=tmp_path)
    assert done.status == 0, done.stderr
    baseline = load_baseline(tmp_path / "baseline.yaml")
    assert [str(each.host) for each in baseline.entries if each.task == BUILD] == [
        *("*.cdn.example", "192.0.2.1", "192.0.2.53", "mirror.example", "only.example", "registry.example")
    ]
    registry = baseline.entries[-1]
    assert registry.lineages == frozenset({("bash", "npm"), ("bash", "pip"), ("make", "npm")})
    assert (registry.first_seen, registry.last_seen, registry.runs) == (DAYS[0], TODAY, 2)
    assert baseline.histories["release"].runs == 2
    assert done.stderr.count("not learnt of") == 4


def test_too_many_series_are_told_as_such(tmp_path: Path) -> None:
    with (
        serving(tmp_path, fleet(), "--query.max-samples=10") as small,
        pytest.raises(PrometheusError, match=r"too many series .* too many samples .*; raise its limits"),
    ):
        history(small)


def test_a_server_with_tls_and_a_password_is_read_by_who_has_both(
    tmp_path: Path, learnt: Learnt, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = tmp_path / "web.yaml"
    web.write_text(
        f"tls_server_config: {{cert_file: {certificates}/server.pem, key_file: {certificates}/server.key}}\n"
        f"basic_auth_users: {{reader: {HASHED}}}\n"
    )
    with serving(tmp_path / "tls", fleet(), f"--web.config.file={web}", user=USER) as safe:
        named = safe.replace("//", f"//{USER}@")
        with pytest.raises(PrometheusError, match=r"certificate verify failed.*SSL_CERT_FILE") as refused:
            history(named)
        assert "s3cret" not in str(refused.value)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
        with pytest.raises(PrometheusError, match=f"^{safe} answered 401"):
            history(safe)
        assert history(named).baseline == learnt.baseline
