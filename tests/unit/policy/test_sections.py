"""What of a policy holds for one job: a name that its author chooses leads to nothing laxer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.jobs.claims import Claim, Who, named, recorded
from exporter.policy.decide import EgressRequest, decide
from exporter.policy.keys import parse_key
from exporter.policy.model import Effect, JobPolicy, Lookups, Mode, Policy, Section, strictest
from exporter.policy.sections import effective, remarks, withheld
from tests.unit.policy import strategies
from tests.unit.policy.files import policy

SECTIONS = """\
version: 1
allow: [all.example]
jobs:
  "release": {allow: [release.example]}
  "release/*": {mode: enforce, allow: [tasks.example, both.example], deny: [no.example]}
  "*/build": {mode: audit, allow: [build.example, both.example]}
  "group/app": {allow: [app.example]}
"""
BELIEVED = policy(f"{SECTIONS}trust_names: true\n")
BY_NAME = policy(SECTIONS)

KEYED = policy("""\
version: 1
allow: [all.example]
jobs:
  "github:github.com/octo/app:release/*": {allow: [release.example]}
  "github:github.com/octo/*:*": {deny: [octo.example], allow: [owner.example]}
  "*:*:release/*": {mode: enforce}
  "gitlab:gitlab.example/group/app:*": {allow: [group.example]}
  "gitlab:gitlab.example[:]8443/group/app:*": {trust_names: true, allow: [port.example]}
  "*": {allow: [everybody.example]}
""")


def hosts(who: Who, of: object = KEYED) -> tuple[str, str]:
    """The mode, and the hosts of the rules that count, without their zone."""
    job = effective(of, who)  # type: ignore[arg-type]
    return job.mode.value, " ".join(str(rule.host).removesuffix(".example") for rule in job.rules)


def github(
    project: str | None = "github.com/octo/app", pipeline: str = "release", task: str = "build"
) -> Who:
    """A job that GitHub's own agent vouches for."""
    return Who((Claim("github", project, pipeline, task),), is_vouched=True)


@pytest.mark.parametrize(
    ("pipeline", "task", "mode", "names"),
    [
        (None, None, "audit", "all"),
        ("other", "test", "audit", "all"),
        ("release", None, "audit", "all release"),
        ("release", "test", "enforce", "all release tasks both no"),
        ("release", "build", "enforce", "all release tasks both no build"),
        ("other", "build", "audit", "all build both"),
        ("Release", "test", "audit", "all"),
        ("group/app", "test", "audit", "all app"),
        ("group", "app", "audit", "all app"),
        (None, "build", "audit", "all build both"),
    ],
)
def test_where_names_are_trusted_matching_sections_add_up_and_the_strictest_mode_wins(
    pipeline: str | None, task: str | None, mode: str, names: str
) -> None:
    assert hosts(named(pipeline, task), BELIEVED) == (mode, names)


@pytest.mark.parametrize(
    ("pipeline", "task", "expected"),
    [
        ("other", "build", ("audit", "all")),
        ("release", None, ("audit", "all")),
        ("release", "build", ("enforce", "all no")),
    ],
)
@pytest.mark.parametrize("is_vouched", [False, True])
def test_a_name_alone_leads_to_what_is_stricter_and_to_nothing_laxer(
    pipeline: str, task: str | None, expected: tuple[str, str], is_vouched: bool
) -> None:
    of_github = Who((Claim("github", "github.com/octo/app", pipeline, task),), is_vouched=is_vouched)
    for who in (named(pipeline, task), recorded(pipeline, task), of_github):
        assert hosts(who, BY_NAME) == expected


def test_a_section_says_whether_names_are_trusted_and_goes_before_the_file() -> None:
    of_section = policy('version: 1\njobs: {"a*": {trust_names: true, allow: [a.example]}}')
    but_not = policy(
        'version: 1\ntrust_names: true\njobs: {"a*": {trust_names: false, allow: [a.example]}, '
        "b: {allow: [b.example]}}"
    )
    assert hosts(named("app", None), of_section) == ("audit", "a")
    assert hosts(named("app", None), but_not) == ("audit", "")
    assert hosts(named("b", None), but_not) == ("audit", "b")


