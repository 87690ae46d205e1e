"""Fake credentials by kind, drawn anew in the formats their makers publish. None ever worked, none stands here literally."""

import base64
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tests.redaction.dice import ALNUM, BASE32, BASE64, DIGITS, HEX, LOWER, UPPER, URLSAFE, Dice


class Planted(NamedTuple):
    """A value as it stands in a document, and the part of it that must not be shown (None: all of it)."""

    text: str
    secret: str | None = None


Maker = Callable[[Dice], str | Planted]


def pem(d: Dice) -> Planted:
    label = d.choice(["RSA PRIVATE", "EC PRIVATE", "PRIVATE", "OPENSSH PRIVATE", "ENCRYPTED PRIVATE", "DSA PRIVATE"])
    body = "\n".join([*(d.some(64, BASE64) for _ in range(d.randrange(2, 12))), d.some(20, BASE64) + "=="])
    return Planted(f"-----BEGIN {label} KEY-----\n{body}\n-----END {label} KEY-----", body)


def aws(d: Dice) -> str | Planted:
    if d.random() < 0.6:
        return d.choice(["AKIA", "ASIA"]) + d.some(16, BASE32)
    name = d.choice(["aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", "SecretAccessKey", "aws secret"])
    secret = d.some(38, BASE64) + "a7"
    return Planted(f"{name}{d.choice(['=', ': ', ' = '])}{secret}", secret)


def github(d: Dice) -> str:
    if d.random() < 0.3:
        return f"github_pat_{d.some(22)}_{d.some(59)}"
    return f"gh{d.choice('pousr')}_{d.some(36)}"


def slack(d: Dice) -> Planted:
    bot, user = d.form("############"), d.form("#############")
    forms = (
        f"xoxb-{bot}-{user}-{d.some(24)}",
        f"xoxp-{bot}-{bot}-{user}-{d.some(32, HEX)}",
        f"xapp-1-A{d.some(10, UPPER)}-{user}-{d.some(64, HEX)}",
        f"xoxe.xoxp-1-{d.some(160)}",
        f"xoxa-2-{bot}-{d.some(24)}",
    )
    if d.random() < 0.25:
        return Planted(
            f"https://hooks.slack.com/services/T{d.some(8, UPPER)}/B{d.some(10, UPPER)}/{(tail := d.some(24))}", tail
        )
    return Planted(d.choice(forms))


def stripe(d: Dice) -> str:
    return d.choice(
        [f"{d.choice(['sk', 'rk'])}_{d.choice(['live', 'test'])}_{d.some(d.choice([24, 99]))}", f"whsec_{d.some(32)}"]
    )


def openai(d: Dice) -> str:
    return d.choice(
        [
            f"sk-proj-{d.some(124, URLSAFE)}",
            f"sk-{d.some(20)}T3BlbkFJ{d.some(20)}",
            f"sk-svcacct-{d.some(74, URLSAFE)}",
            f"sk-admin-{d.some(58, URLSAFE)}",
        ]
    )


def anthropic(d: Dice) -> str:
    return f"sk-ant-{d.choice(['api03', 'admin01', 'sid01', 'oat01'])}-{d.some(93, URLSAFE)}AA"


def jwt(d: Dice) -> str:
    head = d.base64url({"alg": d.choice(["HS256", "RS256", "ES256"]), "typ": "JWT"})
    body = d.base64url({"sub": d.form("##########"), "name": "J. Doe", "iat": 1_700_000_000 + d.randrange(10**8)})
    return f"{head}.{body}.{d.some(d.choice([43, 86, 342]), URLSAFE)}"


def bearer(d: Dice) -> Planted:
    token = d.choice([d.some(32), d.some(40, HEX), d.some(64, URLSAFE), d.some(24, URLSAFE + "~+/") + "9=="])
    return Planted(f"{d.choice(['Bearer', 'bearer', 'Authorization: Bearer'])} {token}", token)


