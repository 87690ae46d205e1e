"""Every form of forms.txt through the normaliser alone. Through the doors: test_namespace.py."""

from collections.abc import Callable

import pytest

from gateway.model import Target
from gateway.policy.targets import authority, follow, parse_target, parse_tunnel
from tests.egress.forms import AUTHORITIES, LOCATIONS, URL_GROUPS, URLS, Form

ALLOWED = Target("http", "allowed.example", 80, "/")
groups = pytest.mark.parametrize("forms", URL_GROUPS.values(), ids=URL_GROUPS)


def wrong(forms: list[Form], read: Callable[[str], Target]) -> dict[str, object]:
    """What is read otherwise than forms.txt says."""
    found = {str(form): (_meant(read, form.text), form.host and (form.host, form.port)) for form in forms}
    return {text: got for text, (got, means) in found.items() if got != means}


def _meant(read: Callable[[str], Target], text: str) -> tuple[str, int] | None:
    try:
        return read(text)[1:3]
    except ValueError:
        return None


def test_there_are_as_many_forms_as_promised() -> None:
    assert len({form.text for form in URLS}) == len(URLS) >= 300
    assert sum(form.host is None for form in URLS) >= 150
    assert len(AUTHORITIES) >= 40
    assert len(LOCATIONS) >= 30


@groups
def test_a_url_means_one_target_or_nothing(forms: list[Form]) -> None:
    assert wrong(forms, parse_target) == {}


@groups
def test_what_a_url_means_is_written_in_one_way_only(forms: list[Form]) -> None:
    for target in (parse_target(form.text) for form in forms if form.host is not None):
        assert parse_target(f"{target.scheme}://{authority(target)}{target.path}") == target


def test_an_authority_means_one_target_or_nothing() -> None:
    assert wrong(AUTHORITIES, parse_tunnel) == {}


def test_a_location_means_one_target_or_nothing() -> None:
    assert wrong(LOCATIONS, lambda text: follow(ALLOWED, text)) == {}


@groups
def test_a_url_means_the_same_as_a_location_or_stays_a_path_where_it_was_met(forms: list[Form]) -> None:
    for form in forms:
        meant = _meant(lambda text: follow(ALLOWED, text), form.text)
        assert meant == (form.host, form.port) if form.host else meant in (None, ALLOWED[1:3]), form
