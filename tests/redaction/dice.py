"""Seeded randomness for the corpus: the same seed makes the same values on every machine."""

import base64
import json
import random
import string

DIGITS = string.digits
UPPER = string.ascii_uppercase
LOWER = string.ascii_lowercase
ALNUM = string.ascii_letters + DIGITS
HEX = "0123456789abcdef"
BASE32 = UPPER + "234567"
BASE64 = ALNUM + "+/"
URLSAFE = ALNUM + "-_"


class Dice(random.Random):
    """Draws what tokens and numbers are made of."""

    def some(self, length: int, alphabet: str = ALNUM) -> str:
        """Random characters; the ends are letters or digits, so that no sentence around them hides where they end."""
        text = "".join(self.choices(alphabet, k=length))
        ends = [c for c in alphabet if c.isalnum()]
        return self.choice(ends) + text[1:-1] + self.choice(ends)

    def form(self, pattern: str) -> str:
        """`#` is any digit, `%` one from 1 to 9; all else stands as it is."""
        return "".join(self.choice(DIGITS) if c == "#" else self.choice(DIGITS[1:]) if c == "%" else c for c in pattern)

    def base64url(self, value: object) -> str:
        """JSON as a part of a JWT."""
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
