"""What resembles a secret or personal data and is none: by type, drawn anew from a seed."""

import base64
import hashlib
import json
import uuid
from collections.abc import Callable, Mapping

from tests.redaction.dice import BASE64, DIGITS, HEX, LOWER, Dice
from tests.redaction.personal import luhn_digit


def _uuid(d: Dice) -> str:
    made = uuid.UUID(int=d.getrandbits(128), version=4)
    return d.choice([str(made), made.hex, str(made).upper(), made.urn])


def _timestamp(d: Dice) -> str:
    clock = f"{d.randrange(24):02d}:{d.form('3#:4#')}"
    day = f"202{d.randrange(10)}-{d.randrange(1, 13):02d}-{d.randrange(1, 29):02d}"
    return d.choice(
        [
            f"{day}T{clock}Z",
            f"{day} {clock}",
            f"{day}T{clock}.{d.form('######')}+02:00",
            f"17{d.form('########')}",
            f"17{d.form('########')}.{d.form('######')}",
            f"17{d.form('###########')}",
            day,
            f"{day.replace('-', '')}{clock.replace(':', '')}",
            day.replace("-", "/"),
            f"{clock},{d.form('###')}",
        ]
    )


def _order(d: Dice) -> str:
    return d.choice(
        [
            d.form(f)
            for f in (
                "order 10########",
                "#%#######",
                "PO-2026-######-##",
                "INV-%####",
                "4711-####-##",
                "SKU %###-###",
                "case 00######",
                "ticket %####",
                "45########",
                "302-%######-#######",
                "DHL JJD0000%##########",
                "item %##-##",
                "EAN 40%##########",
            )
        ]
    )


def _version(d: Dice) -> str:
    return d.choice(
        [
            d.form(f)
            for f in (
                "%.%#.#",
                "v%.#.#-beta.%",
                "%#.0.%###.###",
                "python-3.11.%",
                "linux 6.%#.0-%#-amd64",
                "^%.#.#",
                "lodash@4.17.%#",
                "@types/node@%#.%.#",
                "1.0.0+2026%###",
                "10.0.%####.%###",
            )
        ]
    )


