"""Invented personal data by kind, with the check digits that real ones carry. Some stand behind the word that tells what they are."""

from collections.abc import Mapping

from tests.redaction.credentials import Maker, Planted
from tests.redaction.dice import DIGITS, LOWER, UPPER, Dice

_NAMES = ("maria", "j.smith", "li.wei", "o'neil", "anna-lena", "j_doe", "bob+news", "a", "jean.pierre.dupont", "ülkü")
_HOSTS = (
    "example.com",
    "mail.example.co.uk",
    "example.org",
    "uni-ulm.example",
    "corp.example.travel",
    "münchen.example",
)

UNMISTAKABLE_PHONES = (
    "(%##) %##-####", "%##-%##-####", "%##.%##.####", "1-%##-%##-####", "+1 %## %## ####", "+1%##%######", "+1 (%##) %##-####",
    "020 7### ####", "07### ######", "+44 20 7### ####", "+447#########", "0161 ### ####",
    "030 %######", "0171/%######", "0171 %######",
    "+49 30 %#######", "+49 (0)30 %######", "+49171%######", "089/%## ## ##", "(030) %## ###",
    "01 42 ## ## ##", "06.12.##.##.##", "+33 6 ## ## ## ##", "+331########",
    "+34 91# ### ###", "+34 6## ## ## ##", "06 698# ####", "+39 06 698 #####", "+39 347 ### ####",
    "020-%######", "06-%#######", "+31 6 ########", "044 668 ## ##", "079 ### ## ##", "+41 44 668 ## ##", "+43 1 58858#",
    "08-%## ### ##", "070-%## ## ##", "+46 70 ### ## ##", "+47 22 ## ## ##", "+45 32 ## ## ##", "+358 40 ### ####",
    "+48 22 ### ## ##", "03-%###-####", "090-%###-####", "+81 3-%###-####", "+86 138 #### ####", "010-%#######",
    "022-%#######", "+91 98### #####", "+55 11 9####-####", "(11) 9####-####", "02 9374 ####", "0412 ### ###", "+61 412 ### ###",
    "02-%##-####", "010-%###-####", "+82 10-####-####", "8 (495) %##-##-##", "+7 495 %##-##-##", "+52 55 #### ####", "011 %## ####",
    "+27 11 %## ####", "0212 %## ## ##", "+90 212 %## ## ##", "+971 50 %## ####", "+972-50-%##-####", "0049 30 %#######",
    "00 33 1 42 ## ## ##",
)  # fmt: skip
"""National and international forms that tell themselves."""
TOLD_PHONES = (
    "91# ### ###",
    "6## ## ## ##",
    "22 ## ## ##",
    "32 ## ## ##",
    "138 #### ####",
    "138########",
    "98### #####",
    "9#########",
    "22 ### ## ##",
    "347 ### ####",
    "0301234###",
)
"""Forms that only a word before them tells from a number."""


def email(d: Dice) -> str:
    return f"{d.choice(_NAMES)}{d.some(3, LOWER)}{d.choice(['', d.form('%#')])}@{d.choice(_HOSTS)}"


def phone(d: Dice) -> str | Planted:
    if d.random() < 0.8:
        return d.form(d.choice(UNMISTAKABLE_PHONES))
    number = d.form(d.choice(TOLD_PHONES))
    return Planted(
        f"{d.choice(['phone: ', 'Tel. ', 'call ', 'Tel: ', 'mobile ', 'Telefon: ', 'WhatsApp '])}{number}", number
    )


def luhn_digit(digits: str) -> str:
    """What makes `digits` plus it pass Luhn."""
    total = sum(d if i % 2 else (d * 2 - 9 if d > 4 else d * 2) for i, d in enumerate(map(int, reversed(digits))))
    return str(-total % 10)


def card(d: Dice) -> str:
    head, size = d.choice(
        [
            ("4", 16),
            ("51", 16),
            ("55", 16),
            ("2221", 16),
            ("34", 15),
            ("37", 15),
            ("6011", 16),
            ("3528", 16),
            ("36", 14),
            ("62", 16),
            ("4", 19),
        ]
    )
    digits = head + d.some(size - len(head) - 1, DIGITS)
    digits += luhn_digit(digits)
    if size == 15:
        return d.choice([digits, f"{digits[:4]} {digits[4:10]} {digits[10:]}"])
    return d.choice([digits, *(sign.join(digits[i : i + 4] for i in range(0, size, 4)) for sign in " -")])