def basic(d: Dice) -> Planted:
    token = base64.b64encode(f"{d.some(6, LOWER)}:{d.some(d.randrange(8, 20))}".encode()).decode()
    return Planted(f"{d.choice(['Basic', 'Authorization: Basic'])} {token}", token)


def url(d: Dice) -> Planted:
    scheme = d.choice(["postgres", "postgresql", "mysql", "mongodb+srv", "redis", "amqp", "https", "ftp", "smtp"])
    password = d.some(d.randrange(8, 24))
    return Planted(
        f"{scheme}://{d.choice(['alice', 'admin', '', 'svc-app'])}:{password}@db.{d.some(5, LOWER)}.example.com:{d.form('%###')}/app",
        password,
    )


def google(d: Dice) -> str:
    return d.choice(
        [
            f"AIza{d.some(35, URLSAFE)}",
            f"ya29.{d.some(120, URLSAFE)}",
            f"GOCSPX-{d.some(28, URLSAFE)}",
            f"1//0{d.some(60, URLSAFE)}",
        ]
    )


def azure(d: Dice) -> Planted:
    key = d.some(86, BASE64) + "=="
    connection = f"DefaultEndpointsProtocol=https;AccountName=shop;AccountKey={key};EndpointSuffix=core.windows.net"
    return d.choice([Planted(key), Planted(connection, key), Planted(f"{d.some(3)}8Q~{d.some(34, ALNUM + '_.~-')}")])


def discord(d: Dice) -> Planted:
    if d.random() < 0.4:
        return Planted(
            f"https://discord.com/api/webhooks/{d.form('%#################')}/{(tail := d.some(68, URLSAFE))}", tail
        )
    return Planted(f"{d.choice('MNO')}{d.some(25)}.{d.some(6, URLSAFE)}.{d.some(38, URLSAFE)}")


def telegram(d: Dice) -> str:
    return f"{d.form('%########')}:AA{d.some(33, URLSAFE)}"


def password(d: Dice) -> Planted:
    """Hidden by the name before it: the value looks like nothing."""
    value = d.some(d.randrange(6, 20), ALNUM + "!#*_-")
    name = d.choice(
        ["password", "DB_PASSWORD", "client_secret", "passwd", "api_key", "X-Api-Key", "accessToken", "session_cookie"]
    )
    return Planted(d.choice(["{}={}", "{}: {}", '{}="{}"', "{} = '{}'"]).format(name, value), value)


def cookie(d: Dice) -> Planted:
    return Planted(f"Cookie: sid={(value := d.some(26))}; theme=dark", value)


def signed_url(d: Dice) -> Planted:
    sign = d.some(64, HEX)
    name = d.choice(["X-Amz-Signature", "X-Goog-Signature", "sig", "signature"])
    return Planted(f"https://files.example.com/a/{d.some(8)}.pdf?expires=1790000000&{name}={sign}", sign)


