"""deploy/kubernetes: valid, with no more rights than it needs, and its containers trace as they stand."""

from __future__ import annotations

import copy
import re
from platform import release
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml

from exporter.baseline.parse import parse_baseline
from exporter.common.errors import CANNOT_TRACE_STATUS
from exporter.policy.parse import parse_policy
from tests.checkout import ROOT
from tests.kernel.compilers import CONTRACT
from tests.kernel.job_steps import job, run_id
from tests.kernel.lab import V4
from tests.kernel.running_exporter import wait_for
from tools.reference.cli import commands
from tools.release.checkout import Checkout

from .host_policy import POLICY, TASK
from .machine import LIMIT_S, PINS, debian_root, machine, spans_of
from .other_versions import REFUSED, with_refused_programs
from .pods import Node, capabilities, container, documents, instructions, pod
from .releases import LIMIT_S as RELEASE_LIMIT_S
from .service_unit import UNIT
from .service_unit import capabilities as of_unit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kernel.job_steps import Steps

    from .machine import Machine
    from .releases import Built

GUIDE = ROOT / "docs/how-to/kubernetes.md"
NOT_READY = "no watch runs, or its programs aren't attached yet\n"
TO_FILES = ("--otlp-dir", "/var/lib/ci-egress/otlp")
"""There is no collector here."""
IMAGE_LIMIT_MIB = 120
KUBERNETES = "1.37.0"
"""The version whose schemas it is held to."""


