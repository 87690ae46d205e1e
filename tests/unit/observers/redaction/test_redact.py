import base64
import json
import random
from urllib.parse import quote, unquote_to_bytes

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.observers.redaction.redact import Redactor
from gateway.policy.snapshot import Redaction
from tests.unit.observers.planted_secrets import CREDENTIALS, LOOK_ALIKES, PERSONAL

REDACTOR = Redactor(Redaction())
ALL = {**CREDENTIALS, **PERSONAL}
LIMIT = 512
WINDOW = LIMIT + 1024


def hidden(secret: str, shown: bytes) -> bool:
    """No run of eight characters of the secret (all of a shorter one) stands in what is shown."""
    text = shown.decode("utf-8", "replace")
    size = min(8, len(secret))
    core = secret.split("@")[0] if secret.startswith("postgres") else secret
    core = core.removeprefix("Bearer ").removeprefix("Basic ").removeprefix("postgres://")
    core = core.removeprefix("-----BEGIN RSA PRIVATE KEY-----")
    return not any(core[i : i + size] in text for i in range(max(1, len(core) - size + 1)))


@pytest.mark.parametrize("kind", ALL)
def test_a_secret_is_hidden_in_text_json_nested_json_and_a_url(kind: str) -> None:
    secret = ALL[kind]
    nested = json.dumps({"outer": [{"body": json.dumps({"deep": ["x", f"see {secret} there"]})}]})
    for document in (
        f"see {secret} there",
        f"{secret}",
        json.dumps({"q": f"see {secret}", secret: 1}),
        nested,
        f"a\n{secret}\nb",
    ):
        assert hidden(secret, REDACTOR.scrub(document.encode())), document


@pytest.mark.parametrize("kind", [k for k in ALL if "\n" not in ALL[k]])
def test_a_secret_in_a_percent_encoded_query_is_hidden(kind: str) -> None:
    secret = ALL[kind]
    for target in (f"?q={quote(secret, safe='')}", f"/x/{quote(secret, safe='')}?page=2", f"?q={secret}"):
        shown = REDACTOR.scrub_text(target)
        assert hidden(secret, shown.encode()), shown
        assert hidden(secret, unquote_to_bytes(shown)), shown


@pytest.mark.parametrize("kind", [k for k in ALL if "\n" not in ALL[k]])
def test_words_that_are_encoded_each_alone_neither_hide_nor_show_one_another(kind: str) -> None:
    secret = ALL[kind]
    words = ["a%20b", quote(secret, safe=""), '%7B%22a"', "%7B%22n%22%3A1%7D", quote(f"see {secret}", safe=""), "c%20d"]
    shown = REDACTOR.scrub(" ".join(words).encode())
    assert hidden(secret, unquote_to_bytes(shown)), shown
    assert shown.startswith(b"a%20b ")
    assert shown.endswith(b" c%20d")
    assert b" %7B%22n%22%3A1%7D " in shown


@pytest.mark.parametrize("before", ["", "q=", "/x?data=", "cut== "])
def test_base64_of_text_is_opened_wherever_it_stands(before: str) -> None:
    code = base64.b64encode(b"the password=hunter2 opens it").decode()
    assert REDACTOR.scrub(f"{before}{code} and on".encode()).decode() == f"{before}[redacted:encoded] and on"


def test_encoded_words_in_which_nothing_is_to_be_hidden_stay_as_they_are() -> None:
    pretty = base64.b64encode(json.dumps({"rows": [1, 2, 3], "state": "all is well"}, indent=2).encode()).decode()
    text = " ".join([pretty, quote("two\nlines"), quote(json.dumps({"n": 1}, indent=2)), pretty])
    assert REDACTOR.scrub(text.encode()).decode() == text


