"""Secrets without a known name: tokens, keys and passwords recognised by their pattern.

Every pattern begins with fixed letters, for which the search for it is as fast as one for a word,
and none can go back over what it has read: the time is linear in the text, whatever the text.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

Span = tuple[int, int]

#: The longest private key block: one of RSA with 16384 bits has 12.5 KB, one of PGP 20 KB.
LONGEST_BLOCK: Final = 32 * 1024
#: Within so many bytes of its begin a key block has shown a line of its key.
_BLOCK_HEAD: Final = 400

_BLOCK_BEGIN: Final = re.compile(rb"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----")
_BLOCK_END: Final = re.compile(rb"-----END (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----")
#: Behind the marker: the end of its line, also an escaped one, or the key itself.
_BEHIND_MARKER: Final = re.compile(rb"[ \t\"',|>]*+(?:[\r\n]|\\+[nr]|[A-Za-z0-9+/]{24}|\Z)")
_KEY_LINE: Final = re.compile(rb"[A-Za-z0-9+/]{24,}+")
#: The text ends within the first line of a key.
_CUT_BLOCK: Final = re.compile(rb"(?:\\+[nr]|[\s\"'])*+[A-Za-z0-9+/=]*+\Z")


_RUN: Final = re.compile(rb"[A-Za-z0-9]+")
#: Letters in a row that no word has, and those that few have.
_LONGER_THAN_WORDS: Final = 32
_LONGER_THAN_SHORT_WORDS: Final = 20


def _is_mixed(token: bytes) -> bool:
    """Return whether a token is no word: words of letters and hyphens are names."""
    has_digit = any(48 <= byte <= 57 for byte in token)
    return has_digit and token != token.lower()


def _is_token(token: bytes) -> bool:
    """Return whether a token is none that is made of words, where its begin is beyond doubt."""
    longest = max(map(len, _RUN.findall(token)), default=0)
    has_both_cases = not (token.islower() or token.isupper())
    return _is_random(token) or (longest >= _LONGER_THAN_SHORT_WORDS and has_both_cases)


def _has_digit_and_letter(token: bytes) -> bool:
    return any(48 <= byte <= 57 for byte in token) and not token.isdigit()


def _is_random(token: bytes) -> bool:
    """Return whether a token is none that is made of words, such as the name of a style."""
    longest = max(map(len, _RUN.findall(token)), default=0)
    if longest >= _LONGER_THAN_WORDS:
        return True
    if longest >= _LONGER_THAN_SHORT_WORDS or len(token) == longest:
        return _has_digit_and_letter(token)
    return _is_mixed(token)


def _is_password(password: bytes) -> bool:
    return not password.startswith((b"$", b"{", b"<", b"%")) and password.strip(b"*xX.") != b""


def _is_user_token(user: bytes) -> bool:
    """Return whether the user that a URL names is a token: names are made of words."""
    return _is_password(user) and _is_random(unquote_to_bytes(user))


def _is_basic(encoded: bytes) -> bool:
    """Return whether this decodes to what a basic header holds: a name, a colon, a password."""
    try:
        decoded = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return b":" in decoded and all(byte >= 32 for byte in decoded)


def _is_any(_token: bytes) -> bool:
    return True


#: Group 1 is the secret; without groups the whole is.
_TokenPattern = tuple[re.Pattern[bytes], Callable[[bytes], bool]]

#: What is searched in the text as it is.
_TOKENS: Final[tuple[_TokenPattern, ...]] = (
    # Slack
    (
        re.compile(rb"xox[a-z](?:\.xox[a-z])?-[\w-]{10,}+|xapp-[\w-]{20,}+"),
        _has_digit_and_letter,
    ),
    # What is behind the address of a webhook at Slack or Discord
    (re.compile(rb"hooks(?:\.slack\.com/[a-z]{1,12}|/\d++)/([\w/-]{30,}+)"), _is_any),
    # Passwords in URLs. A digest of an image stands behind an @ too.
    (re.compile(rb"://[^\s:/@\"'<>\\]*+:([^\s/?\"'<>\\]+)@(?!sha\d)"), _is_password),
    # Tokens in the place of a user, with or without a password. Users of ssh are names.
    (
        re.compile(
            rb"://(?:(?<=http://)|(?<=https://))([^\s:/?#@\"'<>\\]{20,}+)"
            rb"(?::[^\s/?#@\"'<>\\]*+)?@"
        ),
        _is_user_token,
    ),
)
#: Shapes that are also found within words and in base64: they count at the begin of a word.
_WORD_TOKENS: Final[tuple[_TokenPattern, ...]] = (
    # AWS, Google, Atlassian, Artifactory, age: together, for each is read for in all of the text.
    (
        re.compile(
            rb"A(?:(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}(?![A-Z0-9])|Iza[\w-]{35}(?![\w+/-])"
            rb"|T[AC]TT3[\w-]{50,}+(?:=\w++)?|KCp\d[A-Za-z0-9]{50,}+|GE-SECRET-KEY-1[A-Z0-9]{40,}+)"
        ),
        _is_any,
    ),
)

#: With what services begin their tokens: GitHub, npm, Hugging Face, Replicate, DigitalOcean,
#: Stripe, Shopify, SendGrid, Vault, Docker Hub, Groq, xAI, Perplexity, Notion, Linear, Grafana,
#: Sentry, PlanetScale, RubyGems, Figma, Supabase, Pulumi, Doppler, New Relic, Google, Fly.io,
#: Postman, Buildkite, Square, Terraform, GitLab, PyPI, Google, keruta, OpenAI and Anthropic.
_PREFIXES: Final = (
    *(b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"npm_", b"hf_", b"r8_"),
    *(b"dop_v1_", b"doo_v1_", b"dor_v1_", b"sk_live_", b"sk_test_", b"rk_live_", b"rk_test_"),
    *(b"whsec_", b"shpat_", b"shpca_", b"shppa_", b"shpss_", b"SG.", b"hvs.", b"hvb.", b"hvr."),
    *(b"dckr_pat_", b"dckr_oat_", b"gsk_", b"xai-", b"pplx-", b"ntn_", b"lin_api_", b"lin_oauth_"),
    *(b"glsa_", b"glc_", b"sntrys_", b"sntryu_", b"pscale_tkn_", b"pscale_pw_", b"pscale_oauth_"),
    *(b"rubygems_", b"figd_", b"sbp_", b"sb_secret_", b"pul-", b"dp.pt.", b"dp.st.", b"dp.ct."),
    *(b"dp.sa.", b"NRAK-", b"GOCSPX-", b"fm1_", b"fm2_", b"PMAK-", b"bkua_", b"sq0csp-"),
    *(b"atlasv1.", b"glpat-", b"gldt-", b"glrt-", b"glrtr-", b"glcbt-", b"glptt-", b"glft-"),
    *(b"glsoat-", b"glimt-", b"glagent-", b"gloas-", b"glffct-", b"glwt-", b"pypi-", b"ya29."),
    *(b"keruta_tok_", b"sk-"),
)
#: Styles and classes have such names too.
_IN_WORDS: Final = b"sk-"


def _behind(prefixes: tuple[bytes, ...]) -> bytes:
    """Return a pattern that holds behind each of the prefixes; one look has one width."""
    widths = sorted({len(prefix) for prefix in prefixes})
    looks = (b"|".join(re.escape(each) for each in prefixes if len(each) == w) for w in widths)
    return b"|".join(b"(?<=%b)" % look for look in looks)


#: The last character of a prefix, and what follows: a search for each of these characters is much
#: faster than one for each prefix, and than one for any of the three.
_PREFIXED: Final = tuple(
    re.compile(
        re.escape(mark)
        + rb"(?<=\w.)(?=[\w-]{20})(?:"
        + _behind(tuple(each for each in _PREFIXES if each.endswith(mark)))
        + rb")([\w-]++(?:[.=][\w-]{2,}+)*+)"
    )
    for mark in (b"_", b"-", b".")
)
#: What stands before a word, if it is a letter: an escaped character, or a colour of a terminal.
_BEFORE_WORD: Final = re.compile(
    rb"(?:\\[a-z]|\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|%[0-9a-f]{2}|\x1b\[[0-9;]{0,8}m)\Z", re.IGNORECASE
)
#: The three parts of a JWT. What begins like one and is none is read to its end at once.
_JWT: Final = re.compile(rb"eyJ[\w-]*+((?<=[\w-]{11})\.[\w-]{8,}+\.[\w-]*+)?")

#: What is searched in the text in small letters.
_HEADERS: Final[tuple[_TokenPattern, ...]] = (
    (
        re.compile(
            rb"authorization[\"'\\]{0,4}[ \t]{0,4}[:=][ \t]{0,4}[\"'\\]{0,4}"
            rb"(?:bearer|basic|token|apikey|bot)[ \t]{1,4}([^\s\"',;\\]++)"
        ),
        _is_password,
    ),
    (
        re.compile(
            rb"cookie[\"'\\]{0,4}[ \t]{0,4}[:=][ \t]{0,4}[\"'\\]{0,4}[\w.-]{1,60}+="
            rb"([^\s\"'\\][^\r\n\"'\\]*+)"
        ),
        _is_password,
    ),
    (re.compile(rb"bearer[ \t]{1,4}([\w.~+/=-]{20,}+)"), _has_digit_and_letter),
    (re.compile(rb"basic[ \t]{1,4}([a-z0-9+/]{8,}+={0,2})"), _is_basic),
)


def spans(data: bytes, lowered: bytes) -> Iterator[Span]:
    """Yield the spans that match a pattern, in no order; ``lowered`` is ``data.lower()``."""
    yield from _matches(_TOKENS, data, data)
    yield from _matches(_HEADERS, data, lowered)
    for start, end in _matches(_WORD_TOKENS, data, data):
        if _begins_word(data, start):
            yield start, end
    yield from _prefixed(data)
    yield from _jwts(data)
    yield from _key_blocks(data)


def _matches(patterns: tuple[_TokenPattern, ...], data: bytes, searched: bytes) -> Iterator[Span]:
    for pattern, is_secret in patterns:
        for found in pattern.finditer(searched):
            start, end = found.span(pattern.groups)
            if is_secret(data[start:end]):
                yield start, end


def _prefixed(data: bytes) -> Iterator[Span]:
    for pattern in _PREFIXED:
        for found in pattern.finditer(data):
            token = found.start(1)
            prefix = next(each for each in _PREFIXES if data.endswith(each, 0, token))
            is_secret = _is_random if prefix == _IN_WORDS else _is_token
            start = token - len(prefix)
            if is_secret(found[1]) and _begins_word(data, start):
                yield start, found.end()


def _begins_word(data: bytes, start: int) -> bool:
    before = data[max(0, start - 12) : start]
    return not before[-1:].isalnum() or _BEFORE_WORD.search(before) is not None


def _jwts(data: bytes) -> Iterator[Span]:
    for found in _JWT.finditer(data):
        if found[1] is not None:
            yield found.span()


def _key_blocks(data: bytes) -> Iterator[Span]:
    """Yield private key blocks; one without an end reaches to the end of the text."""
    position = 0
    while begin := _BLOCK_BEGIN.search(data, position):
        position = begin.end()
        if _begins_key(data, position):
            end = _BLOCK_END.search(data, position, begin.start() + LONGEST_BLOCK)
            position = end.end() if end else min(len(data), begin.start() + LONGEST_BLOCK)
            yield begin.start(), position


def _begins_key(data: bytes, position: int) -> bool:
    """Return whether a key follows: the marker alone is also found in messages about keys."""
    if _BEHIND_MARKER.match(data, position) is None:
        return False
    limit = position + _BLOCK_HEAD
    if _BLOCK_END.search(data, position, limit) or _CUT_BLOCK.match(data, position):
        return True
    next_marker = data.find(b"-----", position, limit)
    lines = _KEY_LINE.findall(data, position, limit if next_marker < 0 else next_marker)
    return any(_is_mixed(line) for line in lines)