def validate(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("kind", documents())
def test_what_is_applied_is_what_the_api_takes(kind: str) -> None:
    validate(documents()[kind])


def _a_misspelt_field(spec: dict[str, Any]) -> None:
    spec["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True


def _a_number_that_is_text(spec: dict[str, Any]) -> None:
    spec["terminationGracePeriodSeconds"] = "30"


def _no_containers(spec: dict[str, Any]) -> None:
    del spec["containers"]


@pytest.mark.parametrize("broken", [_a_misspelt_field, _a_number_that_is_text, _no_containers])
def test_a_broken_manifest_is_refused(broken: Any) -> None:
    document = copy.deepcopy(documents()["DaemonSet"])
    broken(document["spec"]["template"]["spec"])
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(document)


def test_all_of_it_is_in_one_namespace_and_of_one_name() -> None:
    made = documents()
    namespace = made.pop("Namespace")["metadata"]["name"]
    assert {each["metadata"]["namespace"] for each in made.values()} == {namespace}
    spec = made["DaemonSet"]["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    assert pod()["serviceAccountName"] == made["ServiceAccount"]["metadata"]["name"]


def test_its_capabilities_are_the_units_and_the_one_that_systemd_saves() -> None:
    assert capabilities(container()) == of_unit(UNIT.read_text()) | {"CAP_SYS_NICE"}


def test_the_units_capabilities_are_the_contracts_but_for_the_one_of_run() -> None:
    """CAP_KILL is for signals to COMMAND, and a watch has none."""
    assert of_unit(UNIT.read_text()) == {f"CAP_{name.upper()}" for name in CONTRACT} - {"CAP_KILL"}


@pytest.mark.parametrize("place", ["initContainers", "containers"])
def test_a_container_can_gain_nothing_and_write_nothing_but_its_volumes(place: str) -> None:
    for each in pod()[place]:
        given = each["securityContext"]
        assert not given.get("privileged")
        assert (given["allowPrivilegeEscalation"], given["readOnlyRootFilesystem"]) == (False, True)
        assert given["seccompProfile"] == {"type": "RuntimeDefault"}
        assert each["resources"]["limits"].keys() == {"memory"}


def test_it_asks_the_cluster_nothing_and_shares_no_network() -> None:
    assert not pod()["automountServiceAccountToken"]
    assert not documents()["ServiceAccount"]["automountServiceAccountToken"]
    assert not {"hostNetwork", "hostIPC"} & pod().keys()


def test_of_the_nodes_files_it_has_bpffs_and_the_cgroups_alone() -> None:
    paths = {each["name"]: each["hostPath"]["path"] for each in pod()["volumes"] if "hostPath" in each}
    assert paths == {"bpffs": "/sys/fs/bpf", "cgroup": "/sys/fs/cgroup"}
    writable = [each["name"] for each in container()["volumeMounts"] if not each.get("readOnly")]
    assert set(writable) & paths.keys() == {"bpffs"}


def test_its_policy_and_baseline_are_valid_files() -> None:
    files = {name: text.encode() for name, text in documents()["ConfigMap"]["data"].items()}
    assert not parse_policy(files["policy.yaml"], "policy.yaml").rules
    assert not parse_baseline(files["baseline.yaml"], "baseline.yaml").entries


def test_the_image_is_of_this_version() -> None:
    images = {each["image"] for each in (*pod()["initContainers"], *pod()["containers"])}
    assert {image.rpartition(":")[2] for image in images} == {Checkout(ROOT).version()}
    assert len(images) == 1


def test_the_image_starts_what_the_manifest_gives_options_to() -> None:
    assert instructions("ENTRYPOINT") == ['["/usr/bin/ci-egress"]']
    assert container()["args"][0] == "watch"
    assert "command" not in container()


def test_the_arguments_that_the_guide_gives_are_ones_of_watch() -> None:
    blocks = re.findall(r"^```yaml\n(args: .*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    known = {name for parameter in commands()["ci-egress watch"].params for name in parameter.opts}
    for given in map(yaml.safe_load, blocks):
        document = copy.deepcopy(documents()["DaemonSet"])
        document["spec"]["template"]["spec"]["containers"][0] |= given
        validate(document)
        command, *arguments = given["args"]
        assert command == "watch"
        assert {each for each in arguments if each.startswith("--")} <= known
    assert len(blocks) == 2


@pytest.fixture(scope="module")
def image(built: Built) -> Iterator[Machine]:
    """A Debian 13 in which the Containerfile's steps made the image."""
    with machine(debian_root("trixie", "python3-bpfcc", "libbpf1")) as made:
        (made.root / "root" / built.package.name).write_bytes(built.package.read_bytes())
        for command in instructions("RUN"):
            made.run("sh", "-ec", command)
        yield made


@pytest.fixture(scope="module")
def node(image: Machine) -> Node:
    """One on which the container that prepares the other's folders is over."""
    made, (prepares,) = Node(image), pod()["initContainers"]
    made.prepare()
    with made.started(prepares, prepares["command"]) as over:
        assert over.wait(LIMIT_S) == 0, made.log(prepares)
    return made


@pytest.mark.kernel
@pytest.mark.alone  # they hold others' steps until they know them
@pytest.mark.index
@pytest.mark.timeout(RELEASE_LIMIT_S)
def test_the_containers_trace_and_deny_with_just_the_manifests_rights(node: Node, steps: Steps) -> None:
    image, watches = node.image, container()
    (node.folder / "config/policy.yaml").write_text(POLICY)
    options = ["--policy", "/etc/ci-egress/policy.yaml", *TO_FILES]
    run, probe = run_id("pod"), watches["startupProbe"]["exec"]["command"]
    with node.started(watches, ["/usr/bin/ci-egress", *watches["args"], *options]):
        wait_for(lambda: node.executes(watches, probe) == 0, limit_s=LIMIT_S)
        place = steps.start(job(run, TASK), f"{steps.act(V4.peer)}; {steps.act(V4.evil)}")
        wait_for(lambda: run in node.log(watches), limit_s=LIMIT_S)
        assert steps.go(place) == "ok\nEPERM\n"
    assert list((image.root / PINS).glob("*")) == []
    acts = [
        span
        for span in spans_of(node.folder / "state/otlp")
        if span.resource.get("cicd.pipeline.run.id") == run and "egress.verdict" in span.attributes
    ]
    acts.sort(key=lambda span: span.started_ns)
    assert [(span["server.address"], span["egress.verdict"]) for span in acts] == [
        (V4.peer, "allow"),
        (V4.evil, "deny"),
    ]
    assert (node.folder / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.kernel
@pytest.mark.index
@pytest.mark.timeout(RELEASE_LIMIT_S)
def test_the_image_is_small_and_has_no_shell_and_traces_as_it_is(node: Node) -> None:
    files = node.image.root / "image"
    assert mebibytes(files) < IMAGE_LIMIT_MIB
    assert not list(files.glob("usr/bin/*sh"))
    doctor = container() | {"name": "doctor"}
    with node.started(doctor, ["/usr/bin/ci-egress", "doctor"]) as over:
        assert over.wait(LIMIT_S) == 0, node.log(doctor)


def mebibytes(folder: Path) -> float:
    """What all files below a folder take, each once."""
    found = {(each.lstat().st_ino): each.lstat().st_size for each in folder.rglob("*") if not each.is_dir()}
    return sum(found.values()) / (1 << 20)


@pytest.mark.kernel
@pytest.mark.index
@pytest.mark.timeout(RELEASE_LIMIT_S)
def test_a_pod_whose_programs_the_kernel_refuses_never_becomes_ready(node: Node) -> None:
    """So a rollout stops at its node. Last of this file: the image isn't what it was."""
    with_refused_programs(node.image.root / "image")
    watches = container() | {"name": "refused"}
    assert pod_updates_one_by_one()
    with node.started(watches, ["/usr/bin/ci-egress", *watches["args"], *TO_FILES]) as refused:
        assert refused.wait(LIMIT_S) == CANNOT_TRACE_STATUS
    assert f"cannot load the programs: Linux {release()} refuses {REFUSED}: " in node.log(watches)
    probed = container() | {"name": "probed"}
    with node.started(probed, probed["startupProbe"]["exec"]["command"]) as over:
        assert over.wait(LIMIT_S) == 1
    assert node.log(probed) == NOT_READY
    assert list((node.image.root / PINS).glob("*")) == []


def pod_updates_one_by_one() -> bool:
    """Whether the next pod isn't ended before this one is ready."""
    strategy = documents()["DaemonSet"]["spec"]["updateStrategy"]
    return bool(strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}})
