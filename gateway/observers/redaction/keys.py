"""Which field names hold a secret or an identity: `apiKey`, `X-Api-Key`, `DB_PASSWORD` do; `max_tokens`, `password_policy` do not."""

import re
from functools import lru_cache
from itertools import pairwise


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STRONG = _words(
    "password passwords passwd passphrase passcode passwort kennwort contrasena contraseña senha wachtwoord motdepasse "
    "пароль 密码 パスワード pwd secret secrets apikey apikeys privatekey credential credentials htpasswd"
)
"""Words that make a name secret wherever they stand in it, unless its last word only describes the secret."""

WEAK = _words(
    "token tokens authorization authorisation cookie cookies jwt bearer pin otp totp auth pass passkey creds pat "
    "accesskey secretkey signingkey encryptionkey masterkey sharedkey authkey accountkey sessionkey sshkey licensekey "
    "servicekey hmackey storagekey subscriptionkey serverkey webhookkey privkey adminkey deploykey clientkey rootkey "
    "sessid sessionid phpsessid jsessionid connectsid csrf xsrf mnemonic seedphrase connectionstring dsn "
    "accesskeyid authcode signature sig"
)
"""Words that make a name secret only where it ends with them."""

DESCRIBING = _words(
    "length len count policy policies expires expiry expiration expired at in on url uri endpoint type types name names "
    "required enabled disabled changed updated created age ttl min max strength score valid invalid field label "
    "placeholder rotation manager version status format ref path limit limits usage used budget arn santa hint error "
    "errors message help reset missing present"
)
"""Last words that turn a secret's name into one about it: `password_policy`, `secret_name`, `token_url`."""

TRAILING = _words("value plain plaintext text raw hash b64 base64 new old current previous confirm confirmation")
"""Last words that change nothing: `password_confirmation`, `token_value`."""

NOT_SECRET = _words(
    "next page nextpage continuation sync cursor resume resumption progress eos bos pad unk mask stop special input output "
    "prompt completion max min total cached reasoning num n id cancellation author"
)
"""Words before `token(s)`, `pin`, `pass` and the like that name a position, a count or a marker."""

AMBIGUOUS = frozenset({"auth", "pass", "pin", "pat", "dsn", "csrf", "xsrf", "signature", "sig", "sessionid"})
"""Too common as parts of other names: secret only as the whole name, or behind a word that says whose (`db_pass`)."""

OWNERS = _words("db database user admin root login my mail smtp ftp ssh http proxy basic x api card sms")

IDENTITY = {
    "phone": "phone", "phonenumber": "phone", "telephone": "phone", "telephonenumber": "phone", "mobile": "phone",
    "mobilenumber": "phone", "mobilephone": "phone", "cellphone": "phone", "homephone": "phone", "workphone": "phone",
    "fax": "phone", "msisdn": "phone", "telefon": "phone", "telefonnummer": "phone", "handynummer": "phone",
    "ssn": "national_id", "socialsecuritynumber": "national_id", "nationalid": "national_id",
    "nationalidnumber": "national_id", "passportnumber": "national_id", "passportno": "national_id",
    "taxid": "national_id", "steuerid": "national_id", "nino": "national_id", "bsn": "national_id", "dni": "national_id",
    "aadhaar": "national_id", "pesel": "national_id", "cpf": "national_id", "personnummer": "national_id",
    "driverslicense": "national_id", "cardnumber": "card", "creditcard": "card", "creditcardnumber": "card",
    "ccnumber": "card", "pan": "card", "cvv": "card", "cvv2": "card", "cvc": "card", "securitycode": "card",
    "iban": "iban", "accountnumber": "iban", "bankaccount": "iban", "email": "email", "emailaddress": "email",
}  # fmt: skip
"""Names of personal data, and what the replacement calls it. Only values that hold a digit or an @ are hidden by these."""

NAMING = _words("name key header field param parameter variable")
NAMED = _words("value val content data")
"""In `{"name": "password", "value": "hunter2"}`: which field names another, and which holds what that other would."""

STEMS = (
    rb"pass|pwd|secret|token|auth|cookie|jwt|bearer|\bpin|otp|cred|key|\bpat\b|sess|sid|csrf|xsrf|mnemonic|seed|"
    rb"dsn|sig|connection|kennwort|contrase|senha|wachtwoord|motdepasse|phone|mobile|fax|msisdn|telefon|handy|ssn|"
    rb"social|national|steuer|tax|nino|bsn|dni|aadhaar|pesel|cpf|personn|driver|card|ccn|\bpan\b|cv[vc]|security|iban|"
    rb"account|mail|\xd0\xbf\xd0\xb0\xd1\x80|\xe5\xaf\x86|\xe3\x83\x91"
)
"""A document that this finds nowhere has no name that `secret_kind` would know (custom names aside)."""

_CAMEL = re.compile(r"([a-z0-9])([A-Z])|([A-Z]+)([A-Z][a-z])")
_WORD = re.compile(r"[^\W_]+")
LONGEST_NAME = 128
"""Characters. A longer name is a text, not the name of a field."""


def words_of(name: str) -> list[str]:
    """`dbPassword2`, `DB-PASSWORD_2` and `db.password` in lower-case words."""
    spaced = _CAMEL.sub(lambda m: f"{m[1]} {m[2]}" if m[1] else f"{m[3]} {m[4]}", name)
    return [word.lower() for word in _WORD.findall(spaced)]


def normal(name: str) -> str:
    """The form in which names are compared: `X-Api-Key` and `xApiKey` are both `xapikey`."""
    return "".join(words_of(name))


@lru_cache(maxsize=4096)
def secret_kind(name: str) -> str | None:
    """None where the name hides nothing; "secret", "secrets" (its numbers are counts), or the identity's kind (`phone`, `card`, …)."""
    if len(name) > LONGEST_NAME:
        return None
    words = words_of(name)
    joined = "".join(words)
    if joined in IDENTITY:
        return IDENTITY[joined]
    while words and (words[-1] in TRAILING or words[-1].isdigit()):
        words.pop()
    if not words or words[-1] in DESCRIBING:
        return None
    if not _strong(words) and not _weak(words):
        return None
    return "secrets" if words[-1] == "tokens" else "secret"


def _strong(words: list[str]) -> bool:
    pairs = {a + b for a, b in pairwise(words)}
    if STRONG.intersection(words) or STRONG.intersection(pairs):
        return True
    last = words[-1].rstrip("0123456789")
    return last.endswith(("password", "passwd", "passphrase", "secret", "apikey", "privatekey"))


def _weak(words: list[str]) -> bool:
    last = words[-1].rstrip("0123456789")
    before = words[-2] if len(words) > 1 else ""
    if last in AMBIGUOUS:
        return not before or before in OWNERS
    if last in WEAK:
        return before not in NOT_SECRET
    if before + last in WEAK:
        return before + last not in AMBIGUOUS
    stem = last.removesuffix("token").removesuffix("cookie")
    return stem != last and stem not in NOT_SECRET
