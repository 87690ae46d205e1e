"""While nothing is loaded, what is said of a name is what the redactor would say."""

import sys
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.observers.redaction.names import is_random, may_hide
from gateway.observers.redaction.redact import Redactor
from gateway.observers.redaction.scrubber import Scrubber
from gateway.policy.snapshot import Redaction
from tests.unit.observers.planted_secrets import CREDENTIALS, PERSONAL

REDACTOR = Redactor(Redaction())
PATTERNS_OF_ITS_OWN = Redactor(Redaction(patterns={"never": "[^\\x00-\\x{10FFFF}]"}))
"""Takes the long way for every name."""
SECRETS = [*CREDENTIALS.values(), *PERSONAL.values()]
PIECES = st.one_of(
    st.sampled_from(SECRETS),
    st.builds(lambda secret, cut: secret[:cut], st.sampled_from(SECRETS), st.integers(1, 40)),
    st.text(max_size=8),
    st.sampled_from(["run-", ".", "_", "://", "@", " ", "bearer ", "?sig=", "search.read"]),
)
NAMES = st.lists(PIECES, max_size=4).map("".join)
FORMS = st.one_of(
    st.from_regex("[0-9a-f]{32}", fullmatch=True), st.builds(str, st.builds(UUID, int=st.integers(0, 2**128 - 1)))
)


@given(NAMES)
def test_nothing_is_hidden_in_a_name_that_passes_at_a_look(name: str) -> None:
    assert may_hide(name) or REDACTOR.scrub_name(name) == name


@given(FORMS)
def test_no_trace_id_and_no_uuid_looks_like_a_credential(name: str) -> None:
    assert is_random(name)
    assert PATTERNS_OF_ITS_OWN.scrub_name(name) == name


@pytest.mark.parametrize("secret", [*CREDENTIALS.values(), PERSONAL["email"]], ids=[*CREDENTIALS, "email"])
def test_a_credential_in_a_name_is_hidden_before_anything_is_loaded(secret: str) -> None:
    name = f"run {secret}"
    assert Scrubber(Redaction()).scrub_name(name) == REDACTOR.scrub_name(name) != name


def test_a_policy_with_patterns_of_its_own_is_asked_for_every_name() -> None:
    names = "search.read", "0" * 32
    scrubber = Scrubber(Redaction(patterns={"any": "search|0{32}"}))
    assert [scrubber.scrub_name(name) for name in names] == ["[redacted:any].read", "[redacted:any]"]


def test_without_what_redacts_there_is_no_text_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    scrubber = Scrubber(Redaction())
    with monkeypatch.context() as broken:
        broken.setitem(sys.modules, "gateway.observers.redaction.redact", None)
        for attempt in (
            lambda: scrubber.scrub(b"text", stop=4, cut=False),
            lambda: scrubber.scrub_text("text"),
            lambda: scrubber.scrub_name(CREDENTIALS["github"]),
        ):
            with pytest.raises(ImportError):
                attempt()
        assert scrubber.scrub_name("search.read") == "search.read"
        assert scrubber.problem == "redaction cannot be loaded (ModuleNotFoundError): lines that need it are dropped"
    assert scrubber.scrub_text("password=hunter2") == "password=[redacted]"
    assert scrubber.problem is None
