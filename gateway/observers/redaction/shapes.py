"""What credentials look like, whatever field they stand in. One row a kind; personal data is in personal.py."""

import base64
import binascii
from collections.abc import Callable
from typing import NamedTuple

Check = Callable[[bytes, int, int], bool]
"""(text, start, end) of a candidate: is it really one? Pure, and bounded by the candidate's length."""


class Shape(NamedTuple):
    """A kind of value. The pattern runs only on texts in which the hint was found; group 1, if any, is what is hidden."""

    kind: str
    hint: bytes | None
    """A pattern that is found wherever `pattern` is. All hints are looked for at once; None: `pattern` is small enough to be its own."""
    pattern: bytes
    check: Check | None = None


def _mixed(text: bytes, start: int, end: int) -> bool:
    """A random token has a digit; `sk-learn-has-a-long-name` and `Bearer authentication` have none."""
    value = text[start:end]
    return any(48 <= b <= 57 for b in value) and not value.isdigit()


def _bearer(text: bytes, start: int, end: int) -> bool:
    return _mixed(text, start, end) or end - start >= 24


def _basic(text: bytes, start: int, end: int) -> bool:
    """RFC 7617: base64 of `user:password`."""
    value = text[start:end].rstrip(b"=")
    try:
        plain = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        return False
    return b":" in plain and plain.isascii()


def _userinfo(text: bytes, start: int, end: int) -> bool:
    """`ssh://git@host` names an account everyone shares; anything with a colon or random characters is a credential."""
    value = text[start : end - 1]
    return b":" in value or len(value) >= 16 or any(48 <= b <= 57 for b in value)


def _aws_secret(text: bytes, start: int, end: int) -> bool:
    """40 characters of base64 that are no hexadecimal hash."""
    value = text[start:end]
    return (
        any(65 <= b <= 90 for b in value) and any(97 <= b <= 122 for b in value) and any(48 <= b <= 57 for b in value)
    )


def _whole_base64(text: bytes, start: int, end: int) -> bool:
    """Behind a path, but no digest (`sha512-…`), no text, and not the end of a longer base64 text such as an image."""
    if text[max(0, start - 8) : start].lower().endswith((b"sha512-", b"sha-512=")):
        return False
    if binascii.a2b_base64(text[start:end]).isascii():
        return False
    before = text[max(0, start - 40) : start]
    return len(before) - len(before.rstrip(_BASE64)) < 40


_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_PEM = rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
_PEM_END = rb"-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"

