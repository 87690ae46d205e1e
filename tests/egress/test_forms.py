"""Every form of forms.txt through the normaliser alone. Through the doors: test_namespace.py."""

import pytest

from gateway.model import Target
from gateway.policy.targets import authority, follow, parse_target, parse_tunnel
from tests.egress.forms import AUTHORITIES, LOCATIONS, URLS, Form

ALLOWED = Target("http", "allowed.example", 80, "/")


def test_there_are_as_many_forms_as_promised() -> None:
    texts = {form.text for form in URLS}
    assert len(texts) == len(URLS) >= 150
    assert sum(form.host is None for form in URLS) >= 150
    assert len(AUTHORITIES) >= 40
    assert len(LOCATIONS) >= 30


@pytest.mark.parametrize("form", URLS, ids=str)
def test_a_url_means_one_target_or_nothing(form: Form) -> None:
    if form.host is None:
        with pytest.raises(ValueError, match=r"URL|host"):
            parse_target(form.text)
        return
    target = parse_target(form.text)
    assert (target.host, target.port) == (form.host, form.port)
    again = parse_target(f"{target.scheme}://{authority(target)}{target.path}")
    assert again == target


@pytest.mark.parametrize("form", AUTHORITIES, ids=str)
def test_an_authority_means_one_target_or_nothing(form: Form) -> None:
    if form.host is None:
        with pytest.raises(ValueError, match=r"host|user-info|blank"):
            parse_tunnel(form.text)
        return
    target = parse_tunnel(form.text)
    assert (target.host, target.port) == (form.host, form.port)


@pytest.mark.parametrize("form", [*LOCATIONS, *(form for form in URLS if "://" in form.text)], ids=str)
def test_a_location_means_one_target_or_nothing(form: Form) -> None:
    """What an absolute URL means does not depend on where it is met."""
    if form.host is None:
        try:
            target = follow(ALLOWED, form.text)
        except ValueError:
            return
        assert target[:3] == ALLOWED[:3], "read as a path, it stays on its origin"
        assert form in URLS
        return
    target = follow(ALLOWED, form.text)
    assert (target.host, target.port) == (form.host, form.port)
