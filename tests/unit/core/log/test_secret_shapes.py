"""Secrets that nobody has named: found by shape, or by the name that they are given to."""

from __future__ import annotations

import pytest

from keruta_agent.core.redaction.redactor import MASK, Redactor
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
    "sk-" + "k3j9" * 11 + "x",
    "sk-" + "qwxzvbnmkj" * 4 + "abcde",
    "sk-or-v1-" + "0a1b2c3d" * 8,
    "hf_" + "aBcDeFgHiJ" * 3 + "kLmN",
    "r8_" + "a1B2c3D4" * 5,
    "gsk_" + "a1B2c3D4" * 6 + "xyzw",
    "xai-" + "a1B2c3D4" * 10,
    "pplx-" + "a1b2c3d4" * 6,
    "dop_v1_" + "0a1b2c3d" * 8,
    "sk_live_" + "a1B2c3D4" * 3,
    "rk_test_" + "a1B2c3D4" * 3,
    "whsec_" + "a1B2c3D4" * 4,
    "shpat_" + "0a1b2c3d" * 4,
    "SG.a1B2c3D4e5F6g7H8i9J0kL." + "a1B2-c3_4" * 4 + "abcdefg",
    "hvs.CAESI" + "a1B2c3_4" * 10,
    "dckr_pat_a1B2-c3D4_e5F6g7H8i9J0k",
    "glsa_" + "a1B2c3D4" * 4 + "_0a1b2c3d",
    "lin_api_" + "a1B2c3D4" * 5,
    "ntn_" + "1234567890" + "a1B2c3D4" * 4,
    "GOCSPX-" + "a1B2-c3_D" * 3 + "x",
    "ATATT3xFfGF0" + "a1B2-c3_4" * 16 + "=1A2B3C4D",
    "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" + "QPZRY9X8GF2TVDW0S3JN54KHCE",
    "ABIAIOSFODNN7EXAMPLE",
    "glpat-abcDefGhiJklMnoPqrSt",
    "pscale_tkn_" + "a1B2-c3_4" * 4,
    "NRAK-" + "A1B2C3D4" * 3 + "XYZ",
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
        ("git clone https://0123456789abcdef0123@host/x", "git clone https://***@host/x"),
        ("git+https://q7wz2mfn5yhtjk3vbd4x6l8p@host", "git+https://***@host"),
        ("http://a1B2-c3D4_e5F6-g7H8x:@host", "http://***:@host"),
        (
            "https://0123456789abcdef0123:x-oauth-basic@host",
            "https://***:***@host",
        ),
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
        ("user=bob&password=hunter2&x=1", "user=bob&password=***&x=1"),
        ("https://x/?token=abc123#top", "https://x/?token=***"),
        ('{"password":"hunter2","n":1}', '{"password":"***","n":1}'),
        ('{"password":"correct horse 7","n":1}', '{"password":"***","n":1}'),
        (r'{"password":"a\"b\"c1","n":1}', '{"password":"***","n":1}'),
        (r"{\"password\":\"a b 1\",\"n\":1}", r"{\"password\":\"***\",\"n\":1}"),
        ('{"password": 48151623}', '{"password": ***}'),
        ("password: hunter2", "password: ***"),
        ("  db_password: Tr0ub4dor&3", "  db_password: ***"),
        ("PASSWORD='it is 5 o clock'", "PASSWORD='***'"),
        (
            "Server=db;User Id=sa;Password=hunter2;Encrypt=yes",
            "Server=db;User Id=sa;Password=***;Encrypt=yes",
        ),
        ("Uid=sa;Pwd=hunter2;", "Uid=sa;Pwd=***;"),
        ("login --password hunter2 -v", "login --password *** -v"),
        ('["login", "--password", "hunter2"]', '["login", "--password", "***"]'),
        ("mysql -u root -phunter2 shop", "mysql -u root -p*** shop"),
        ("$ mysqldump -uroot -p'hunter 2' shop", "$ mysqldump -uroot -p'***' shop"),
        ("sshpass -p hunter2 ssh a@b", "sshpass -p *** ssh a@b"),
        (
            "docker login -u me -p hunter2 reg.example.org",
            "docker login -u me -p *** reg.example.org",
        ),
        ("curl -fsS -u admin:hunter2 https://x", "curl -fsS -u admin:*** https://x"),
        ("curl --user 'admin:hunter2' https://x", "curl --user 'admin:***' https://x"),
        ("redis-cli -h db -a hunter2 ping", "redis-cli -h db -a *** ping"),
        ("openssl rsa -in k -passin pass:hunter2", "openssl rsa -in k -passin pass:***"),
        (
            "machine git.example.org login bob password hunter2",
            "machine git.example.org login bob password ***",
        ),
        ("machine x\nlogin bob\npassword hunter2\n", "machine x\nlogin bob\npassword ***\n"),
        ("  password hunter2\nmachine y", "  password ***\nmachine y"),
        ("Cookie: sid=a1b2c3; csrf=d4e5f6", "Cookie: sid=***"),
        ("set-cookie: session=a1b2c3; Path=/", "set-cookie: session=***"),
        (
            "https://hooks.slack.com/services/T01ABC/B02DEF/a1B2c3D4e5F6g7H8i9J0kLmN",
            "https://hooks.slack.com/services/***",
        ),
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
        "https://max.mustermann2@bitbucket.example/team/x ssh://git@host/x http://root@db:80/",
        "https://Maximilian.Mustermann%40example.org@host/x https://contoso-engineering@dev/x",
        "ssh://APKAEIBAERJR2EXAMPLE@codecommit/x https://${DEPLOY_TOKEN_OF_2024}@host/x",
        "https://registry.example.com/a1b2c3d4e5f6a7b8c9d0e1f2/@v2 https://h/?q=a1b2c3d4@x",
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
        "docker run -p 8080:80 -u 1000:1000 app && mkdir -p a/b2 && cp -p x1 y2",
        "git push -u origin feature/x2; grep -w word2 f; curl -u $USER:$PASS https://x",
        "PWD=/srv/app-1 OLDPWD=/home/me/app-2 pwd: /srv/app-3",
        "password=None, password=null password=test password: wrong token=LPAREN",
        "enter your password twice, then login with password authentication",
        'label: "Your password is wrong", "password": "Please enter your password"',
        "パスワード: 必須 トークン=有効 password: パスワード 秘密鍵: なし",
        "commit 0123456789abcdef0123456789abcdef01234567 key-0123456789abcdef0123456789abcdef",
        "id 123e4567-e89b-12d3-a456-42661417 sha256-MV9b23bQeMQ7isAGTkoBZGErH853yGk0W/yUx1iU7dM=",
        "npm_package_scripts_build_production_bundle=x sk-HistGradientBoostingClassifier",
        "src/pul-something-very-long-name-here.ts build_shpat_test sb_secret_manager_client_name",
        "cookie consent: yes; cookies: 3; tough-cookie@4.1.3",
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


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "DB_PASSWORD", "value": "%s"}',
        '{\\"Key\\":\\"API_TOKEN\\",\\"Value\\":\\"%s\\"}',
        "    - name: DB_PASSWORD\n      value: %s\n",
        '{\n  "name": "DB_PASSWORD",\n  "value": "%s"\n}',
        '<add key="Password" value="%s" />',
        "password: |\n  %s\n",
        "db:\n  api_token: >-\n    %s\nnext: 1",
        "<password>%s</password>",
        "\u30d1\u30b9\u30ef\u30fc\u30c9\uff1a%s",
        "API\u30ad\u30fc: %s\u3067\u3059".replace("\u3067\u3059", " \u3067\u3059"),
        "password\uff1a%s",
    ],
)
def test_value_is_masked_wherever_its_name_stands(text: str) -> None:
    shown = Redactor().redact(text % "hunter2xyz9")

    assert shown == text % MASK