CREDENTIALS: Mapping[str, Maker] = {
    "pem": pem,
    "aws_key": aws,
    "github_token": github,
    "slack_token": slack,
    "stripe_key": stripe,
    "openai_key": openai,
    "anthropic_key": anthropic,
    "jwt": jwt,
    "bearer": bearer,
    "url_credentials": url,
    "basic": basic,
    "google_key": google,
    "azure_key": azure,
    "discord_token": discord,
    "telegram_token": telegram,
    "password": password,
    "cookie": cookie,
    "url_signature": signed_url,
    "gitlab_token": lambda d: f"gl{d.choice(['pat', 'dt', 'rt', 'ptt', 'agent'])}-{d.some(20, URLSAFE)}",
    "npm_token": lambda d: f"npm_{d.some(36)}",
    "pypi_token": lambda d: f"pypi-AgEIcHlwaS5vcmc{d.some(130, URLSAFE)}",
    "docker_token": lambda d: f"dckr_{d.choice(['pat', 'oat'])}_{d.some(27, URLSAFE)}",
    "huggingface_token": lambda d: f"hf_{d.some(34)}",
    "sendgrid_key": lambda d: f"SG.{d.some(22, URLSAFE)}.{d.some(43, URLSAFE)}",
    "twilio_key": lambda d: f"{d.choice(['SK', 'AC'])}{d.some(32, HEX)}",
    "mailgun_key": lambda d: f"key-{d.some(32, HEX)}",
    "mailchimp_key": lambda d: f"{d.some(32, HEX)}-us{d.randrange(1, 22)}",
    "digitalocean_token": lambda d: f"do{d.choice('opr')}_v1_{d.some(64, HEX)}",
    "shopify_token": lambda d: f"shp{d.choice(['at', 'ca', 'pa', 'ss'])}_{d.some(32, HEX)}",
    "vault_token": lambda d: f"hv{d.choice('sbr')}.{d.some(90, URLSAFE)}",
    "databricks_token": lambda d: f"dapi{d.some(32, HEX)}",
    "linear_key": lambda d: f"lin_api_{d.some(40)}",
    "notion_key": lambda d: d.choice([f"secret_{d.some(43)}", f"ntn_{d.some(46)}"]),
    "square_key": lambda d: d.choice(
        [f"sq0{d.choice(['atp', 'csp'])}-{d.some(43, URLSAFE)}", f"EAAA{d.some(60, URLSAFE)}"]
    ),
    "groq_key": lambda d: f"gsk_{d.some(52)}",
    "xai_key": lambda d: f"xai-{d.some(80)}",
    "replicate_token": lambda d: f"r8_{d.some(37)}",
    "perplexity_key": lambda d: f"pplx-{d.some(48)}",
    "postman_key": lambda d: f"PMAK-{d.some(24, HEX)}-{d.some(34, HEX)}",
    "doppler_token": lambda d: f"dp.{d.choice(['pt', 'st.prd', 'ct'])}.{d.some(43)}",
    "grafana_token": lambda d: d.choice([f"glsa_{d.some(32)}_{d.some(8, HEX)}", f"glc_eyJ{d.some(90, BASE64)}"]),
    "newrelic_key": lambda d: f"NRAK-{d.some(27, UPPER + DIGITS)}",
    "atlassian_token": lambda d: f"AT{d.choice('AC')}TT3xFfGF0{d.some(180, URLSAFE)}",
    "airtable_token": lambda d: f"pat{d.some(14)}.{d.some(64, HEX)}",
    "planetscale_token": lambda d: f"pscale_{d.choice(['tkn', 'pw', 'oauth'])}_{d.some(43, URLSAFE)}",
    "supabase_key": lambda d: d.choice([f"sbp_{d.some(40, HEX)}", f"sb_secret_{d.some(31, URLSAFE)}"]),
    "tailscale_key": lambda d: f"tskey-{d.choice(['auth', 'api'])}-{d.some(12)}CNTRL-{d.some(32)}",
    "sentry_token": lambda d: d.choice([f"sntrys_eyJ{d.some(120, BASE64)}", f"sntryu_{d.some(64, HEX)}"]),
    "age_key": lambda d: f"AGE-SECRET-KEY-1{d.some(58, UPPER + DIGITS)}",
    "slack_webhook": lambda d: Planted(
        f"https://hooks.slack.com/workflows/T{d.some(8, UPPER)}/A{d.some(10, UPPER)}/{d.form('%#################')}/{(tail := d.some(24))}",
        tail,
    ),
    "discord_webhook": lambda d: Planted(
        f"https://discordapp.com/api/webhooks/{d.form('%##################')}/{(tail := d.some(68, URLSAFE))}", tail
    ),
}
"""By the kind that the redactor calls it."""

TOTAL = (
    "pem",
    "aws_key",
    "github_token",
    "jwt",
    "slack_token",
    "stripe_key",
    "openai_key",
    "anthropic_key",
    "bearer",
    "url_credentials",
)
"""Kinds of which not one may be missed."""
