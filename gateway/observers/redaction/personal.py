"""What personal data looks like: addresses, numbers and identities, told from look-alikes by their checksums and surroundings."""

import re

from gateway.observers.redaction.shapes import Shape

_JOINS = frozenset(b"-_.:+=#@%")
_ALNUM = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_DATE = re.compile(rb"(?:19|20)\d\d[-/.][01]?\d[-/.]")
_DOTTED = re.compile(rb"\+(?:\d+\.\d+|\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}|[\d.]*\.0\.[\d.]*)")
"""Behind a plus a decimal, an IP address, a version: an added line of a diff, say."""
_FILE_ENDINGS = frozenset(
    b"png jpg jpeg gif svg webp ico css js ts mjs json html htm md txt py java go rs map woff woff2 ttf pdf zip gz".split()
)


def _digits(text: bytes, start: int, end: int) -> list[int]:
    return [b - 48 for b in text[start:end] if 48 <= b <= 57]


def _alone(text: bytes, start: int, end: int) -> bool:
    """No part of a longer token: a UUID, a path, a version, a decimal, a base64 text."""
    before = text[start - 1 : start]
    if before and (before[0] in _ALNUM or (before[0] in _JOINS and text[start - 2 : start - 1].isalnum())):
        return before in (b":", b"=") and not text[start - 2 : start - 1].isdigit()
    after = text[end : end + 1]
    return not after or not (after[0] in _ALNUM or (after[0] in _JOINS and text[end + 1 : end + 2].isalnum()))