def test_lines_of_a_block_are_all_masked() -> None:
    text = "secret: |\n  hunter2xyz9\n  k3j9Qw8e7\nother: hunter\n"

    assert Redactor().redact(text).splitlines()[1:] == [f"  {MASK}", f"  {MASK}", "other: hunter"]


def test_word_is_a_password_in_a_netrc_with_its_machine() -> None:
    text = "machine git.test\nlogin bob\npassword swordfish\n"

    assert Redactor().redact(text) == text.replace("swordfish", MASK)


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "build_number", "value": "a1b2c3d4"}',
        '{"name": "API_TOKEN_TYPE", "value": "bearer12"}',
        '{"name": "x"}, {"value": "hunter2xyz9"}',
        "- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef: db-secret-1\n",
        "password: |\n  This text tells how to choose one\n",
        "<label>Password</label> <b>hunter2xyz9</b>",
        '<span class="token">function</span>',
        "<token>identifier</token>",
        "\u30d1\u30b9\u30ef\u30fc\u30c9\uff1a8\u6587\u5b57\u4ee5\u4e0a",
        "\u30d1\u30b9\u30ef\u30fc\u30c9: \u9593\u9055\u3063\u3066\u3044\u307e\u3059",
        "\u30b7\u30fc\u30af\u30ec\u30c3\u30c8: ${{ secrets.X }}",
        "GET /items?api_key=none",
        "the login form has a password field",
        "--- a/src/token.c\n+++ b/src/token.c\n-------------------- value = 12",
    ],
)
def test_talk_about_names_and_values_stays(text: str) -> None:
    assert Redactor().redact(text) == text