@pytest.mark.parametrize("look_alike", LOOK_ALIKES)
def test_a_look_alike_is_kept(look_alike: str) -> None:
    for document in (
        f"see {look_alike} there",
        json.dumps({"q": look_alike}),
        json.dumps([look_alike, f"is {look_alike}."]),
    ):
        assert REDACTOR.scrub(document.encode()).decode() == document


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password=hunter2&user=bob", "password=[redacted]&user=bob"),
        ("Password: must be at least 8 characters", "Password: must be at least 8 characters"),
        ("db_password: 'open sesame'\nport: 5432", "db_password: [redacted]\nport: 5432"),
        ("Cookie: sid=abc; theme=dark\nHost: x", "Cookie: [redacted]\nHost: x"),
        ("X-Api-Key: k1\r\nAccept: */*", "X-Api-Key: [redacted]\r\nAccept: */*"),
        ("curl -H 'Authorization: token abc' x", "curl -H 'Authorization: [redacted]' x"),
        ('data: {"token": "abc", "n": 1}\n\n', 'data: {"token": "[redacted]", "n": 1}\n\n'),
        ("{'secret': 'it is me', 'n': 1}", "{'secret': [redacted], 'n': 1}"),
        ('{"secret": it is me, "n": 1}', '{"secret": [redacted], "n": 1}'),
        ('{"a": 1, "secret" = \'it is me\'}', '{"a": 1, "secret" = [redacted]}'),
        ("<user><password>it is me</password><n>1</n></user>", "<user><password>[redacted]</password><n>1</n></user>"),
        ("deploy --api-key abc --region eu", "deploy --api-key [redacted] --region eu"),
        ('form-data; name="pin"\r\n\r\n1234\r\n--x', 'form-data; name="pin"\r\n\r\n[redacted]\r\n--x'),
    ],
)
def test_assignments_in_text(text: str, shown: str) -> None:
    assert REDACTOR.scrub(text.encode()).decode() == shown


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        ('{"password":"a","n":1}', '{"password":"[redacted]","n":1}'),
        ('{"apiKey":{"value":"a","ok":true}}', '{"apiKey":{"value":"[redacted]","ok":true}}'),
        ('{"pin":1234,"max_tokens":9,"token":null}', '{"pin":"[redacted]","max_tokens":9,"token":null}'),
        ('{"p\\u0061ssword":"a"}', '{"p\\u0061ssword":"[redacted]"}'),
        ('{"name":"Authorization","value":"abc"}', '{"name":"Authorization","value":"[redacted]"}'),
        ('[["Cookie","a=b"],["Accept","x"]]', '[["Cookie","[redacted]"],["Accept","x"]]'),
        ('{"n":4111111111111111}', '{"n":"[redacted:card]"}'),
        ('{"n":123456789012345678901234567890,"n":1.0}', '{"n":123456789012345678901234567890,"n":1.0}'),
        ('{"phone":"5551234","phone":"none"}', '{"phone":"[redacted:phone]","phone":"none"}'),
    ],
)
def test_json_is_hidden_by_name_and_keeps_its_form(document: str, shown: str) -> None:
    assert REDACTOR.scrub(document.encode()).decode() == shown


def test_a_deep_document_keeps_its_form() -> None:
    document = b'{"a":[' * 100 + b'{"password":"hunter2"}' + b"]}" * 100
    assert REDACTOR.scrub(document) == document.replace(b'"hunter2"', b'"[redacted]"')


def test_a_string_without_its_end_is_hidden_whole() -> None:
    assert REDACTOR.scrub(b'{"q":"the head of something', cut=True) == b'{"q":"[cut]"'


def _shape(value: object) -> object:
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    return [_shape(item) for item in value] if isinstance(value, list) else None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "token", "name", "value", "pin"]), inner)
    ),
    max_leaves=20,
)


@given(_JSON, st.sampled_from([None, 1]))
def test_any_document_stays_a_document_of_the_same_shape(value: object, indent: int | None) -> None:
    document = json.dumps(value, indent=indent).encode()
    assert _shape(json.loads(REDACTOR.scrub(document))) == _shape(value)


@given(st.binary(max_size=400), st.booleans(), st.integers(0, 400))
def test_any_bytes_are_taken(text: bytes, cut: bool, stop: int) -> None:
    REDACTOR.scrub(text, stop=stop, cut=cut)


