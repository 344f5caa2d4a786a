"""Which names say that their value is a secret.

There are two degrees. A variable of the environment is set by somebody who names things on purpose:
any telling word counts. A name in the text of a log is judged more strictly, for a mask too many
makes a log unreadable.
"""

from __future__ import annotations

import functools
import re
from typing import Final


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

_SECRET_WORDS: Final = _set_of(
    "token secret password passwd passphrase passcode pass credential apikey authorization"
)
#: Words are also run together: PGPASSWORD, SSHPASS, AUTHTOKEN.
_SECRET_ENDINGS: Final = (
    "token", "secret", "password", "passwd", "passphrase", "credential", "apikey", "sshpass",
    "accesskey", "privatekey", "secretkey",
)  # fmt: skip
_PASSWORD_ENDINGS: Final = ("password", "passwd", "passphrase", "passcode", "pwd")
#: A "key" is a secret when one of these stands before it.
_KEY_QUALIFIERS: Final = _set_of(
    "api access private secret signing encryption ssh deploy service account storage license "
    "auth master session app application jwt shared webhook host"
)
#: Such keys are named in public: a cache's, a table's, a sort order's.
_PUBLIC_KEYS: Final = _set_of(
    "public gpg primary foreign cache sort partition unique hot index object restore composite "
    "natural group row column idempotency lookup"
)
#: With one of these at its end a name speaks about a secret and does not hold it. (Words are
#: compared without an s at their end.)
_ABOUT: Final = _set_of(
    "file path dir directory url uri endpoint sock socket name type ttl expiry expire timeout "
    "length size count limit enabled enable method mode scheme header host port user username "
    "scope issuer audience provider version algorithm alg region prefix suffix hint policy store "
    "helper command cmd fingerprint format manager authentication required info askpass statu "
    "lifetime age backend plugin module class id field label"
)
#: At the end of a name these say nothing: API_TOKEN_OLD, SECRET_KEY_BASE, PASSWORD_2.
_EMPTY_WORDS: Final = _set_of(
    "value base base64 b64 new old current prod production dev staging test default main ci"
)


def is_secret_name(name: str) -> bool:
    """Return whether a variable, parameter or setting of this name holds a secret."""
    words = _significant_words(name)
    if not words or words[-1] in _ABOUT:
        return False
    if any(_is_secret_word(word) or word.endswith("auth") for word in words):
        return not _is_public_key(words)
    return name.upper() == "MYSQL_PWD" or _is_private_key(words, strict=False)


# The same few names come again and again in a log; this is the slowest thing done about them.
@functools.lru_cache(maxsize=1024)
def is_clearly_secret_name(name: str) -> bool:
    """Return whether a name met in the text of a log holds a secret beyond doubt."""
    words = _significant_words(name.rsplit(".", 1)[-1])
    if not words:
        return False
    last = words[-1]
    return (
        is_password_name(name)
        or (_is_secret_word(last) and last != "pass")
        or last.endswith("auth")
        or _is_private_key(words)
    )  # "pass: 12" is the count of a test run


@functools.lru_cache(maxsize=1024)
def is_password_name(name: str) -> bool:
    """Return whether a name is beyond doubt that of a password, which may be short or a word."""
    words = _significant_words(name.rsplit(".", 1)[-1])
    if not words or name == "PWD":  # a shell's working directory
        return False
    return words[-1].endswith(_PASSWORD_ENDINGS) and words[-1] != "oldpwd"


def _significant_words(name: str) -> list[str]:
    words = [_singular(word.lower()) for word in _WORD.findall(name)]
    while len(words) > 1 and (words[-1].isdigit() or words[-1] in _EMPTY_WORDS):
        words.pop()
    return words


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _is_secret_word(word: str) -> bool:
    return word in _SECRET_WORDS or word.endswith(_SECRET_ENDINGS)


def _is_private_key(words: list[str], *, strict: bool = True) -> bool:
    if words[-1] != "key" or len(words) < 2 or _is_public_key(words):
        return False
    return not strict or words[-2] in _KEY_QUALIFIERS


def _is_public_key(words: list[str]) -> bool:
    return words[-1] == "key" and len(words) > 1 and words[-2] in _PUBLIC_KEYS
