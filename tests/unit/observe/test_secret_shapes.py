"""Secrets that nobody has named: found by shape, or by the name that they are given to."""

from __future__ import annotations

import pytest

from keruta_agent.observe.redact import MASK, Redactor
from tests.helpers.build_logs import build_log

KEY_LINE = "MIIEowIBAAKCAQEA7bq3Zx9Yw1Kf5Qm8Rt2Vu4Xs6Ao0Bp"

TOKENS = [
    "ghp_" + "a1B2c3" * 6,
    "gho_" + "a1B2c3" * 6,
    "ghu_" + "a1B2c3" * 6,
    "ghs_" + "a1B2c3" * 6,
    "ghr_" + "a1B2c3" * 6,
    "github_pat_11ABCDEFG0" + "a1B2c3" * 10,
    "glpat-x1Y2z3-A4b5C6d7E8f9gh",
    "gldt-x1Y2z3A4b5C6d7E8f9g0",
    "glrt-x1Y2z3A4b5C6d7E8f9g0",
    "glpat-x1Y2z3A4b5C6d7E8f9g0h1.01.a1b2c3d4e",
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "sk-" + "a1B2c3d4" * 6,
    "sk-proj-" + "a1B2-c3_4" * 6,
    "sk-svcacct-" + "a1B2c3d4" * 6,
    "sk-ant-api03-" + "a1B2-c3_4" * 9 + "AA",
    "xoxb-123456789012-1234567890123-AbCdEfGhIjKl",
    "xoxp-123456789012-abcdef",
    "xoxe.xoxp-1-AbCdEfGh1234",
    "xapp-1-A0123BCDEF-1234567890123-abcdef0123",
    "AIzaSyA-1234567890abcdefghijklmnopqrstu",
    "ya29.a0AfB_by-1234567890abcdef.x-Y_z",
    "npm_" + "a1B2c3" * 6,
    "pypi-AgEIcHlwaS5vcmcC" + "a1B2-c3_4" * 9,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1g",
]
AROUND = [
    "{}",
    "a {} b",
    "url?x={}&y=1",
    '"{}",',
    "x\\n{}\\n",
    "token%3D{}",
    "\x1b[32m{}\x1b[0m",
    "https://{}@host/",
]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("around", AROUND)
def test_token_of_known_shape_is_masked(token: str, around: str) -> None:
    redacted = Redactor().redact(around.format(token))
    assert redacted == around.format(MASK)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer xyz", "Authorization: Bearer ***"),
        ("authorization:bearer abc.def", "authorization:bearer ***"),
        ("-H 'Proxy-Authorization: Basic YTpi'", "-H 'Proxy-Authorization: Basic ***'"),
        ("{'Authorization': 'token abc123'}", "{'Authorization': 'token ***'}"),
        (r'"{\"Authorization\": \"Bearer abc\"}"', r'"{\"Authorization\": \"Bearer ***\"}"'),
        ("sent Bearer abcdefghij0123456789 ok", "sent Bearer *** ok"),
        ("with basic dXNlcjpwYXNzd29yZA== ok", "with basic *** ok"),
        ("postgres://u:p4ss@db:5432/x", "postgres://u:***@db:5432/x"),
        ("https://oauth2:abc@def@host/x", "https://oauth2:***@host/x"),
        ("redis://:abc@host", "redis://:***@host"),
        ("aws_secret_access_key = wJalrXUtn/K7MD+bPxR", "aws_secret_access_key = ***"),
        ('"SecretAccessKey": "wJalrXUtn/K7MD+bPxR"', '"SecretAccessKey": "***"'),
        ("password=hunter22 next", "password=hunter22 next".replace("hunter22", MASK)),
        ("DB_PASSWORD=correcthorse", "DB_PASSWORD=***"),
        ("password: 'hunter-22'", "password: '***'"),
        ('{"access_token":"abcd1234efgh","n":1}', '{"access_token":"***","n":1}'),
        (r"{\"api_key\":\"abcd1234efgh\"}", r"{\"api_key\":\"***\"}"),
        ("login --password correct7horse -v", "login --password *** -v"),
        ("login --api-key=abcd1234efgh", "login --api-key=***"),
        ("spring.datasource.password=abcd1234", "spring.datasource.password=***"),
        ("url?client_secret=abcd1234efgh&x=1", "url?client_secret=***&x=1"),
        ("//registry/:_authToken=abcd1234efgh", "//registry/:_authToken=***"),
        ('"auth": "dXNlcjpwYXNzd29yZA=="', '"auth": "***"'),
        ("password := s3cret-value", "password := ***"),
    ],
)
def test_header_url_or_assignment_is_masked(text: str, masked: str) -> None:
    assert Redactor().redact(text) == masked


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "DSA ", "OPENSSH ", "ENCRYPTED "])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\\n", "\\\\n"])
def test_private_key_block_is_masked(kind: str, line_end: str) -> None:
    begin, end = f"-----BEGIN {kind}PRIVATE KEY-----", f"-----END {kind}PRIVATE KEY-----"
    block = line_end.join([begin, KEY_LINE, KEY_LINE, "c3Vw=", end])
    redacted = Redactor().redact(f"x {block} y")
    assert redacted.startswith("x ***")
    assert redacted.endswith("*** y")
    assert set(redacted[2:-2]) <= set("*\r\n")