def test_a_section_refuses_lookups_by_any_name_and_none_gives_them_back() -> None:
    found = policy("version: 1\nsearch_domains: [lan]\njobs: {a: {dns: deny}, b: {dns: allow}}\n")
    assert effective(found, named("a", None)).lookups == Lookups(are_refused=True, search=("lan",))
    assert effective(found, named("b", None)).lookups == Lookups(are_refused=False, search=("lan",))
    assert strictest(found).lookups.are_refused
    refusing = policy("version: 1\ndns: deny\njobs: {b: {dns: allow}}\n")
    assert effective(refusing, named("b", None)).lookups.are_refused


def test_a_policy_that_enforces_does_so_for_a_section_in_audit() -> None:
    found = policy("version: 1\nmode: enforce\ntrust_names: true\njobs: {a: {mode: audit}}\n")
    assert effective(found, named("a", None)).mode is Mode.ENFORCE


@pytest.mark.parametrize(
    ("who", "mode", "names"),
    [
        (github(), "enforce", "all release octo owner everybody"),
        (github(pipeline="lint"), "audit", "all octo owner everybody"),
        (github("github.com/octo/other"), "enforce", "all octo owner everybody"),
        (github("github.com/evil/app"), "enforce", "all everybody"),
        (github("github.com/octo/app/x"), "enforce", "all octo owner everybody"),
        (github("evil.example/github.com/octo/app"), "enforce", "all everybody"),
        (github("github.com/OCTO/app"), "enforce", "all everybody"),
    ],
)
def test_a_project_that_an_agent_vouches_for_leads_to_its_sections(who: Who, mode: str, names: str) -> None:
    assert hosts(who) == (mode, names)


@pytest.mark.parametrize(
    "who", [github()._replace(is_vouched=False), github(None), github(None)._replace(is_vouched=False)]
)
def test_a_project_that_nobody_vouches_for_leads_to_what_is_stricter(who: Who) -> None:
    assert hosts(who) == ("enforce", "all octo everybody")


def test_a_project_that_the_author_can_change_leads_to_nothing_laxer_unless_that_is_stated() -> None:
    of_gitlab = Claim("gitlab", "gitlab.example/group/app", "a", "b")
    assert hosts(Who((of_gitlab,), is_vouched=True)) == ("audit", "all everybody")
    with_port = of_gitlab._replace(project="gitlab.example:8443/group/app")
    assert hosts(Who((with_port,))) == ("audit", "all port everybody")


def test_a_job_with_the_marks_of_two_systems_gets_the_strictest_of_what_either_may_mean() -> None:
    gitlab, forged = Claim("gitlab", "gitlab.example/group/app", "deploy", "x"), github().claims[0]
    assert hosts(Who((forged, gitlab), is_vouched=True)) == ("enforce", "all octo")
    assert hosts(Who((gitlab, forged), is_vouched=True)) == ("enforce", "all octo")
    assert hosts(Who((gitlab, forged)), BELIEVED) == ("enforce", "all no")


def test_who_is_known_by_names_alone_may_be_anybody_and_is_known_to_be_nobody() -> None:
    assert hosts(named("release", "build")) == ("enforce", "all octo everybody")
    assert hosts(named(None, None)) == ("audit", "all octo everybody")


PROTECTED = policy("""\
version: 1
jobs:
  "github:github.com/octo/app:*": {protected_ref: true, allow: [a.example], deny: [b.example]}
  "*": {protected_ref: true, allow: [c.example]}
  "x*": {protected_ref: true, trust_names: true, allow: [d.example]}
""")


