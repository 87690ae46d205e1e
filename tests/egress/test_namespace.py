"""Every form of forms.txt at every door of a real gateway, in a network where all that it dials is seen: what is refused sees no SYN."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable

import pytest

from tests.doors.wire import Answer
from tests.egress.forms import AUTHORITIES, LOCATIONS, URLS, Form
from tests.egress.inside import Inside, connect, fetch, fetch_by_query, proxied
from tests.egress.world import PORTS, REDIRECT, End, World

pytestmark = pytest.mark.needs("ip", "unshare", "nsenter")

ALLOWED, ELSEWHERE = "8.8.8.80", "8.8.4.66"
LISTED = {
    "allowed.example": ALLOWED,
    "x.wild.example": "9.9.9.1",
    "a.b.wild.example": "9.9.9.2",
    "_x.wild.example": "9.9.9.3",
}
"""Names that the policy lists, and where they lead."""
INWARD = {
    "localhost": "127.0.0.1",
    "ip6-localhost": "::1",
    "localhost.localdomain": "127.0.0.1",
    "app.localhost": "127.0.0.1",
    "metadata.google.internal": "169.254.169.254",
    "metadata": "169.254.169.254",
    "kubernetes.default.svc": "10.96.0.1",
    "127.0.0.1.nip.io": "127.0.0.1",
    "7f000001.nip.io": "127.0.0.1",
    "app-10-0-0-1.nip.io": "10.0.0.1",
    "169.254.169.254.sslip.io": "169.254.169.254",
    "0--1.sslip.io": "::1",
    "localtest.me": "::1",
    "spoofed.burpcollaborator.net": "127.0.0.1",
    "mail.ebc.apple.com": "10.10.34.2",
}
"""Public names of other people's that lead inward. All others lead ELSEWHERE, which is public and not listed."""
REQUEST_LINES = [form for form in URLS if form.text == form.text.strip(" ")]
"""Without those that have blanks around them: on a request line these are none of the URL's."""
REFUSED = ("invalid_request", "egress_not_allowed")
Door = Callable[[World, Inside, str], Awaitable[Answer]]


@pytest.fixture
def there(there: World) -> World:
    there.names.answers = {name: [[address]] for name, address in (LISTED | INWARD).items()}
    there.names.otherwise = [ELSEWHERE]
    return there


def where_listed(form: Form) -> End | None:
    """What the policy of `listed` lets a form reach."""
    address = LISTED.get(form.host or "")
    return End(address, form.port) if address and form.port in PORTS else None


def where_anywhere(form: Form) -> End | None:
    """What the policy of `anywhere` lets it reach: every literal of forms.txt is a forbidden one."""
    if form.host is None or form.host in INWARD or _is_literal(form.host) or form.port not in PORTS:
        return None
    return End(LISTED.get(form.host, ELSEWHERE), form.port)


