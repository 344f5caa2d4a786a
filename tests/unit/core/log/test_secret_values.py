"""Which values are masked, which parts of them, and in which forms."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import textwrap
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from keruta_agent.core.redaction import names, values
from keruta_agent.core.redaction.redactor import MASK, Redactor

SECRET = "p/W+x'é\"y日 \\z&1~K<=>`"


def lowered_percent(text: str) -> str:
    return "".join(
        piece.lower() if place % 2 else piece for place, piece in enumerate(split_percent(text))
    )


def split_percent(text: str) -> list[str]:
    pieces = [""]
    for character in text:
        if character == "%":
            pieces += ["%", ""]
        elif len(pieces) > 1 and pieces[-2].startswith("%") and len(pieces[-2]) < 3:
            pieces[-2] += character
        else:
            pieces[-1] += character
    return pieces


def escaped(text: str, characters: str, *, upper: bool = False) -> str:
    """Return the inside of a JSON text with more characters escaped than need be."""
    plain = "".join(
        f"\0{ord(character):04x}" if character in characters else character for character in text
    )
    return re.sub(
        r"(?:\\u0000)([0-9a-f]{4})|\\u([0-9a-f]{4})",
        lambda found: "\\u" + ((found[1] or found[2]).upper() if upper else (found[1] or found[2])),
        json.dumps(plain)[1:-1],
    )


FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "url": lambda text: quote(text, safe=""),
    "url with slashes": quote,
    "url in small letters": lambda text: lowered_percent(quote(text, safe="")),
    "form": quote_plus,
    "encodeURIComponent": lambda text: quote(text, safe="!~*'()"),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of a line": lambda text: base64.b64encode(text.encode() + b"\n").decode(),
    "base64 without padding": lambda text: base64.b64encode(text.encode()).decode().rstrip("="),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 in a URL": lambda text: quote(base64.b64encode(text.encode()), safe=""),
    "hex": lambda text: text.encode().hex(),
    "HEX": lambda text: text.encode().hex().upper(),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON with escaped slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON of Go": lambda text: escaped(text, "&<>"),
    "JSON of Jinja": lambda text: escaped(text, "&<>'"),
    "JSON of Gson": lambda text: escaped(text, "&<>'="),
    "JSON of .NET": lambda text: escaped(text, "&<>'+`\"", upper=True),
    "JSON of PHP": lambda text: escaped(text, "&<>'\"", upper=True).replace("/", "\\/"),
    "JSON of Go in JSON": lambda text: json.dumps(escaped(text, "&<>"), ensure_ascii=False)[1:-1],
    "XML": lambda text: (
        html.escape(text, quote=False).replace('"', "&quot;").replace("'", "&apos;")
    ),
    "HTML of Go": lambda text: (
        html.escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    ),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text))[3:-3],
    "shlex": lambda text: shlex.quote(text)[1:-1],
    "shell": lambda text: text.replace("'", "'\\''"),
    "HTML": html.escape,
    "repr": lambda text: repr(text)[1:-1],
}


@pytest.mark.parametrize("form", FORMS)
def test_form_of_a_known_secret_is_masked_whole(form: str) -> None:
    text = FORMS[form](SECRET)
    assert Redactor([SECRET]).redact(f"[{text}]") == "[***]"


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("secret", ["s3cr~t", "kW7-pq/Zr3", "日本の秘密-1"])
def test_base64_of_a_longer_text_shows_nothing_of_the_secret(
    before: int, after: int, encode: Callable[[bytes], bytes], secret: str
) -> None:
    text = encode(b"u" * before + secret.encode() + b"?" * after).decode()
    redacted = Redactor([secret]).redact(text)
    assert MASK in redacted
    # What remains of the secret is less than a byte at each of its ends.
    assert len(redacted.replace(MASK, "")) <= (8 * (before + after) + 12) // 6 + 3


def test_base64_wrapped_at_76_characters_is_masked() -> None:
    secret = "".join(chr(33 + number * 7 % 90) for number in range(150))
    wrapped = "\n".join(textwrap.wrap(base64.b64encode(secret.encode()).decode(), 76))
    assert Redactor([secret]).redact(wrapped) == "***\n***\n***"


def test_lines_of_a_secret_are_masked_alone() -> None:
    redactor = Redactor(["first-line-1\n{\nshort\n-----BEGIN STUFF-----\nsecond-line-2\n"])
    text = "x first-line-1\n{ short -----BEGIN STUFF-----\nsecond-line-2"
    assert redactor.redact(text) == "x ***\n{ short -----BEGIN STUFF-----\n***"


def test_lines_of_a_secret_are_masked_in_their_forms() -> None:
    redactor = Redactor(["first/line-1\nsecond/line-2"])
    assert redactor.redact(quote("second/line-2", safe="")) == MASK


def test_secret_of_several_lines_is_masked_with_any_line_ends() -> None:
    redactor = Redactor(["one-1\ntwo-2\nthree-3"])
    assert redactor.redact("one-1\r\ntwo-2\r\nthree-3 one-1") == "***\r\n***\r\n*** one-1"


def test_value_in_a_line_with_a_name_is_masked_alone() -> None:
    redactor = Redactor(["apiVersion: v1\nclient-key-data: 'QUJD-REVG-123'\nkind: Config"])
    text = "kind: Config\nclient-key-data: QUJD-REVG-123"
    assert redactor.redact(text) == "kind: Config\nclient-key-data: ***"


def test_strings_of_a_json_secret_are_masked_and_not_its_structure() -> None:
    secret = json.dumps({"type": "service_account", "id": "abc", "keys": ["k-123-456\nl-789-012"]})
    redactor = Redactor([secret])
    assert redactor.redact('{"type": "service_account", "id": "abc", "x": 1}') == (
        '{"type": "service_account", "id": "abc", "x": 1}'
    )
    assert redactor.redact(secret) == secret.replace("k-123-456\\nl-789-012", MASK)
    assert redactor.redact("l-789-012") == MASK


@pytest.mark.parametrize(
    "value",
    [
        "", "  ", "abc", "a1b2c", "true", "false", "localhost", "password", "changeme", "DEPLOY",
        "master", "develop", "Release", "1234567", "aaaaaaaaaa", "********", "/usr/bin",
        "/run/secrets/db_password", "./build/out", "~/keys", "https://example.org/a?b=c",
        "{}", "[true]", '{"a": "b"}', "\n\n\n",
    ],
)  # fmt: skip
def test_short_or_common_value_is_not_masked(value: str) -> None:
    text = f"x{value}y {value} https://example.org/a?b=c"
    assert Redactor([value]).redact(text) == text


@pytest.mark.parametrize(
    "value",
    [
        "hunter2", "s3cr~t", "correcthorse", "12345678", "パスワード秘密",
        "/k3jd8Fjd9sKLfj3Qx7vB2nM5", "/abc+def=ghi",
    ],
)  # fmt: skip
def test_unusual_value_is_masked(value: str) -> None:
    assert values.worth_masking(value)
    assert Redactor([value]).redact(f"x{value}y") == "x***y"


@pytest.mark.parametrize(
    "name",
    [
        "TOKEN", "GITHUB_TOKEN", "githubToken", "API_KEY", "apiKey", "OPENAI_API_KEY", "AWS_KEY",
        "AWS_SECRET_ACCESS_KEY", "SSH_PRIVATE_KEY", "DB_PASSWORD", "PGPASSWORD", "DB_PASS",
        "MYSQL_PWD", "SECRET_KEY_BASE", "GOOGLE_CREDENTIALS", "CREDENTIAL", "REDISCLI_AUTH",
        "NPM_AUTH", "PASSWORDS", "API_TOKEN_2", "passwd", "KEY_PASSPHRASE", "API_KEYS",
    ],
)  # fmt: skip
def test_name_of_a_secret_is_known(name: str) -> None:
    assert names.is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "PATH", "PWD", "OLDPWD", "SSH_AUTH_SOCK", "KEYBOARD", "GIT_ASKPASS", "GIT_AUTHOR_NAME",
        "XAUTHORITY", "TOKENIZERS_PARALLELISM", "KEY", "PUBLIC_KEY", "CACHE_KEY", "GPG_KEY",
        "TOKEN_FILE", "PASSWORD_MIN_LENGTH", "SECRET_NAME", "AUTH_STATUS", "COMPASS", "MONKEY",
    ],
)  # fmt: skip
def test_name_of_something_else_is_not_a_secret(name: str) -> None:
    assert not names.is_secret_name(name)
