"""Explain what a policy does with one act: the question is read from texts, and the answer is made a text."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import NamedTuple

from exporter.common.documents.problems import InvalidTextError
from exporter.common.errors import UsageError
from exporter.common.net.addresses import UNIX
from exporter.common.text import printable
from exporter.jobs.claims import Who, named

from .decide import Decision, EgressRequest, LosingRule, decide, is_for
from .endpoints import parse_endpoint, reach
from .keys import parse_claim
from .model import ANY_SOCKET, DEFAULT, Effect, JobPolicy, Mode, Name, Policy, Protocol, SocketName
from .resolvers import system_resolvers
from .sections import effective, withheld

_LOCALHOST = "localhost"


class ExplainedAct(NamedTuple):
    """The act that is asked about."""

    shown: str
    act: EgressRequest
    names: tuple[str, ...]


def explained(
    whole: Policy, who: Who, question: ExplainedAct, chain: list[str]
) -> tuple[JobPolicy, Decision]:
    """Return the policy for `who`, and its decision, which lists rules that don't count for `who`, too."""
    policy = effective(whole, who)
    decision = decide(policy, question.act, names=question.names, chain=chain, resolvers=system_resolvers())
    uncounted = [
        LosingRule(rule, each.why_not)
        for each in withheld(whole, who)
        for rule in each.rules
        if is_for(rule, question.act, question.names)
    ]
    return policy, replace(decision, others=(*decision.others, *uncounted))


def fields(decision: Decision) -> dict[str, object]:
    """Return `decision` as fields for scripts; `rule` is `default` and `line` null when no rule matched."""
    return {
        "verdict": decision.effect.value,
        "rule": decision.rule.text if decision.rule else DEFAULT,
        "line": decision.rule.line if decision.rule else None,
        "others": [
            {"rule": other.rule.text, "line": other.rule.line, "why_not": other.why_not}
            for other in decision.others
        ],
    }


def verdict_line(question: ExplainedAct, mode: Mode, decision: Decision) -> str:
    """Return the verdict and its rule in words."""
    word = "allowed" if decision.effect is Effect.ALLOW else "denied"
    if decision.verdict(mode) == "audit":
        word = "would be denied"
    rule = decision.rule
    reason = "denies" if decision.effect is Effect.ALLOW else "allows"
    by = f"by {printable(rule.text)}" if rule else f"by {DEFAULT}: no rule {reason} it"
    line = f", line {rule.line}" if rule and rule.line else ""
    mode_told = " (mode audit)" if word == "would be denied" else ""
    return f"{word}: {question.shown} {by}{line}{mode_told}"


def parse_act(destination: str) -> ExplainedAct:
    """Parse the argument DEST. Raises UsageError when it isn't a single destination."""
    try:
        endpoint = parse_endpoint(destination)
        protocol, ports = reach(Effect.ALLOW, endpoint.protocol, endpoint.ports)
    except InvalidTextError as error:
        raise UsageError(error.what, hint=error.fix) from None
    host = endpoint.host
    if isinstance(host, SocketName):
        return _connect_to_socket(host)
    is_one = not host.is_wildcard if isinstance(host, Name) else host.num_addresses == 1
    has_port = ports is not None or protocol is Protocol.ICMP
    if not is_one or not has_port:
        what = f"{printable(destination)} is more than one destination"
        raise UsageError(what, hint="ask about one, as in registry.example:443")
    port = ports[0] if ports else 0
    shown = f"{protocol.name.lower()}://{_in_brackets(host)}" + (f":{port}" if port else "")
    if isinstance(host, Name):
        is_own = host.text.rpartition(".")[2] == _LOCALHOST
        address = IPv4Address("127.0.0.1") if is_own else None
        return ExplainedAct(shown, EgressRequest(address, protocol, port), (host.text,))
    return ExplainedAct(shown, EgressRequest(host.network_address, protocol, port), ())


def _connect_to_socket(host: SocketName) -> ExplainedAct:
    if host.text == ANY_SOCKET:
        raise UsageError("`unix://*` is more than one socket", hint="ask about one: unix:///run/docker.sock")
    request = EgressRequest(host.digests.network_address, UNIX)
    return ExplainedAct(f"unix://{host}", request, ())


def parse_who(text: str | None) -> Who:
    """Parse `--job`. The task is what follows the last slash, since a pipeline may be `group/app`.

    When a project is named, the job counts as known to be of that project. Raises UsageError.
    """
    if text is None:
        return named(None, None)
    try:
        claim = parse_claim(text)
    except InvalidTextError as error:
        raise UsageError(f"--job: {error.what}", hint=error.fix) from None
    return Who((claim,), is_vouched=claim.project is not None)


def parse_chain(text: str | None) -> list[str]:
    """Split the text of `--process`, executables with `>` or commas between."""
    return [part.strip() for part in (text or "").replace(",", ">").split(">") if part.strip()]


def _in_brackets(host: object) -> str:
    match host:
        case IPv6Network():
            return f"[{host.network_address}]"
        case IPv4Network():
            return str(host.network_address)
        case _:
            return str(host)