@pytest.mark.parametrize(
    ("is_protected", "names"), [(True, "a b d"), (False, ""), (None, "b")], ids=["is", "isn't", "unknown"]
)
def test_a_section_can_be_for_protected_branches_alone(is_protected: bool | None, names: str) -> None:
    who = github(pipeline="x")
    who = who._replace(claims=(who.claims[0]._replace(is_protected=is_protected),))
    assert hosts(who, PROTECTED) == ("audit", names)


def test_of_what_was_recorded_the_project_is_taken_to_fit() -> None:
    assert hosts(recorded("x", None), PROTECTED) == ("audit", "a b d")
    assert hosts(recorded("release", "build")) == ("enforce", "all release octo owner port everybody")


HOSTILE = ["*", "?", "[a]", "release:x", ":", "a:b:c", "release\nx", "\n", "a\0b", "..", "/", "//", "[:]"]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_gets_across_the_border_of_its_part(text: str) -> None:
    for who in (
        github(pipeline=f"github:github.com/octo/app:release/{text}"),
        github(pipeline=text, task=f"github.com/octo/app:release/{text}"),
        github(f"github.com/evil/app:github.com/octo/app:release/{text}"),
        github(f"{text}/octo/app"),
        github(f"github.com/{text}/octo/app"),
        Who((Claim(f"github:github.com/octo/app:{text}", "x", "release", "build"),), is_vouched=True),
    ):
        assert "release" not in hosts(who)[1].split()
        is_octos = who.claims[0].project == "github.com/octo/app"
        assert ("owner" in hosts(who)[1].split()) == is_octos


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_with_patterns_or_colons_in_it_is_just_a_name(text: str) -> None:
    assert "release" in hosts(github(task=text))[1].split()


def test_each_section_that_allows_nobody_anything_is_remarked_on_with_its_place_and_how_to_mend_it() -> None:
    found = policy("""\
version: 1
jobs:
  "release/*": {allow: [a.example]}
  "stricter/*": {mode: enforce, deny: [b.example]}
  "github:github.com/octo/app:*": {allow: [c.example]}
  "github:*:release/*": {allow: [d.example]}
  "github:github.com/*/app:release/*": {allow: [d.example]}
  "*:github.com/octo/app:*": {allow: [e.example]}
  "gitlab:gitlab.example/group/app:*": {allow: [f.example]}
  "stated": {trust_names: true, allow: [g.example]}
  "*": {allow: [h.example]}
""")
    stated = "or add `trust_names: true`"
    assert list(map(str, remarks(found))) == [
        "policy.yaml:3:3: what `release/*` allows doesn't count: a job's author chooses this name; "
        f"name the project, as in `github:github.com/OWNER/REPOSITORY:release/*`, {stated}",
        "policy.yaml:6:3: what `github:*:release/*` allows doesn't count: "
        "anybody can have a project like `*`; "
        f"write SERVER/OWNER/REPOSITORY with no wildcard in the first two, {stated}",
        "policy.yaml:7:3: what `github:github.com/*/app:release/*` allows doesn't count: "
        "anybody can have a project like `github.com/*/app`; "
        f"write SERVER/OWNER/REPOSITORY with no wildcard in the first two, {stated}",
        "policy.yaml:8:3: what `*:github.com/octo/app:*` allows doesn't count: "
        "it doesn't name the CI system; "
        f"write github or buildkite for it, {stated}",
        "policy.yaml:9:3: what `gitlab:gitlab.example/group/app:*` allows doesn't count: "
        "on gitlab a job's author can change what it says of its project; "
        f"give the project a runner and a policy of its own, {stated}",
    ]
    assert not list(remarks(policy("version: 1\ntrust_names: true\njobs: {a: {allow: [a.example]}}")))


@pytest.mark.parametrize(
    ("who", "key", "why"),
    [
        (
            github()._replace(is_vouched=False),
            "github:github.com/octo/app:release/*",
            "no agent of github made the job's first process",
        ),
        (named("release", "build"), "github:github.com/octo/app:release/*", "which project, or what kind"),
        (
            Who((*github().claims, Claim("gitlab", None, None, None)), is_vouched=True),
            "*",
            "the job has the marks of github and gitlab",
        ),
        (github()._replace(is_partial=True), "*", "not all that the job says of itself is known"),
    ],
)
def test_why_a_section_does_not_count_for_a_job_is_told(who: Who, key: str, why: str) -> None:
    (found,) = [each for each in withheld(KEYED, who) if each.section.key.text == key]
    assert found.why.startswith(why)
    assert [rule.effect.value for rule in found.rules] == ["allow"]