def luhn(digits: list[int]) -> bool:
    """ISO/IEC 7812-1 annex B."""
    doubled = [d if i % 2 == 0 else (d * 2 - 9 if d > 4 else d * 2) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _card_length(digits: bytes) -> bool:
    """Issuer ranges of the big networks and the lengths each of them uses."""
    head, n = int(digits[:4]), len(digits)
    if head // 1000 == 4:
        return n in (16, 19)  # 13 digits are long out of use, and article numbers have as many
    if 5100 <= head <= 5599 or 2221 <= head <= 2720:
        return n == 16
    if head // 100 in (34, 37):
        return n == 15
    if head // 100 in (36, 38, 39) or 3000 <= head <= 3059:
        return 14 <= n <= 19
    return (head == 6011 or 6440 <= head <= 6599 or 3528 <= head <= 3589 or head // 100 == 62) and 16 <= n <= 19


_CARD_GROUPS = re.compile(rb"\d{4}[ -](?:\d{4}[ -]\d{4}[ -]\d{2,7}|\d{6}[ -]\d{4})")
"""As cards are written and printed: 4-4-4-4 (or fewer or more at the end), 4-6-5, 4-6-4."""


def _card(text: bytes, start: int, end: int) -> bool:
    digits = text[start:end].translate(None, b" -")
    if len(digits) < end - start and not _CARD_GROUPS.match(text, start, end):
        return False
    if not _card_length(digits) or len(set(digits)) < 2 or not luhn(_digits(digits, 0, len(digits))):
        return False
    return _alone(text, start, end)


_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18,
    "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24,
    "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
"""Length by country, from the SWIFT IBAN registry."""
_IBAN = "|".join(
    f"(?:{'|'.join(c for c, n in _IBAN_LENGTHS.items() if n == length)})\\d\\d(?:[ -]?[a-z0-9]){{{length - 4}}}"
    for length in sorted(set(_IBAN_LENGTHS.values()))
)
"""Each country's own length, so that a word behind the number is no part of it."""


def iban(value: str) -> bool:
    """ISO 13616: the country's length, and the remainder 1 modulo 97."""
    if _IBAN_LENGTHS.get(value[:2]) != len(value):
        return False
    return (
        value[2:4] not in ("00", "01", "99") and int("".join(str(int(c, 36)) for c in value[4:] + value[:4])) % 97 == 1
    )


def _iban(text: bytes, start: int, end: int) -> bool:
    return iban(text[start:end].decode("ascii").replace(" ", "").replace("-", "").upper())


def _email(text: bytes, start: int, end: int) -> bool:
    """`icon@2x.png` is a file and `git@github.com` an account everyone shares."""
    local, _, domain = text[start:end].partition(b"@")
    return local != b"git" and domain.rsplit(b".", 1)[-1].lower() not in _FILE_ENDINGS


def _grouped(beside: bytes) -> bool:
    """A digit and a space: one more group of a longer number."""
    return beside[:1].isdigit() and beside[1:] in (b" ", b"-")


def _one_group(text: bytes, start: int, end: int) -> bool:
    """No piece of a longer number that is written in groups."""
    grouped = _grouped(text[max(0, start - 2) : start]) or _grouped(text[end : end + 2][::-1])
    return not grouped and _alone(text, start, end)


def _told_phone(text: bytes, start: int, end: int) -> bool:
    """What a word calls a phone number; a date or a small number behind such a word is none."""
    return 7 <= len(_digits(text, start, end)) <= 15 and not _DATE.match(text, start)


def _phone(text: bytes, start: int, end: int) -> bool:
    """E.164 allows 15 digits, no country uses as many; fewer than 9 (after a plus: 8) are no whole number."""
    value = text[start:end]
    digits = _digits(text, start, end)
    if value.startswith(b"+") and (_DATE.match(value, 1) or _DOTTED.fullmatch(value)):
        return False
    if not value.startswith(b"+") and not _one_group(text, start, end):
        return False
    if not (8 if value.startswith(b"+") else 9) <= len(digits) <= 14 or len(set(digits)) < 3:
        return False
    return _alone(text, start, end)


def _ssn(text: bytes, start: int, end: int) -> bool:
    """Numbers the US Social Security Administration never issues are look-alikes."""
    area, group, serial = (int(part) for part in text[start:end].replace(b" ", b"-").split(b"-"))
    return _alone(text, start, end) and area not in (0, 666) and area < 900 and group != 0 and serial != 0


def _weighted(digits: list[int], weights: tuple[int, ...]) -> int:
    return sum(d * w for d, w in zip(digits, weights, strict=False))


def _cpf(text: bytes, start: int, end: int) -> bool:
    """Brazil: two check digits, modulo 11."""
    d = _digits(text, start, end)
    first = _weighted(d, (10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10 % 11 % 10
    second = _weighted(d, (11, 10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10 % 11 % 10
    return len(set(d)) > 1 and d[9] == first and d[10] == second


def _chinese(text: bytes, start: int, end: int) -> bool:
    """GB 11643: a birth date and ISO 7064 modulo 11-2."""
    value = text[start:end].upper()
    total = _weighted([b - 48 for b in value[:17]], (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2))
    return _alone(text, start, end) and value[17] == b"10X98765432"[total % 11]


def _spanish(text: bytes, start: int, end: int) -> bool:
    """DNI and NIE: the letter is the number modulo 23."""
    value = text[start:end].replace(b"-", b"").upper().translate(bytes.maketrans(b"XYZ", b"012"))
    number = text[start:end].upper().replace(b"-", b"")
    letter = number[-1:]
    return value[:-1].isdigit() and b"TRWAGMYFPDXBNJZSQVHLCKE"[int(value[:-1]) % 23 :][:1] == letter


def _french(text: bytes, start: int, end: int) -> bool:
    """NIR: the key is 97 minus the number modulo 97."""
    value = text[start:end].replace(b" ", b"").replace(b"2A", b"19").replace(b"2B", b"18")
    return _alone(text, start, end) and 97 - int(value[:13]) % 97 == int(value[13:])


_ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10,
    22, 25, 24, 23), strict=True))  # fmt: skip


def _italian(text: bytes, start: int, end: int) -> bool:
    """Codice fiscale: weighted letters modulo 26."""
    value = text[start:end].decode("ascii").upper()
    total = sum(_ODD[c] if i % 2 == 0 else (int(c) if c.isdigit() else ord(c) - 65) for i, c in enumerate(value[:15]))
    return chr(65 + total % 26) == value[15]


def _nordic(text: bytes, start: int, end: int) -> bool:
    """Sweden: Luhn over the ten digits."""
    digits = _digits(text, start, end)
    return (
        _alone(text, start, end)
        and len(digits) in (10, 12)
        and luhn(digits[-10:])
        and 1 <= _number(digits[-8:-6]) <= 12
    )


def _number(digits: list[int]) -> int:
    return int("".join(map(str, digits)))


def _finnish(text: bytes, start: int, end: int) -> bool:
    """Finland: the check character is the nine digits modulo 31."""
    value = text[start:end]
    return value[10:11] == b"0123456789ABCDEFHJKLMNPRSTUVWXY"[int(value[:6] + value[7:10]) % 31 :][:1]


def _canadian(text: bytes, start: int, end: int) -> bool:
    """SIN: Luhn, and no number that starts with 0 or 8."""
    digits = _digits(text, start, end)
    return _one_group(text, start, end) and luhn(digits) and digits[0] not in (0, 8)


def _swiss(text: bytes, start: int, end: int) -> bool:
    """AHV: an EAN-13 check digit."""
    digits = _digits(text, start, end)
    return (10 - _weighted(digits[:12], (1, 3) * 6) % 10) % 10 == digits[12]


_VERHOEFF_D = [[(b + a) % 5 if b < 5 else 5 + (b - 5 + a) % 5 for b in range(10)] for a in range(5)] + [
    [5 + (a - 5 - b) % 5 if b < 5 else (a - b) % 5 for b in range(10)] for a in range(5, 10)
]
_VERHOEFF_P = [list(range(10)), [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
while len(_VERHOEFF_P) < 8:
    _VERHOEFF_P.append([_VERHOEFF_P[-1][_VERHOEFF_P[1][i]] for i in range(10)])


def verhoeff(digits: list[int]) -> bool:
    """The check of India's Aadhaar numbers, over the dihedral group of order ten."""
    state = 0
    for i, digit in enumerate(reversed(digits)):
        state = _VERHOEFF_D[state][_VERHOEFF_P[i % 8][digit]]
    return state == 0


def _aadhaar(text: bytes, start: int, end: int) -> bool:
    digits = _digits(text, start, end)
    return _one_group(text, start, end) and digits[0] > 1 and verhoeff(digits)


PERSONAL: tuple[Shape, ...] = (
    Shape(
        "email",
        rb"@",
        rb"[A-Za-z0-9\x80-\xff][\w.+'\x80-\xff-]*@(?:[A-Za-z0-9\x80-\xff](?:[\w\x80-\xff-]*[\w\x80-\xff])?\.)+"
        rb"[A-Za-z\x80-\xff]{2,}",
        _email,
    ),
    Shape("card", None, rb"\d(?:[ -]?\d){12,18}", _card),
    Shape(
        "iban",
        rb"\b[A-Za-z]{2}\d\d(?:[ -]?[A-Za-z0-9]){11}",
        rb"(?i)\b(?:" + _IBAN.encode() + rb")\b",
        _iban,
    ),
    Shape("national_id", None, rb"\b\d{3}-\d\d-\d{4}\b", _ssn),
    Shape("national_id", None, rb"\b\d{3}\.\d{3}\.\d{3}-\d\d\b", _cpf),
    Shape("national_id", None, rb"\b\d{6}(?:19|20)\d\d[01]\d[0-3]\d{4}[\dXx]\b", _chinese),
    Shape("national_id", None, rb"\b(?:\d{8}|[XYZxyz]-?\d{7})-?[A-Za-z]\b", _spanish),
    Shape(
        "national_id",
        None,
        rb"\b[12] ?\d\d ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d\b",
        _french,
    ),
    Shape(
        "national_id",
        None,
        rb"\b[A-Za-z]{6}\d\d[A-EHLMPR-Ta-ehlmpr-t]\d\d[A-Za-z]\d{3}[A-Za-z]\b",
        _italian,
    ),
    Shape("national_id", None, rb"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]\b"),
    Shape("national_id", None, rb"\b(?:19|20)?\d\d[01]\d[0-9]\d[-+]\d{4}\b", _nordic),
    Shape("national_id", None, rb"\b[0-3]\d[01]\d{3}[-+A-F]\d{3}[0-9A-Y]\b", _finnish),
    Shape("national_id", None, rb"\b\d\d[01]\d[0-3]\d-[1-8]\d{6}\b"),
    Shape("national_id", None, rb"\b\d{3}[ -]\d{3}[ -]\d{3}\b", _canadian),
    Shape("national_id", None, rb"\b756[. ]?\d{4}[. ]?\d{4}[. ]?\d\d\b", _swiss),
    Shape("national_id", None, rb"\b[2-9]\d{3}[ -]\d{4}[ -]\d{4}\b", _aadhaar),
    Shape("phone", None, rb"\+\(?\d{1,3}\)?(?:[ .()/-]{0,3}\d){6,14}", _phone),
    Shape(
        "phone",
        None,
        rb"(?:\b1[ .-]?)?(?:\(\d{3}\) ?|\b\d{3}[ .-])\d{3}[ .-]\d{4}\b",
        _phone,
    ),
    Shape(
        "phone",
        None,
        rb"(?:\b0[1-9]\d{0,3}|\(0\d{1,5}\))[ /-]{1,3}\d{2,8}(?:[ /-]\d{2,8}){0,4}\b|\b0\d(?:[ .]\d\d){4}\b|"
        rb"\b00 ?[1-9]\d{0,2}(?:[ .()/-]{0,2}\d){7,12}\b|(?:\b[78] ?)?\(\d{3,5}\) ?\d{2,3}-\d\d-\d\d\b|\(\d\d\) ?\d{4,5}-\d{4}\b",
        _phone,
    ),
    Shape(
        "phone",
        None,
        rb"(?i)\b(?:tel(?:e(?:ph|f)one?|efono|\xc3\xa9fono|\xc3\xa9phone)?|phone|mobile?|m\xc3\xb3vil|cell|call|dial|ring|fax|sms|whatsapp|"
        rb"signal|handy|ph|tlf|\xd1\x82\xd0\xb5\xd0\xbb|\xe9\x9b\xbb\xe8\xa9\xb1|\xe7\x94\xb5\xe8\xaf\x9d)"
        rb"\b?[.:]?(?: ?(?:me|us|no|nr|number|at|on|is|under|unter)[.:]?){0,3}"
        rb"[ :=]{0,3}([(\d][\d .()/-]{5,20}\d)",
        _told_phone,
    ),
)