_IBANS = {
    "DE": "##################",
    "GB": "UUUU##############",
    "FR": "#######################",
    "NL": "UUUU##########",
    "ES": "####################",
    "CH": "#################",
    "NO": "###########",
    "PL": "########################",
    "IT": "U######################",
    "BE": "############",
    "SA": "####################",
}


def iban(d: Dice) -> str:
    country = d.choice(sorted(_IBANS))
    body = "".join(d.choice(UPPER) if c == "U" else d.choice(DIGITS) for c in _IBANS[country])
    check = 98 - int("".join(str(int(c, 36)) for c in body + country + "00")) % 97
    whole = f"{country}{check:02d}{body}"
    return d.choice([whole, " ".join(whole[i : i + 4] for i in range(0, len(whole), 4))])


def _ssn(d: Dice) -> str:
    return f"{d.randrange(1, 666):03d}-{d.randrange(1, 99):02d}-{d.randrange(1, 9999):04d}"


def _cpf(d: Dice) -> str:
    digits = [d.randrange(10) for _ in range(9)]
    for first in (10, 11):
        digits.append(sum(x * w for x, w in zip(digits, range(first, 1, -1), strict=True)) * 10 % 11 % 10)
    t = "".join(map(str, digits))
    return f"{t[:3]}.{t[3:6]}.{t[6:9]}-{t[9:]}"


def _chinese(d: Dice) -> str:
    body = f"{d.form('11010%')}{d.randrange(1950, 2010)}{d.randrange(1, 12):02d}{d.randrange(1, 28):02d}{d.form('###')}"
    total = sum(int(c) * w for c, w in zip(body, (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2), strict=True))
    return body + "10X98765432"[total % 11]


def _spanish(d: Dice) -> str:
    number = d.randrange(10**7, 10**8)
    return f"{number}{d.choice(['', '-'])}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


def _french(d: Dice) -> str:
    body = f"{d.choice('12')}{d.randrange(50, 99)}{d.randrange(1, 12):02d}{d.randrange(1, 95):02d}{d.form('###')}{d.form('###')}"
    key = f"{97 - int(body) % 97:02d}"
    return d.choice([body + key, f"{body[0]} {body[1:3]} {body[3:5]} {body[5:7]} {body[7:10]} {body[10:]} {key}"])


def _swedish(d: Dice) -> str:
    body = f"{d.randrange(40, 99)}{d.randrange(1, 12):02d}{d.randrange(1, 28):02d}{d.form('###')}"
    return f"{body[:6]}-{body[6:]}{luhn_digit(body)}"


def _finnish(d: Dice) -> str:
    date, number = (
        f"{d.randrange(1, 28):02d}{d.randrange(1, 12):02d}{d.randrange(40, 99)}",
        f"{d.randrange(2, 899):03d}",
    )
    return f"{date}-{number}{'0123456789ABCDEFHJKLMNPRSTUVWXY'[int(date + number) % 31]}"


def _canadian(d: Dice) -> str:
    digits = d.form("%#######").replace("8", "7", 1)
    whole = digits + luhn_digit(digits)
    return "-".join((whole[:3], whole[3:6], whole[6:]))


def _swiss(d: Dice) -> str:
    body = "756" + d.form("#########")
    whole = body + str(-sum(int(c) * (3 if i % 2 else 1) for i, c in enumerate(body)) % 10)
    return f"{whole[:3]}.{whole[3:7]}.{whole[7:11]}.{whole[11:]}"


def _told(d: Dice) -> Planted:
    """Numbers that only their name tells: no check digit of their own, or one that a tenth of all numbers pass."""
    name, number = d.choice(
        [
            ("SSN: ", _ssn(d).replace("-", "")),
            ("passport_number: ", d.form("C%#######")),
            ("BSN: ", d.form("%########")),
            ("PESEL: ", d.form("%##########")),
            ("Steuer-ID: ", d.form("%##########")),
            ("tax_id=", d.form("%########")),
        ]
    )
    return Planted(name + number, number)


def _nino(d: Dice) -> str:
    return f"{d.choice('ABCEGHJ')}{d.choice('ABCEGHJ')} {d.form('## ## ##')} {d.choice('ABCD')}"


def national_id(d: Dice) -> str | Planted:
    makers: list[Maker] = [_ssn, _cpf, _chinese, _spanish, _french, _swedish, _finnish, _canadian, _swiss, _nino, _told]
    return d.choice(makers)(d)


PERSONAL: Mapping[str, Maker] = {"email": email, "phone": phone, "card": card, "iban": iban, "national_id": national_id}
