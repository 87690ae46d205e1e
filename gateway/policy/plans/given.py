"""What compile is given beside the policy: the environment's words and the contents of secrets, read by others. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.policy import secrets
from gateway.policy.document.problems import Findings, Path
from gateway.policy.schema.section import written
from gateway.policy.schema.sections import Policy
from gateway.policy.secrets import Reference


@dataclass(frozen=True, slots=True)
class Given:
    """The same policy and the same Given compile to the same Snapshot."""

    upstream: str | None = None
    """GATEWAY_UPSTREAM."""
    own_listeners: frozenset[tuple[str, int]] = frozenset()
    budgets: Mapping[str, int] = field(default_factory=dict)
    """AGENT_MAX_* of the environment."""
    agent_id: str | None = None
    """GATEWAY_AGENT_ID."""
    secrets: Mapping[Reference, str] | None = None
    """What references stand for; None: not read (`check --without-secrets`), they stay as written."""
    unread: Mapping[Reference, str] = field(default_factory=dict)
    """Why a reference stands for nothing."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Content hashes of the TLS files, by path."""
    unread_files: Mapping[str, str] = field(default_factory=dict)
    """Why a TLS file cannot be used."""
    ignored_files: tuple[str, ...] = ()
    """Other files of the policy folder."""
    candidate: bool = False
    """There is a candidate.yaml."""
    now: float = 0.0
    """Unix seconds: since when the policy's kill switches hold."""

    def __repr__(self) -> str:
        return "Given(…)"

    def expand(self, path: Path, template: str, findings: Findings) -> str | None:
        """The template with its secrets; None, and told, where one is not to be had."""
        if self.secrets is None:
            return template
        missing = [reference for reference in secrets.references(template) if reference not in self.secrets]
        for reference in missing:
            findings.add(path, f"{reference} {self.unread.get(reference, 'is not set')}")
        return None if missing else secrets.expand(template, self.secrets)


def wanted(policy: Policy) -> tuple[frozenset[Reference], frozenset[str]]:
    """The references and the TLS files that the policy names."""
    keys = policy.governed.api_key, policy.governed.admin_key
    templates = [key for key in (*(agent.token for agent in policy.agents.values()), *keys) if key is not None]
    files: set[str] = set()
    for upstream in (*policy.upstreams.values(), *policy.mcp_servers.values()):
        templates.extend(upstream.headers.values())
        files.update(path for path in written(upstream.tls).values() if path is not None)
    return frozenset(reference for text in templates for reference in secrets.references(text)), frozenset(files)
