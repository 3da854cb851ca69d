"""The manifests agree with the settings, the image, each other, and Kubernetes' own schemas."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from consumer import __version__
from consumer.app import CLOSE_SHARE
from consumer.kafka.admin import SUGGESTED_PARTITIONS
from consumer.settings.model import Settings
from consumer.settings.sources import FILE_SUFFIX, load_settings

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy" / "kubernetes"
BASE, STATIC = DEPLOY / "base", DEPLOY / "static-membership"
KUBERNETES = "1.34"
KUSTOMIZE = shutil.which("kustomize")
NAME = "conversation-consumer"
POD = "a-pod"
Manifest = dict[str, Any]

OWN_RESOURCES = {"ScaledObject", "TriggerAuthentication", "PodMonitor"}
"""Of KEDA and the Prometheus operator: their schemas are in no package."""


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def base() -> dict[str, Manifest]:
    """The resources of the base by kind, each once."""
    loaded = [load(BASE / name) for name in load(BASE / "kustomization.yaml")["resources"]]
    found = {one["kind"]: one for one in loaded}
    assert len(found) == len(loaded)
    return found


def patched(manifest: Manifest, operations: list[Manifest]) -> Manifest:
    """Apply the operations of a JSON patch that the overlay uses."""
    result = copy.deepcopy(manifest)
    for one in operations:
        *path, last = one["path"].strip("/").split("/")
        node: Any = result
        for step in path:
            node = node[int(step) if isinstance(node, list) else step]
        match one["op"], last:
            case "add", "-":
                node.append(one["value"])
            case "add" | "replace", _:
                assert (last in node) is (one["op"] == "replace")
                node[last] = one["value"]
            case "remove", _:
                del node[last]
            case other:
                raise AssertionError(other)
    return result


def static() -> dict[str, Manifest]:
    """The resources of the overlay with static membership, by kind."""
    found = base()
    for patch in load(STATIC / "kustomization.yaml")["patches"]:
        manifest = patched(found.pop(patch["target"]["kind"]), load(STATIC / patch["path"]))
        found[manifest["kind"]] = manifest
    return found


VARIANTS = {"base": base(), "static-membership": static()}
each_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())


def workload(variant: Mapping[str, Manifest]) -> Manifest:
    (kind,) = variant.keys() & {"Deployment", "StatefulSet"}
    return variant[kind]


def pod_of(variant: Mapping[str, Manifest]) -> Manifest:
    found: Manifest = workload(variant)["spec"]["template"]["spec"]
    return found


def container_of(variant: Mapping[str, Manifest]) -> Manifest:
    (found,) = pod_of(variant)["containers"]
    assert isinstance(found, dict)
    return found


def variables(variant: Mapping[str, Manifest]) -> dict[str, str]:
    """The environment of a pod that is called ``POD``."""
    lines = (BASE / "settings.env").read_text(encoding="utf-8").splitlines()
    given = dict(line.split("=", 1) for line in lines)
    for entry in container_of(variant)["env"]:
        source = entry.get("valueFrom")
        assert source in (None, {"fieldRef": {"fieldPath": "metadata.name"}})
        given[entry["name"]] = entry["value"] if source is None else POD
    return given


def settings_of(variant: Mapping[str, Manifest], directory: Path) -> Settings:
    """Read the settings as a pod does, its secrets' files being in ``directory``."""
    given = variables(variant)
    for name, path in given.items():
        if name.endswith(FILE_SUFFIX) and not name.endswith("CA_FILE"):
            secret = directory / Path(path).name
            secret.write_text(
                "mongodb://mongo" if "MONGO__URI" in name else "secret", encoding="utf-8"
            )
            given[name] = str(secret)
    return load_settings(variables=given)


@each_variant
def test_every_variable_is_a_setting_and_all_settings_fit_together(
    variant: Mapping[str, Manifest], tmp_path: Path
) -> None:
    settings = settings_of(variant, tmp_path)
    assert settings.kafka.client_id == POD
    assert settings.mongo.uri.get_secret_value() == "mongodb://mongo"


@each_variant
def test_secrets_come_from_files_of_the_secret_that_is_mounted(
    variant: Mapping[str, Manifest],
) -> None:
    container = container_of(variant)
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    files = [path for name, path in variables(variant).items() if name.endswith(FILE_SUFFIX)]
    assert files
    assert {str(Path(path).parent) for path in files} == {mounts["secrets"]}
    assert not any(name.endswith(("PASSWORD", "MONGO__URI")) for name in variables(variant))
    (secret,) = [one["secret"] for one in pod_of(variant)["volumes"] if "secret" in one]
    assert secret["defaultMode"] & 0o007 == 0
    told_to_keda = variant["TriggerAuthentication"]["spec"]["secretTargetRef"]
    assert {one["name"] for one in told_to_keda} == {secret["secretName"]}