@settings(max_examples=600)
@given(
    kind=st.sampled_from(sorted(ALL)),
    inside=st.integers(0, 60),
    edge=st.sampled_from([LIMIT, WINDOW]),
    form=st.integers(0, 3),
)
def test_a_secret_across_an_edge_leaves_no_head(kind: str, inside: int, edge: int, form: int) -> None:
    """As the log cuts: the redactor sees WINDOW bytes, LIMIT are shown; the secret starts `inside` bytes before one of the edges."""
    secret, filler = ALL[kind], "lorem ipsum " * 400
    before, behind, after, in_json = (
        ("", " ", " " + filler, False),
        ('{"a":"', '","b":"', '","c":2}', True),
        ('["', '","see ', f' {filler}"]', True),
        ("", " ?a=b&q=", "&" + filler, False),
    )[form]
    opening = before + filler[: edge - inside - len(before + behind)] + behind
    document = (opening + (json.dumps(secret)[1:-1] if in_json else secret) + after).encode()
    shown = REDACTOR.scrub(document[:WINDOW], stop=LIMIT, cut=len(document) > WINDOW)
    assert hidden(secret, shown)


def test_a_token_longer_than_the_window_s_surplus_leaves_no_head() -> None:
    token = b"eyJ" + b"hbGciOiJSUzI1NiIsIng1YyI6WyJNSUlD" * 100 + b".eyJzdWIiOiIxIn0.c2ln"
    document = b"lorem ipsum " * 20 + token
    shown = REDACTOR.scrub(document[:WINDOW], stop=LIMIT, cut=True)
    assert shown == b"lorem ipsum " * 20 + b"[cut]"


@given(st.integers(1, 60), st.integers(LIMIT, WINDOW))
def test_a_named_secret_across_the_edge_leaves_no_head(length: int, at: int) -> None:
    secret = "".join(random.Random(length).choices("qwertzuiop", k=length)) + "#!q9"
    for opening in ('{"password":"', "password='", '{"a":{"client_secret":["', "password="):
        document = ("x " * at)[: at - len(opening)] if opening[0] == "p" else f'{{"a":"{"x " * (at // 2 - 40)}","b":'
        document += opening + secret + "z" * 3000
        shown = REDACTOR.scrub(document.encode()[:WINDOW], stop=LIMIT, cut=True)
        assert secret[:4].encode() not in shown


def test_the_policy_adds_names_and_patterns_and_takes_kinds_names_and_values_away() -> None:
    redactor = Redactor(
        Redaction(
            keys=("vehicle_id",),
            patterns={"ticket": r"TCK-\d{4}", "broken": "("},
            allow=("phone", "session_token", "help@example.com"),
        )
    )
    document = b'{"vehicleId":"x1","t":"TCK-1234","p":"+493012345678","session_token":"s","m":"help@example.com, a@example.com"}'
    assert orjson.loads(redactor.scrub(document)) == {
        "vehicleId": "[redacted]",
        "t": "[redacted:ticket]",
        "p": "+493012345678",
        "session_token": "s",
        "m": "help@example.com, [redacted:email]",
    }


def test_a_pattern_of_the_policy_sees_each_string_alone() -> None:
    redactor = Redactor(Redaction(patterns={"code": "^[A-Z]{3}$", "rest": "note: .*"}))
    document = b'{"a":"ABC","b":"ABCD","c":["XYZ","note: \\"x\\", y"],"d":"z"}'
    shown = {"a": "[redacted:code]", "b": "ABCD", "c": ["[redacted:code]", "[redacted:rest]"], "d": "z"}
    assert orjson.loads(redactor.scrub(document)) == shown


def test_redaction_can_be_turned_off() -> None:
    assert Redactor(Redaction(enabled=False)).scrub(b'{"password":"a"}') == b'{"password":"a"}'


def test_names_the_caller_chose_hide_credentials_but_not_numbers() -> None:
    assert REDACTOR.scrub_name("task-4111111111111111") == "task-4111111111111111"
    assert REDACTOR.scrub_name(CREDENTIALS["github"]) == "[redacted:github_token]"