@pytest.mark.parametrize("of", [KEYED, BY_NAME, BELIEVED])
def test_who_is_known_in_part_is_held_to_the_strictest_that_there_is(of: Policy) -> None:
    """Whatever it says, also where names are trusted: what wasn't read may say something else besides."""
    for who in (github(), named("release", "build"), named(None, None)):
        assert effective(of, who._replace(is_partial=True)) == strictest(of)


def test_nothing_is_withheld_from_whom_sections_are_for() -> None:
    assert not list(withheld(KEYED, github()))
    assert not list(withheld(BELIEVED, named("release", "build")))


_KEYS = st.sampled_from(
    (
        *("release", "release/*", "*/build", "r*", "?*", "[rst]*", "git*:*:*", "*:*:release/*"),
        *(
            "github:github.com/octo/app:*",
            "github:github.com/octo/*:release/*",
            "github:*/app:*",
            "github:*:*",
        ),
        *(
            "gitlab:*:*",
            "gitlab:gitlab.example/octo/app:*",
            "buildkite:buildkite.com/octo/app:*",
            "*:*/octo/*:*",
        ),
    )
).map(parse_key)
_ANYTHING = st.sampled_from((None, "release", "build", "release/build", "github:github.com/octo/app:release"))
_CLAIMS = st.builds(
    Claim,
    st.sampled_from((None, "github", "gitlab", "buildkite", "run")),
    st.sampled_from(
        (None, "github.com/evil/app", "github.com/octo/app", "gitlab.example/octo/app", "octo/app")
    ),
    _ANYTHING,
    _ANYTHING,
    st.sampled_from((None, True, False)),
)


@st.composite
def _files(draw: st.DrawFn) -> Policy:
    """With sections that nobody is trusted with by name."""
    general = draw(strategies.policies())
    modes = st.sampled_from((None, *Mode))
    sections = [
        Section(draw(_KEYS), draw(modes), draw(strategies.policies()).rules)
        for _ in range(draw(st.integers(1, 3)))
    ]
    return Policy(draw(st.sampled_from(Mode)), general.rules, tuple(sections), general.resolvers)


@given(
    _files(),
    st.lists(_CLAIMS, min_size=1, max_size=2, unique=True),
    strategies.acts(),
    strategies.answers,
    strategies.chains,
)
def test_whatever_a_job_says_of_itself_it_may_do_nothing_more_by_it(
    file: Policy, claims: list[Claim], act: EgressRequest, answers: list[tuple[str, object]], chain: list[str]
) -> None:
    names = [name for name, address in answers if address == act.address]
    general = JobPolicy(file.mode, file.rules, file.resolvers)
    job = effective(file, Who(tuple(claims)))
    before = decide(general, act, names=names, chain=chain)
    after = decide(job, act, names=names, chain=chain)
    assert before.effect is Effect.ALLOW or after.effect is Effect.DENY
    assert file.mode is Mode.AUDIT or job.mode is Mode.ENFORCE


@given(_files(), _ANYTHING, _ANYTHING, strategies.acts(), strategies.chains)
def test_a_vouched_job_of_another_owner_may_do_nothing_more_whatever_it_is_called(
    file: Policy, pipeline: str | None, task: str | None, act: EgressRequest, chain: list[str]
) -> None:
    job = effective(file, github("github.com/evil/app", pipeline or "", task or ""))
    before = decide(JobPolicy(file.mode, file.rules, file.resolvers), act, chain=chain)
    assert before.effect is Effect.ALLOW or decide(job, act, chain=chain).effect is Effect.DENY
