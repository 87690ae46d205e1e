"""Fake secrets in published key formats, built from pieces so that no scanner takes this file for a leak. None ever worked."""

import base64
import json
import random

_dice = random.Random(7)
_ALNUM = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"


def some(n: int, alphabet: str = _ALNUM) -> str:
    """Random characters with a digit and a capital among them."""
    return "".join(_dice.choice(alphabet) for _ in range(n - 2)) + "7" + (alphabet[0] if alphabet[0].isalpha() else "1")


def _b64(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


_HEX = "0123456789abcdef"
_PEM_BODY = "\n".join(some(64) for _ in range(12))

CREDENTIALS: dict[str, str] = {
    "pem": "-----BEGIN RSA PRIVATE " + f"KEY-----\n{_PEM_BODY}\n-----END RSA PRIVATE " + "KEY-----",
    "jwt": f"{_b64({'alg': 'HS256', 'typ': 'JWT'})}.{_b64({'sub': '1234567890', 'admin': True})}.{some(43)}",
    "aws": "AKIA" + some(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
    "github": "ghp" + "_" + some(36),
    "github_fine": "github_pat" + "_" + some(22) + "_" + some(59),
    "gitlab": "glpat" + "-" + some(20),
    "slack": "xoxb" + "-" + some(12, "0123456789") + "-" + some(24),
    "stripe": "sk_live" + "_" + some(24),
    "stripe_webhook": "whsec" + "_" + some(32),
    "openai": "sk-proj" + "-" + some(48),
    "anthropic": "sk-ant" + "-api03-" + some(93),
    "google": "AIza" + some(35),
    "google_oauth": "ya29" + "." + some(60),
    "npm": "npm" + "_" + some(36),
    "pypi": "pypi" + "-AgEIcHlwaS5vcmc" + some(60),
    "huggingface": "hf" + "_" + some(34),
    "sendgrid": "SG" + "." + some(22) + "." + some(43),
    "twilio": "SK" + some(32, _HEX),
    "digitalocean": "dop_v1" + "_" + some(64, _HEX),
    "shopify": "shpat" + "_" + some(32, _HEX),
    "telegram": "123456789" + ":AA" + some(33),
    "vault": "hvs" + "." + some(90),
    "azure_storage": some(86) + "==",
    "bearer": "Bearer " + some(32),
    "basic": "Basic " + base64.b64encode(b"alice:open-sesame-9").decode(),
    "url": "postgres://alice:" + some(14) + "@db.internal:5432/app",
}
"""By kind: a text that must be hidden wherever it stands."""

PERSONAL: dict[str, str] = {
    "email": "alice.smith+news@mail.example.com",
    "card": "4111 1111 1111 1111",
    "card_plain": "5555555555554444",
    "amex": "378282246310005",
    "iban": "DE89 3704 0044 0532 0130 00",
    "iban_plain": "GB82WEST12345698765432",
    "phone_e164": "+493012345678",
    "phone_us": "(415) 555-2671",
    "phone_fr": "01 42 68 53 00",
    "phone_uk": "+44 20 7946 0958",
    "ssn": "536-90-4399",
    "cpf": "529.982.247-25",
    "dni": "12345678Z",
    "codice_fiscale": "RSSMRA85T10A562S",
    "nino": "AB 12 34 56 C",
    "aadhaar": "2341 2341 2346",
}

LOOK_ALIKES: tuple[str, ...] = (
    "123e4567-e89b-12d3-a456-426614174000",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "order 1029384756",
    "2026-11-22T03:03:36.123Z",
    "2026-11-22 03:03:36",
    "1790000000",
    "1790000000123",
    "v1.2.3-beta.4",
    "3.11.4",
    "10.0.0.1",
    "192.168.100.200:8080",
    "4111 1111 1111 1112",
    "icon@2x.png",
    "git@github.com",
    "src/gateway/observers/log.py:118",
    "max_tokens: 4096",
    "password policy: twelve characters",
    "token_count=128",
    "def login(user, password):",
    "token = get_token()",
    "api_key=os.environ['KEY']",
    "sk-learn-contrib-extensions-of-note",
    "Bearer authentication",
    "https://example.com/a/b?page=2&sort=name#top",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
    "ISBN 978-3-16-148410-0",
    "DE89 3704 0044 0532 0130 01",
    "0x7fff5fbff8c0",
    "1,234,567.89",
    "-122.4194, 37.7749",
    "arn:aws:iam::123456789012:role/reader",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "PO-2026-000123-45",
    "12:34:56.789",
    "00:1A:2B:3C:4D:5E",
)