def _luhn_invalid(d: Dice) -> str:
    digits = d.choice(["4", "51", "37", "6011"]) + d.some(13, DIGITS)
    digits = digits[:14] if digits.startswith("37") else digits[:15]
    digits += str((int(luhn_digit(digits)) + d.randrange(1, 10)) % 10)
    return d.choice([digits, " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))])


def _bad_iban(d: Dice) -> str:
    return f"DE00 {d.form('#### #### #### #### ##')}"


def _image(d: Dice) -> str:
    head = d.choice(
        [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff\xe0\0\x10JFIF", b"GIF89a", b"%PDF-1.7\n%\xe2\xe3"]
    )
    data = base64.b64encode(head + d.randbytes(d.randrange(60, 900))).decode()
    return d.choice([data, f"data:image/png;base64,{data}"])


def _digest(d: Dice) -> str:
    text = d.randbytes(8)
    return d.choice(
        [
            hashlib.sha256(text).hexdigest(),
            f"sha256:{hashlib.sha256(text).hexdigest()}",
            hashlib.md5(text).hexdigest(),
            f"sha512-{base64.b64encode(hashlib.sha512(text).digest()).decode()}",
            f'W/"{hashlib.sha1(text).hexdigest()}"',
            f"0x{d.some(40, HEX)}",
        ]
    )


_CODE = (
    "def login(user, password):",
    "token = get_token()",
    "api_key=os.environ['KEY']",
    "const password = req.body.password;",
    "if (!token) { throw new Error('no token'); }",
    "password: str = Field(min_length=12)",
    "self.secret = secret",
    "headers['Authorization'] = `Bearer ${token}`",
    "export API_KEY=$(pass show api)",
    "password: {{ .Values.password }}",
    "SECRET_KEY = env('SECRET_KEY')",
    "Authorization: Bearer <token>",
    "api_key: ${API_KEY}",
    "git clone git@github.com:example/app.git",
    "ssh://git@github.com/example/app.git",
    "@app.route('/users/<int:id>')",
    "import { token } from './auth.js'",
    "max_tokens=4096, top_p=0.9",
    "assert password is not None",
    "public string Password { get; set; }",
    "--token-file /run/token",
    "const re = /^[a-z0-9]{32}$/;",
    "user.phone = normalize(phone)",
    "SELECT id, email, phone FROM users WHERE id = ?",
    "for token in tokens: total += len(token)",
)
_PROSE = (
    "The password must be at least twelve characters long.",
    "Forgot your password? Reset it in the settings.",
    "A token is about four characters of English.",
    "Basic authentication is not supported.",
    "Bearer authentication uses a header.",
    "Please keep the secret between us.",
    "The key to success is patience.",
    "She passed the pin to the next player.",
    "password policy: twelve characters",
    "The secret of the recipe: butter.",
    "Cookies: we use them for statistics.",
    "sk-learn-contrib-extensions-of-note",
    "Call me at 5 or e-mail the office.",
    "Pages 100-200, 300-400 and 500 of volume 12",
)


def _number(d: Dice) -> str:
    return d.choice(
        [
            d.form(f)
            for f in (
                "%,###,###.##",
                "-1##.####, 37.####",
                "%####.##",
                "0x7fff%fbff8c#",
                "1920x1080",
                "%##%",
                "#.############",
                "1.%######e-05",
                "%## ### km",
                "$%,###.00",
                "978-3-16-14####-#",
                "%########",
                "00:1A:2B:3C:%#:5E",
                "192.168.1.%#",
                "10.%#.%#.%:8080",
                "2001:db8::%###:%#",
                "52.5200%, 13.40%#",
                "A4 210 x 297 mm",
                "%#######",
                "12-34-56",
                "100 200 300 400",
                "1 000 000 000",
                "8.8.8.8, 1.1.1.1",
                "3.14159265358979",
                "%##.##.##",
                "scores: 12 15 18 21 24 27 30",
                "1%##-1%##",
                "20%#-20##",
            )
        ]
    )


def _file(d: Dice) -> str:
    return d.choice(
        [
            f"icon@2x.{d.choice(['png', 'webp'])}",
            f"src/{d.some(6, LOWER)}/observers/log.py:{d.form('%##')}",
            f"https://example.com/a/{d.form('%#######')}?page=2&sort=name#top",
            f"IMG_2026%_{d.form('######')}.jpg",
            f"arn:aws:iam::{d.form('%###########')}:role/reader",
            f"s3://bucket-{d.some(8, LOWER)}/{d.form('202%/0%/1%')}/part-00{d.form('###')}.parquet",
            f"/usr/lib/x86_64-linux-gnu/libc.so.{d.form('%')}",
            f"projects/{d.form('%###########')}/secrets/db/versions/1",
            f"i-{d.some(17, HEX)}",
            f"urn:isbn:{d.form('978%#########')}",
            f"{d.some(12, LOWER)}.s3.amazonaws.com",
        ]
    )


def _placeholder(d: Dice) -> str:
    return d.choice(
        [
            "password=<your password>",
            "API_KEY=${API_KEY}",
            "token: ********",
            "sk-...",
            "Bearer ...",
            "password: [hidden]",
            "xoxb-...",
            "api_key=%s",
            "secret: null",
            '"password": ""',
            "ghp_xxx",
            "token=",
            "password: string",
            "Bearer {token}",
            "AKIA...",
            "postgres://db.example.com/app",
            "https://example.com:8443/path",
            "mailto:",
            "@example.com",
            "user@localhost",
        ]
    )


def _document(d: Dice) -> str:
    return json.dumps(
        {
            "id": str(uuid.UUID(int=d.getrandbits(128))),
            "total": d.randrange(10**9),
            "page_token": d.some(20),
            "at": _timestamp(d),
            "usage": {"prompt_tokens": d.randrange(9999), "max_tokens": 4096},
            "keywords": ["token", "key"],
            "primary_key": d.form("%#####"),
            "signature_date": "2026-01-02",
        }
    )


LOOK_ALIKES: Mapping[str, Callable[[Dice], str]] = {
    "uuid": _uuid,
    "git hash": lambda d: d.choice(
        [d.some(40, HEX), d.some(7, HEX), f"commit {d.some(40, HEX)}", f"{d.some(7, HEX)}..{d.some(7, HEX)}"]
    ),
    "order number": _order,
    "timestamp": _timestamp,
    "version": _version,
    "Luhn-invalid number": _luhn_invalid,
    "IBAN with a wrong check": _bad_iban,
    "base64 image": _image,
    "digest": _digest,
    "code": lambda d: d.choice(_CODE),
    "prose": lambda d: d.choice(_PROSE),
    "number": _number,
    "file, URL, resource name": _file,
    "placeholder": _placeholder,
    "JSON document": _document,
    "trace id": lambda d: f"00-{d.some(32, HEX)}-{d.some(16, HEX)}-01",
    "ULID, nanoid, object id": lambda d: d.choice(
        [
            d.some(26, "0123456789ABCDEFGHJKMNPQRSTVWXYZ"),
            d.some(24, HEX),
            "V1StGXR8_Z5jdHi6B-" + d.some(3),
            f"req_{d.some(24)}",
            f"cus_{d.some(14)}",
            f"msg_{d.some(22)}",
        ]
    ),
    "base64 of text": lambda d: base64.b64encode(
        " ".join(d.some(5, LOWER) for _ in range(d.randrange(4, 30))).encode()
    ).decode(),
    "long base64": lambda d: d.some(d.randrange(100, 400), BASE64) + "=",
}
"""By type."""
