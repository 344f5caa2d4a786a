"""Ordinary build logs without a secret, in any length: what a redactor must leave alone."""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable
from typing import Final

_WORDS: Final = (
    "auth", "author", "token", "tokenizer", "key", "keyboard", "secret", "secretary", "password",
    "credential", "session", "build", "parser", "serde", "tokio", "react", "babel", "lint",
    "core", "utils", "http", "proxy", "proc", "macro", "syn", "quote", "disk", "task", "risk",
)  # fmt: skip
_FILES: Final = (
    "src/auth/token.c", "src/parser/tokens.rs", "app/models/user_password.py", "lib/api_key.ts",
    "tests/unit/test_auth.py", "pkg/secrets/manager.go", "docs/認証/トークン.md", "include/keys.h",
)  # fmt: skip


class _Chance:
    """Random pieces of log lines, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def number(self, most: int) -> int:
        return self._random.randrange(most)

    def word(self) -> str:
        return self._random.choice(_WORDS)

    def file(self) -> str:
        return self._random.choice(_FILES)

    def version(self) -> str:
        return f"{self.number(20)}.{self.number(30)}.{self.number(90)}"

    def hexadecimal(self, length: int) -> str:
        return "".join(self._random.choices("0123456789abcdef", k=length))

    def integrity(self) -> str:
        return "sha512-" + base64.b64encode(self._random.randbytes(64)).decode()

    def uuid(self) -> str:
        return "-".join(self.hexadecimal(length) for length in (8, 4, 4, 4, 12))

    def time(self) -> str:
        return (
            f"2024-0{1 + self.number(9)}-1{self.number(10)}T0{self.number(10)}:"
            f"{10 + self.number(50)}:{10 + self.number(50)}.{self.number(10**6):06}Z"
        )

    def choice(self, choices: list[Callable[[_Chance], str]]) -> Callable[[_Chance], str]:
        return self._random.choice(choices)


def _pip(c: _Chance) -> str:
    name = f"{c.word()}-{c.word()}"
    return (
        f"Collecting {name}=={c.version()} (from -r requirements.txt (line {c.number(99)}))\n"
        f"  Downloading https://files.example.org/packages/{c.hexadecimal(2)}/{c.hexadecimal(60)}/"
        f"{name}-{c.version()}-cp311-cp311-manylinux_2_17_x86_64.whl ({c.number(9000)} kB)\n"
        f"     ━━━━━━━━━━━━━━━━━━━━━━━━ {c.number(90)}.1/90.2 kB 2.3 MB/s eta 0:00:00\n"
        f"  --hash=sha256:{c.hexadecimal(64)}\n"
        f"Successfully installed {name}-{c.version()} keyring-{c.version()} "
        f"secretstorage-{c.version()} tokenize-rt-{c.version()}\n"
    )


def _npm(c: _Chance) -> str:
    name = f"@{c.word()}/{c.word()}-tokens"
    return (
        f'    "node_modules/{name}": {{\n      "version": "{c.version()}",\n'
        f'      "resolved": "https://registry.example.org/{name}/-/tokens-{c.version()}.tgz",\n'
        f'      "integrity": "{c.integrity()}",\n      "license": "MIT",\n'
        f'      "dependencies": {{ "js-tokens": "^{c.version()}-beta.{c.number(99)}", '
        f'"@octokit/auth-token": "^{c.version()}" }}\n'
        f"npm warn deprecated {name}@{c.version()}: use @{c.word()}/{c.word()}@{c.version()}\n"
        f"npm info run {c.word()}@{c.version()} npm_config_user_agent=npm/10.2.4 node/v20.11.0\n"
        f'{name}@^{c.version()}:\n  version "{c.version()}"\n'
        f'  resolved "https://registry.example.org/x/-/x-{c.version()}.tgz#{c.hexadecimal(40)}"\n'
        f"added {c.number(2000)} packages, and audited {c.number(2000)} packages in 12s\n"
    )


def _cargo(c: _Chance) -> str:
    return (
        f"   Compiling proc-macro-{c.word()} v{c.version()}\n"
        f"   Compiling {c.word()}-token v{c.version()} (/home/user/{c.word()}/crates/auth)\n"
        f"error: expected one of `,` or `}}`, found token `identifier`\n"
        f"  --> {c.file()}:{c.number(2000)}:{c.number(90)}\n"
        f"error: unexpected token: `punctuation`\n"
        f"note: password::Hasher::hash_with_salt(&self, token: &TokenStream) -> SecretString\n"
        f"    Finished release [optimized] target(s) in 1m {c.number(60)}s\n"
    )


def _gcc(c: _Chance) -> str:
    file, line = c.file(), c.number(20000)
    return (
        f"[{c.number(100)}%] Building C object CMakeFiles/{c.word()}.dir/{file}.o\n"
        f"gcc -O2 -Wall -DAUTH_BACKEND=builtin -DKEY_LENGTH=256 -DTOKEN_LIMIT=100000000 "
        f"-I/usr/include/{c.word()} -c {file} -o build/{file}.o\n"
        f"{file}:{line}:{c.number(99)}: error: expected ';' before 'token'\n"
        f"{file}:{line}:{c.number(99)}: warning: unused variable 'secret_key' [-Wunused-variable]\n"
        f"   {line} |   const char *password = get_password(session->auth, KEY_{c.number(9)});\n"
        f"      |               ^~~~~~~~~~~~~~~~~~~~~~~~~~~~\n"
        f"==1234== Invalid read at 0x{c.hexadecimal(12)}: token_next (tokens.c:{line})\n"
        f"token=0x7fff{c.hexadecimal(8)} auth=0x{c.hexadecimal(12)}\n"
    )


def _git(c: _Chance) -> str:
    return (
        f"commit {c.hexadecimal(40)}\nAuthor: 山田太郎 <taro.yamada{c.number(99)}@example.jp>\n"
        f"Date:   Mon Jan {1 + c.number(28)} 12:34:56 2024 +0900\n\n"
        f"    認証トークンの更新処理を修正 (#{c.number(9999)})\n\n"
        f"diff --git a/{c.file()} b/{c.file()}\nindex {c.hexadecimal(7)}..{c.hexadecimal(7)} 1\n"
        f"@@ -{c.number(900)},7 +{c.number(900)},9 @@ def refresh_token(token: str) -> Token:\n"
        f"-    token = self.tokens.next_token2(password=self.settings.password2)\n"
        f"+    password = getpass.getpass()\n+    api_key = os.environ['API_KEY_{c.number(99)}']\n"
        f"remote: Resolving deltas: 100% ({c.number(9999)}/{c.number(9999)}), done.\n"
        f"From ssh://git@git.example.org:2222/{c.word()}/{c.word()}\n"
        f"Cloning into 'auth-{c.word()}'... git@git.example.org:{c.word()}/{c.word()}.git\n"
    )


def _pytest(c: _Chance) -> str:
    return (
        f"tests/unit/test_token.py::test_password_is_hashed[{c.word()}-{c.number(99)}] PASSED "
        f"[ {c.number(99)}%]\n"
        f"tests/unit/test_auth.py:{c.number(999)}: AssertionError: token mismatch: 'abc' != None\n"
        f"E   assert Token(kind='identifier', key=Key.ENTER_{c.number(9)}) == Token(...)\n"
        f'  File "/usr/lib/python3.11/site-packages/{c.word()}/auth.py", line {c.number(999)}\n'
        f"    client = Client(password=settings.DB_PASSWORD_2, auth=HTTPBasicAuth(u))\n"
        f"===== {c.number(900)} passed, pass: {c.number(10**8)} in 9.87s =====\n"
        f"total_tokens: {c.number(10**9)} max_tokens={10**8} tokens/s: 123.456789\n"
        f"Password: required  password: incorrect  Token expired: token_expires_in=3600.000000\n"
    )


def _docker(c: _Chance) -> str:
    digest = c.hexadecimal(64)
    return (
        f"#{c.number(30)} [internal] load metadata for docker.io/library/python:3.11-slim\n"
        f"#{c.number(30)} [auth] library/python:pull token for registry-1.example.io\n"
        f"#{c.number(30)} sha256:{digest} {c.number(50)}.1MB / 50.2MB 1.2s\n"
        f"Pulled docker-pullable://registry.example.io/auth@sha256:{digest}\n"
        f"Pulled docker://nginx:1.25.{c.number(9)}@sha256:{digest}\n"
        f"secret/{c.word()}-config created; SecretName: default-token-{c.hexadecimal(5)}\n"
        f"Cache restored from key: Linux-node-{digest}\n"
        f"RUN --mount=type=secret,id=npmrc curl --token ${{TOKEN}} --password $DB_PASSWORD "
        f"--api-key <your-api-key> -H 'Authorization: Bearer $TOKEN'\n"
        f"password: ${{{{ secrets.PASSWORD }}}} token: *** api_key=xxxxxxxxxxxx secret=***\n"
    )


def _service(c: _Chance) -> str:
    return (
        f"{c.time()} INFO  [{c.word()}-{c.number(9)}] request id={c.uuid()} took={c.number(999)}ms "
        f"path=/api/v1/sessions/{c.uuid()}/tasks status=200\n"
        f'{{"ts":"{c.time()}","level":"info","action":"token_refreshed","taskId":"{c.uuid()}",'
        f'"token_type":"confidential_client","keyId":"{c.hexadecimal(16)}"}}\n'
        f"{c.time()} WARN  Bearer authentication is not configured; basic usage: see the manual\n"
        f"{c.time()} GET http://localhost:{c.number(60000)}/@vite/client 304\n"
        f'WWW-Authenticate: Bearer realm="https://auth.example.io/token",service="registry"\n'
        f"{c.time()} 処理が完了しました：{c.number(10**6)} 件（失敗 {c.number(9)} 件）\n"
        f"expected a line with -----BEGIN RSA PRIVATE KEY----- but found {c.word()} in {c.file()}\n"
        f"-----BEGIN CERTIFICATE-----\n{c.integrity()[7:71]}\n-----END CERTIFICATE-----\n"
        f"ssh-ed25519 {c.integrity()[7:75]} user@host\nRSA key fingerprint: SHA256:"
        f"{c.integrity()[7:50]}\n"
        f'<div class="sk-toggleable__content sk-estimator-doc-link fitted sk-container-1">\n'
        f"go: github.com/{c.word()}/auth v{c.version()} h1:{c.integrity()[7:50]}=\n"
    )


_KINDS: Final = [_pip, _npm, _cargo, _gcc, _git, _pytest, _docker, _service]


def build_log(seed: int, size: int) -> str:
    """Return a log of at least so many bytes, the same for the same seed."""
    chance = _Chance(seed)
    pieces: list[str] = []
    length = 0
    while length < size:
        piece = chance.choice(_KINDS)(chance)
        pieces.append(piece)
        length += len(piece.encode())
    return "".join(pieces)


def random_secret(chance: random.Random, length: int) -> str:
    """Return a secret as programs make them."""
    return "".join(chance.choices(string.ascii_letters + string.digits + "-_+/", k=length))