def _is_literal(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


async def knock(door: Door, there: World, gate: Inside, forms: Iterable[Form]) -> list[tuple[Form, Answer]]:
    """All forms at one door, a few at a time."""
    places = asyncio.Semaphore(16)

    async def one(form: Form) -> tuple[Form, Answer]:
        async with places:
            return form, await door(there, gate, form.text)

    return await asyncio.gather(*map(one, forms))


def hold(door: Door, form: Form, answer: Answer, expected: End | None) -> None:
    """Refused, or answered by the one place that the form means."""
    reason = answer.header("Tool-Gateway-Reason")
    no_request_target = not form.text.isascii() or "#" in form.text
    if expected is None or (no_request_target and reason in REFUSED):
        assert (answer.status in (400, 403, 501), reason in REFUSED) == (True, True), (form, answer)
    elif door is connect:
        assert answer.status == 200, (form, answer)
    elif form.text.lower().startswith("https"):
        assert (answer.status, reason) == (502, "upstream_failed"), (form, answer)  # whoever was dialled speaks no TLS
    else:
        assert (answer.status, answer.body) == (200, b"%s %d" % (expected.host.encode(), expected.port)), (form, answer)


async def hold_log(gate: Inside, door: Door, answers: list[tuple[Form, Answer]]) -> None:
    """Nothing is logged as target but what the form means."""
    calls = {str(answer.header("Tool-Gateway-Call-Id")): form for form, answer in answers}
    for line in await gate.logged(set(calls)):
        form = calls[line["call_id"]]
        if line["reason"] == "invalid_request":
            assert line.get("target", "?url=").startswith("?url="), (form, line)  # what came, for want of a meaning
            continue
        host = f"[{form.host}]" if ":" in str(form.host) else form.host
        scheme = "https" if form.text.lower().startswith("https") else "http"
        begins = f"{host}:{form.port}" if door is connect else f"{scheme}://{host}:{form.port}/"
        assert line["target"].startswith(begins), (form, line)


async def test_a_forbidden_address_would_be_heard_and_an_opened_one_is_reached(there: World, listed: Inside) -> None:
    """The control: the other tests of this file can fail."""
    for address in ("10.0.0.7", "127.0.0.1", "169.254.169.254"):
        end = End(address, 80)
        (await there.dial(end)).leave()
    for address in ("::1", "fd00:ec2::254", "64:ff9b::a00:7"):
        probe = there.inside.socket(socket.AF_INET6, socket.SOCK_STREAM)
        await asyncio.get_running_loop().sock_connect(probe, (address, 80))
        probe.close()
    for door in (fetch, proxied):
        answer = await door(there, listed, "http://192.0.2.80/")
        assert (answer.status, answer.body) == (200, b"192.0.2.80 80")
    assert (await connect(there, listed, "192.0.2.80:80")).status == 200
    heard = {"10.0.0.7", "127.0.0.1", "169.254.169.254", "::1", "fd00:ec2::254", "64:ff9b::a00:7", "192.0.2.80"}
    assert {end.host for end in there.accepted} == heard
    assert {end.host for end in there.dialled(*listed.own)} == heard


@pytest.mark.parametrize(
    ("door", "forms"), [(fetch, URLS), (fetch_by_query, URLS), (proxied, REQUEST_LINES), (connect, AUTHORITIES)]
)
async def test_a_form_reaches_what_it_means_or_nothing(
    there: World, listed: Inside, anywhere: Inside, door: Door, forms: list[Form]
) -> None:
    """What was judged is what is dialled and logged, and no name is looked up that is not listed."""
    answers = await knock(door, there, listed, forms)
    for form, answer in answers:
        hold(door, form, answer, where_listed(form))
    expected = {where_listed(form) for form in forms} - {None}
    assert there.dialled(*listed.own) <= expected
    assert End(ALLOWED, 443 if door is connect else 80) in there.dialled()
    assert set(there.names.look_ups()) == {name for name in LISTED if any(form.host == name for form in forms)}
    await hold_log(listed, door, answers)
    for form, answer in await knock(door, there, anywhere, forms):
        hold(door, form, answer, where_anywhere(form))
    expected |= {where_anywhere(form) for form in forms} - {None}
    assert there.dialled(*listed.own, *anywhere.own) <= expected


async def test_no_url_reaches_more_as_an_authority(there: World, listed: Inside) -> None:
    hosts = [form.text.partition("//")[2].partition("/")[0] for form in URLS]
    authorities = [Form(text, None, 0) for host in hosts for text in (host, f"{host}:443")]
    await knock(connect, there, listed, authorities)
    assert there.dialled(*listed.own) <= {End(address, port) for address in LISTED.values() for port in PORTS}


async def test_a_redirect_leads_where_it_says_or_nowhere(there: World, listed: Inside) -> None:
    def redirected(there: World, gate: Inside, text: str) -> Awaitable[Answer]:
        return fetch(there, gate, f"http://allowed.example{REDIRECT}" + text.encode().hex())

    for form, answer in await knock(redirected, there, listed, LOCATIONS):
        hold(fetch, form, answer, where_listed(form))
    for form, answer in await knock(redirected, there, listed, URLS):
        if where_listed(form) is None:  # malformed as a URL it may be a path of allowed.example, or no header at all
            assert answer.status in (403, 502) or answer.body == b"%s 80" % ALLOWED.encode(), (form, answer)
    assert there.dialled(*listed.own) <= {End(address, port) for address in LISTED.values() for port in PORTS}


async def test_the_request_line_decides_and_not_the_host(there: World, listed: Inside) -> None:
    answer = await proxied(there, listed, "http://evil.example/", host="allowed.example")
    assert (answer.status, answer.header("Tool-Gateway-Reason")) == (403, "egress_not_allowed")
    for host in ("evil.example", "127.0.0.1", "169.254.169.254"):
        answer = await proxied(there, listed, "http://ALLOWED.example.:080/", host=host)
        assert (answer.status, answer.body) == (200, f"{ALLOWED} 80".encode())
    assert there.hosts == ["allowed.example"] * 3
    assert there.dialled(*listed.own) == {End(ALLOWED, 80)}


@pytest.mark.parametrize(
    "host",
    ["10.0.0.7", "127.0.0.1", "169.254.169.254", "[::1]", "[fd00:ec2::254]", "[64:ff9b::a00:7]", "[::ffff:10.0.0.7]"],
)
async def test_to_list_an_address_does_not_open_it(there: World, listed: Inside, host: str) -> None:
    for answer in (
        await fetch(there, listed, f"http://{host}/"),
        await proxied(there, listed, f"http://{host}/"),
        await connect(there, listed, f"{host}:443"),
    ):
        assert (answer.status, answer.header("Tool-Gateway-Reason")) == (403, "egress_not_allowed")
    assert there.dialled(*listed.own) == set()
