import pytest

from gateway.observers.redaction.keys import secret_kind


@pytest.mark.parametrize(
    "name",
    [
        "password", "Password", "PASSWORD", "db_password", "dbPassword", "DB-PASSWORD-2", "new.password", "passwordHash",
        "password_confirmation", "passwd", "pwd", "token", "access_token", "accessToken", "refresh-token", "authToken",
        "github_token", "token2", "secret", "client_secret", "clientSecret", "SECRET_KEY", "api_key", "apiKey", "APIKEY",
        "X-Api-Key", "x_api_key_v2", "private_key", "ssh-key", "aws_secret_access_key", "authorization", "Proxy-Authorization",
        "cookie", "Set-Cookie", "sessionCookie", "credentials", "jwt", "auth", "db_pass", "pin", "otp", "passphrase",
        "mnemonic", "пароль", "密码", "contraseña",
    ],
)  # fmt: skip
def test_a_name_that_speaks_of_a_secret_hides_its_value(name: str) -> None:
    assert secret_kind(name) == "secret"


@pytest.mark.parametrize(
    "name",
    [
        "", "author", "authority", "authentic", "key", "keyboard", "primary_key", "public_key", "monkey", "compass",
        "passenger", "pass_count", "password_policy", "passwordLength", "password_changed_at", "token_count", "max_tokens",
        "prompt_tokens", "total_tokens", "next_page_token", "nextPageToken", "progressToken", "cursor_token", "tokenizer",
        "token_type", "token_url", "secret_name", "secretary", "cookie_policy", "cookies_enabled", "spin", "shipping",
        "signature_date", "design", "side", "resid", "id", "name", "x" * 500,
    ],
)  # fmt: skip
def test_names_that_only_sound_like_it(name: str) -> None:
    assert secret_kind(name) is None


@pytest.mark.parametrize(
    ("name", "kind"), [("phoneNumber", "phone"), ("SSN", "national_id"), ("cvv", "card"), ("E-Mail", "email")]
)
def test_names_of_personal_data(name: str, kind: str) -> None:
    assert secret_kind(name) == kind


def test_a_plain_tokens_field_hides_texts_but_not_counts() -> None:
    assert secret_kind("tokens") == "secrets"
