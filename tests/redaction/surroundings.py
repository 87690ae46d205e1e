"""Documents around a value, as tools send and receive them. The rules are tuned on TUNING; HELD_BACK has none of its forms.

A surrounding is a text with `{}` where the value goes, and how the value is written into such a text.
"""

import base64
import json
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote, quote_plus


class Surrounding(NamedTuple):
    """`write(value)` is the value as it stands in a text of this form."""

    form: str
    text: str
    write: Callable[[str], str] = str

    def around(self, value: str) -> str:
        """The whole document."""
        return self.text.replace("{}", self.write(value))


def _json(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)[1:-1]


def _json_in_json(value: str) -> str:
    return _json(_json(value))


def _three_deep(value: str) -> str:
    return _json(_json_in_json(value))


def _escaped(value: str) -> str:
    """Every character that is no letter or digit as a unicode escape."""
    return "".join(c if c.isalnum() and c.isascii() else f"\\u{ord(c):04x}" for c in value if ord(c) < 0x10000)


def _html(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _base64(value: str) -> str:
    return base64.b64encode(json.dumps({"q": f"use {value} now"}).encode()).decode()


def _quoted(value: str) -> str:
    return quote(value, safe="")


TUNING = (
    Surrounding("sentence", "Please use {} for this and tell nobody."),
    Surrounding("alone", "{}"),
    Surrounding("JSON", '{"q":"{}","n":3}', _json),
    Surrounding("JSON, spaced", '{"rows": [{"id": 17, "note": "see {} there", "ok": true}], "next": null}', _json),
    Surrounding(
        "JSON in JSON", '{"content":[{"type":"text","text":"{\\"found\\":[\\"{}\\"],\\"n\\":1}"}]}', _json_in_json
    ),
    Surrounding("JSON in JSON in JSON", '{"a":"{\\"b\\":\\"{\\\\\\"c\\\\\\":\\\\\\"x {} y\\\\\\"}\\"}"}', _three_deep),
    Surrounding("JSON, 100 deep", '{"a":[' * 50 + '"{}"' + "]}" * 50, _json),
    Surrounding("log line", "2026-09-21T14:13:20.250Z WARN worker[113] gave {} to upstream\n"),
    Surrounding("table row", "| 17 | {} | open |\n| 18 | none | done |"),
    Surrounding("query", "GET /search?page=2&q={}&sort=name", _quoted),
    Surrounding("form", "q={}&page=2&name=Jo+Doe", quote_plus),
    Surrounding("XML", "<items><item id='17'>{}</item></items>", _html),
    Surrounding("lines", "first\n{}\nlast\n"),
    Surrounding("Python", "value = [17, '{}', None]", _json),
    Surrounding("Markdown", "Set it to `{}`, then **restart**."),
)
"""Seen while the rules were written."""

HELD_BACK = (
    Surrounding("letter", "Liebe Kollegen,\n\nes lautet {} und gilt ab morgen.\n\nGruß, Eva"),
    Surrounding("question", "¿Es correcto ({})? Gracias."),
    Surrounding(
        "tool result",
        '{"jsonrpc":"2.0","id":4,"result":{"content":[{"type":"text","text":"Found {}."}],"isError":false}}',
        _json,
    ),
    Surrounding("chat", '[{"role":"user","content":"what is {}"},{"role":"assistant","content":"no idea"}]', _json),
    Surrounding("JSON lines", '{"n":1,"v":"{}"}\n{"n":2,"v":"x"}\n', _json),
    Surrounding("JSON, indented", '{\n  "row": {\n    "val": "{}",\n    "list": [1, 2.5, null]\n  }\n}\n', _json),
    Surrounding("JSON, escaped", '{"said":"{}","at":12}', _escaped),
    Surrounding(
        "JSON in JSON", '{"event":{"body":"{\\"items\\": [{\\"t\\": \\"is {} ok\\"}], \\"k\\": 2}"}}', _json_in_json
    ),
    Surrounding("JSON, 100 deep", '[{"x":' * 50 + '"pre {} post"' + "}]" * 50, _json),
    Surrounding("torn JSON", '{"rows":[{"id":1,"v":"{}"},{"id":2,"v":"unfinished', _json),
    Surrounding("event stream", 'event: message\ndata: {"delta":"{}"}\n\n', _json),
    Surrounding("YAML", "steps:\n  - run: echo\n    with: {}\n"),
    Surrounding("TOML", '[section]\nitem = "{}"\ncount = 3\n', _json),
    Surrounding("CSV", "id;value;state\n9;{};new\n"),
    Surrounding("SQL", "INSERT INTO notes (n, body) VALUES (4, '{}');"),
    Surrounding("diff", "@@ -1,2 +1,2 @@\n-old line\n+{}\n context"),
    Surrounding("HTML", '<td class="c">{}</td><td>2</td>', _html),
    Surrounding("URL in text", "see https://example.net/find?x=1&term={}#top for it", _quoted),
    Surrounding("form", "comment={}&submit=Send+it", quote_plus),
    Surrounding("stack trace", '  File "app.py", line 8, in run\nValueError: bad input {}\n'),
    Surrounding("base64", "body: {}", _base64),
)
"""No rule was written for these."""