CREDENTIALS: tuple[Shape, ...] = (
    Shape("pem", rb"PRIVATE KEY", _PEM + rb"(?:[^\"<>{}]*?" + _PEM_END + rb"|[^\"<>{}]*)"),
    Shape("pem", rb"PuTTY-User-Key", rb"PuTTY-User-Key-File-[^\"<>{}]*"),
    Shape("age_key", rb"AGE-SECRET", rb"AGE-SECRET-KEY-1[A-Z0-9]{20,}"),
    Shape(
        "jwt",
        rb"eyJ",
        rb"\beyJ[\w-]{8,}(?:\.eyJ[\w-]{4,}(?:\.[\w-]*)?|(?:\.[\w-]*){4})",
    ),
    Shape("aws_key", rb"A(?:KIA|SIA|BIA|CCA)", rb"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    Shape(
        "aws_key",
        rb"(?i:aws|secret)",
        rb"(?i)(?:aws|secret)[^\n]{0,30}?[^A-Za-z0-9/+]([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|\z)",
        _aws_secret,
    ),
    Shape("github_token", rb"gh[pousr]_|github_pat_", rb"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,})"),
    Shape("gitlab_token", rb"gl(?:[a-z]{2,5})-", rb"\bgl(?:pat|ptt|dt|rt|cbt|ft|soat|imt|agent|oas|ffct)-[\w.-]{20,}"),
    Shape("slack_token", rb"xox|xapp-", rb"\b(?:xox[a-z](?:\.xox[a-z])?-[\w-]{10,}|xapp-\d-[\w-]{10,})"),
    Shape("slack_webhook", rb"hooks\.slack", rb"hooks\.slack\.com/(?:services|workflows|triggers)/[\w/-]{20,}"),
    Shape("discord_webhook", rb"/api/webhooks", rb"discord(?:app)?\.com/api/webhooks/\d+/[\w-]{20,}"),
    Shape("discord_token", rb"\.[\w-]{6}\.", rb"\b[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,}"),
    Shape("stripe_key", rb"[rsp]k_(?:live|test)|whsec_", rb"\b(?:[rsp]k_(?:live|test)_\w{10,}|whsec_[\w+/=]{20,})"),
    Shape("anthropic_key", rb"sk-ant-", rb"\bsk-ant-[\w-]{16,}"),
    Shape("openai_key", rb"sk-", rb"\bsk-[\w-]{20,}", _mixed),
    Shape(
        "google_key",
        rb"AIza|ya29\.|GOCSPX-|1//0",
        rb"\b(?:AIza[\w-]{35}|ya29\.[\w.-]{20,}|GOCSPX-[\w-]{20,}|1//0[\w-]{20,})",
    ),
    Shape("azure_key", rb"[A-Za-z0-9+/]{8}==", rb"(?:^|[^A-Za-z0-9+])([A-Za-z0-9+/]{86}==)", _whole_base64),
    Shape("azure_key", rb"\dQ~", rb"\b[\w~.]{3}\dQ~[\w~.-]{31,}"),
    Shape("npm_token", rb"npm_", rb"\bnpm_[A-Za-z0-9]{30,}"),
    Shape("pypi_token", rb"pypi-", rb"\bpypi-[\w-]{50,}"),
    Shape("docker_token", rb"dckr_", rb"\bdckr_[a-z]{3}_[\w-]{20,}"),
    Shape("huggingface_token", rb"hf_", rb"\bhf_[A-Za-z0-9]{30,}"),
    Shape("sendgrid_key", rb"SG\.", rb"\bSG\.[\w-]{16,}\.[\w-]{16,}"),
    Shape("twilio_key", rb"(?:SK|AC)[0-9a-f]", rb"\b(?:SK|AC)[0-9a-f]{32}\b"),
    Shape("mailgun_key", rb"key-[0-9a-f]", rb"\bkey-[0-9a-f]{32}\b"),
    Shape("mailchimp_key", rb"-us\d", rb"\b[0-9a-f]{32}-us\d{1,2}\b"),
    Shape("digitalocean_token", rb"do[opr]_v1_", rb"\bdo[opr]_v1_[0-9a-f]{32,}"),
    Shape("shopify_token", rb"shp[a-z]{2}_", rb"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    Shape("telegram_token", rb"\d:AA", rb"\b\d{8,10}:AA[\w-]{32,}"),
    Shape("vault_token", rb"hv[sbr]\.", rb"\bhv[sbr]\.[\w-]{20,}"),
    Shape("databricks_token", rb"dapi", rb"\bdapi[0-9a-f]{32}"),
    Shape("linear_key", rb"lin_", rb"\blin_(?:api|oauth)_\w{20,}"),
    Shape("notion_key", rb"secret_|ntn_", rb"\b(?:secret_[A-Za-z0-9]{40,}|ntn_[A-Za-z0-9]{40,})"),
    Shape("square_key", rb"sq0|EAAA", rb"\b(?:sq0[a-z]{3}-[\w-]{20,}|EAAA[\w-]{56,})"),
    Shape("groq_key", rb"gsk_", rb"\bgsk_[A-Za-z0-9]{40,}"),
    Shape("xai_key", rb"xai-", rb"\bxai-[A-Za-z0-9]{40,}"),
    Shape("replicate_token", rb"r8_", rb"\br8_[A-Za-z0-9]{30,}"),
    Shape("perplexity_key", rb"pplx-", rb"\bpplx-[A-Za-z0-9]{30,}"),
    Shape("postman_key", rb"PMAK-", rb"\bPMAK-[0-9a-f]{20,}-[0-9a-f]{20,}"),
    Shape("doppler_token", rb"dp\.[a-z]{2}", rb"\bdp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{30,}"),
    Shape("grafana_token", rb"gls?[ac]?_|glc_", rb"\bgl(?:sa|c)_[\w=+/-]{30,}"),
    Shape("newrelic_key", rb"NRAK-|NRJS-", rb"\bNR(?:AK|JS)-[A-Z0-9]{19,}"),
    Shape("atlassian_token", rb"AT[AB]TT3", rb"\bAT(?:A|B)TT3[\w=-]{30,}"),
    Shape("atlassian_token", rb"ATCTT3", rb"\bATCTT3[\w=-]{30,}"),
    Shape("airtable_token", rb"pat[A-Za-z0-9]{14}", rb"\bpat[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    Shape("planetscale_token", rb"pscale_", rb"\bpscale_[a-z]+_[\w.-]{20,}"),
    Shape("supabase_key", rb"sbp_|sb_secret_", rb"\b(?:sbp_[0-9a-f]{40}|sb_secret_[\w-]{20,})"),
    Shape("tailscale_key", rb"tskey-", rb"\btskey-[a-z]+-[\w-]{16,}"),
    Shape("sentry_token", rb"sntry[su]_", rb"\bsntry[su]_[\w=+/-]{30,}"),
    Shape("bearer", rb"(?i:bearer)", rb"(?i)\bbearer\s+([\w.~+/=-]{8,})", _bearer),
    Shape("basic", rb"(?i:basic)", rb"(?i)\bbasic\s+([A-Za-z0-9+/]{8,}={0,2})", _basic),
    Shape("url_credentials", rb"://[^/]*@", rb"[A-Za-z][A-Za-z0-9+.-]*://([^\s/\"'<>?#]+@)", _userinfo),
    Shape(
        "url_signature",
        rb"(?i:[?&;](?:x-(?:amz|goog)-|[a-z_-]*sig|key=|code_v))",
        rb"(?i)[?&;](?:x-(?:amz|goog)-(?:signature|credential|security-token)|[a-z_-]*sig(?:nature)?|key|code_verifier)"
        rb"=([^&\s\"'<>#]{16,})",
    ),
)