@each_variant
def test_every_port_agrees(variant: Mapping[str, Manifest], tmp_path: Path) -> None:
    settings, container = settings_of(variant, tmp_path), container_of(variant)
    (port,) = container["ports"]
    assert port["containerPort"] == settings.http.port
    probes = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")]
    assert [probe["path"] for probe in probes] == ["/livez", "/livez", "/readyz"]
    (endpoint,) = variant["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert {one["port"] for one in (*probes, endpoint)} == {port["name"]}
    policy = variant["NetworkPolicy"]["spec"]
    assert _ports(policy["ingress"]) == {settings.http.port}
    brokers = {int(server.rpartition(":")[2]) for server in settings.kafka.bootstrap_servers}
    assert _ports(policy["egress"]) == {53, 27017} | brokers


def _ports(rules: list[Manifest]) -> set[int]:
    return {port["port"] for rule in rules for port in rule["ports"]}


@each_variant
def test_the_grace_period_is_longer_than_a_drain_and_the_closing_behind_it(
    variant: Mapping[str, Manifest], tmp_path: Path
) -> None:
    deadline = settings_of(variant, tmp_path).engine.drain_deadline
    assert pod_of(variant)["terminationGracePeriodSeconds"] > deadline * (1 + 2 * CLOSE_SHARE)


def test_a_pod_that_is_replaced_is_back_before_its_session_ends(tmp_path: Path) -> None:
    variant = VARIANTS["static-membership"]
    kafka = settings_of(variant, tmp_path).kafka
    assert kafka.group_instance_id == POD
    probe = container_of(variant)["startupProbe"]
    starting = probe["periodSeconds"] * probe["failureThreshold"]
    grace = pod_of(variant)["terminationGracePeriodSeconds"]
    assert kafka.session_timeout > grace + starting
    assert "GROUP_INSTANCE_ID" not in str(VARIANTS["base"])


@each_variant
def test_everything_selects_the_pods(variant: Mapping[str, Manifest]) -> None:
    labels = workload(variant)["spec"]["template"]["metadata"]["labels"]
    for kind in (workload(variant)["kind"], "PodDisruptionBudget", "PodMonitor"):
        assert variant[kind]["spec"]["selector"]["matchLabels"] == labels
    assert variant["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    target = variant["ScaledObject"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == (workload(variant)["kind"], NAME)
    assert "replicas" not in workload(variant)["spec"]


@each_variant
def test_it_is_scaled_by_the_lag_of_what_it_reads_up_to_the_partitions(
    variant: Mapping[str, Manifest], tmp_path: Path
) -> None:
    kafka, scaled = settings_of(variant, tmp_path).kafka, variant["ScaledObject"]["spec"]
    triggers = [one["metadata"] for one in scaled["triggers"]]
    assert [one["topic"] for one in triggers] == list(kafka.topics)
    assert {one["consumerGroup"] for one in triggers} == {kafka.group_id}
    assert {one["bootstrapServers"] for one in triggers} == {",".join(kafka.bootstrap_servers)}
    assert {one["allowIdleConsumers"] for one in triggers} == {"false"}
    assert scaled["maxReplicaCount"] == SUGGESTED_PARTITIONS
    budget = variant["PodDisruptionBudget"]["spec"]["maxUnavailable"]
    assert budget < scaled["minReplicaCount"] <= scaled["maxReplicaCount"]


@each_variant
def test_the_process_may_do_nothing_but_its_work(variant: Mapping[str, Manifest]) -> None:
    pod, container = pod_of(variant), container_of(variant)
    recipe = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (user,) = re.findall(r"^USER (\d+):\1$", recipe, re.MULTILINE)
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user),
        "runAsGroup": int(user),
        "fsGroup": int(user),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"].keys() == {"requests", "limits"}


def test_the_image_is_that_of_this_version() -> None:
    (image,) = load(BASE / "kustomization.yaml")["images"]
    assert image == {"name": container_of(base())["image"], "newTag": __version__}
    assert load(ROOT / "docker-compose.yml")["services"]["consumer"]["image"] == image["name"]


@pytest.mark.parametrize("folder", [BASE, STATIC], ids=lambda folder: folder.name)
def test_every_file_is_part_of_it(folder: Path) -> None:
    kustomization = (folder / "kustomization.yaml").read_text(encoding="utf-8")
    others = {path.name for path in folder.iterdir()} - {"kustomization.yaml"}
    assert others == {name for name in others if name in kustomization}


@pytest.mark.skipif(KUSTOMIZE is None, reason="kustomize is not found")
@pytest.mark.parametrize("folder", [BASE, STATIC], ids=lambda folder: folder.name)
def test_kustomize_makes_of_them_what_the_other_tests_look_at(folder: Path) -> None:
    built = subprocess.run(
        [str(KUSTOMIZE), "build", str(folder)], capture_output=True, text=True, check=False
    )
    assert (built.returncode, built.stderr) == (0, "")
    made = {one["kind"]: one for one in yaml.safe_load_all(built.stdout)}
    settings = made.pop("ConfigMap")
    assert re.fullmatch(f"{NAME}-[a-z0-9]+", settings["metadata"]["name"])
    assert settings["data"].keys() == {
        line.partition("=")[0] for line in (BASE / "settings.env").read_text("utf-8").splitlines()
    }
    for kind, ours in VARIANTS[folder.name].items():
        expected = copy.deepcopy(ours)
        expected["metadata"]["namespace"] = load(folder / "kustomization.yaml")["namespace"]
        if kind in {"Deployment", "StatefulSet"}:
            container = expected["spec"]["template"]["spec"]["containers"][0]
            container["image"] += f":{__version__}"
            container["envFrom"][0]["configMapRef"]["name"] = settings["metadata"]["name"]
        assert made.pop(kind) == expected
    assert made == {}


@each_variant
def test_what_is_kubernetes_own_fits_its_schemas(variant: Mapping[str, Manifest]) -> None:
    own = {kind: one for kind, one in variant.items() if kind not in OWN_RESOURCES}
    assert len(own) == len(variant) - len(OWN_RESOURCES)
    for manifest in own.values():
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_the_schemas_refuse_what_they_do_not_know() -> None:
    wrong = copy.deepcopy(VARIANTS["base"]["Deployment"])
    wrong["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)