@pytest.mark.parametrize(
    "text",
    [
        f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{KEY_LINE}\n-----END PGP PRIVATE KEY BLOCK-----",
        "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY----- {KEY_LINE} -----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
        f"DEK-Info: AES-128-CBC,0123456789ABCDEF\n\n{KEY_LINE}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN EC PRIVATE KEY-----\n{KEY_LINE}\n",
        "-----BEGIN EC PRIVATE KEY-----\nMIIE",
        "-----BEGIN EC PRIVATE KEY-----",
    ],
)
def test_odd_private_key_block_is_masked(text: str) -> None:
    assert set(Redactor().redact(text)) <= set("*\n")


@pytest.mark.parametrize(
    "text",
    [
        "expected -----BEGIN PRIVATE KEY----- but found something",
        "-----BEGIN PRIVATE KEY-----\nno such file or directory",
        f"-----BEGIN CERTIFICATE-----\n{KEY_LINE}\n-----END CERTIFICATE-----",
        "password=${PASSWORD} token=$TOKEN_2024 --password <password-1> api_key=%API_KEY_1%",
        "secret: {{ vault_secret_1 }} token=*** password=xxxxxxxxxxxx password=your-password-1",
        "SyntaxError: unexpected token: identifier, unexpected token=identifier",
        "src/auth.py:1234:5678: error  lib/token.rs:100000:22000",
        "tests/test_token.py::test_password_1 PASSED",
        "total_tokens: 1234567890 max_tokens=10000000",
        "Cache restored from key: Linux-node-0123456789abcdef",
        "docker://nginx:1.25@sha256:0123456789abcdef",
        "http://localhost:8080/@vite/client1 mailto:someone@example.org",
        "git@github.example:owner/repository.git",
        "password = getpass.getpass('1') token = self.tokens2.next_token",
        'password: str = "", token: Optional[str2]',
        '"js-tokens": "^10.0.0-beta.1", "auth-token": "5.0.0-rc.12"',
        "keyring==24.3.0 tokenizers==0.15.0 secretstorage==3.3.33",
        "class='sk-toggleable__content sk-estimator-doc-link' disk-0123456789abcdef01234567",
        "task-0123456789abcdef01234567 risk-Ab0123456789abcdef01234567",
        "npm_config_user_agent=npm/10.2.4 ghp_short AKIA1234 eyJub3QifQ",
        "Bearer authentication-is-required-here; basic authentication; basic tutorial",
        "RSA key fingerprint: SHA256:abcdef0123456789",
        "TOKEN_FILE=/run/secrets/token1 password_file: /etc/x/password1",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert Redactor().redact(text) == text


def test_build_logs_are_left_alone() -> None:
    log = build_log(2, 1_000_000)
    redactor = Redactor.from_environment(
        {"DEPLOY_TOKEN": "DEPLOY", "API_KEY": "kW7-pq/Zr3+xY", "A_SECRET": "master"}
    )
    changed = [log[max(0, start - 40) : end + 10] for start, end in redactor.spans(log)]
    assert changed == []


@pytest.mark.parametrize(
    "piece",
    [
        "a", "eyJ", "eyJ.", "eyJaaaaaaaaaa.", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-",
        "-----BEGIN PRIVATE KEY-----\n", "token=", "token", "key:=(", "://", "://a:", "://a:b@",
        "password: ", "--a ", "bearer ", "sk-", "ya29.", "AKIA", "\\", "'", "authorization: ",
        "-----BEGIN PRIVATE KEY-----\nAAAAbbbbCCCCddddEEEE1111\n",
    ],
)  # fmt: skip
def test_hostile_text_is_read_to_its_end(piece: str) -> None:
    # Quadratic time would not end within the limit that each test has.
    text = piece * (500_000 // len(piece))
    assert len(Redactor(["kW7-pq/Zr3+xY"]).redact(text + "\nkW7-pq/Zr3+xY end")) > 3
