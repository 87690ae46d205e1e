"""Helpers of the policy tests: a Snapshot from YAML text, without files."""

from dataclasses import fields
from textwrap import dedent

from gateway.policy.compile import compile_policy
from gateway.policy.compiled import CompiledPolicy
from gateway.policy.document.yaml_loader import load
from gateway.policy.plans.given import Given
from gateway.policy.schema.validate import read_policy
from gateway.policy.snapshot import Plan, Snapshot


def judged(text: str, given: Given | None = None) -> tuple[Snapshot | None, list[str]]:
    """The Snapshot, if any, and the problems as lines."""
    document = load(dedent(text).lstrip().encode(), "policy.yaml")
    compiled, problems = compile_policy(read_policy(document), document, given or Given())
    return CompiledPolicy(compiled) if compiled is not None else None, [str(problem) for problem in sorted(problems)]


def compiled(text: str, given: Given | None = None) -> Snapshot:
    """A policy without problems."""
    snapshot, problems = judged(text, given)
    assert snapshot is not None, problems
    return snapshot


def said(plan: Plan) -> dict[str, object]:
    """All that a plan says: plans themselves are told apart by identity."""
    return {field.name: getattr(plan, field.name) for field in fields(plan)}
