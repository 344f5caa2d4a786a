"""The forms in which a known secret turns up: encoded, escaped, quoted."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, quote_plus

_PERCENT: Final = re.compile(r"%[0-9A-F]{2}")
_UNICODE_ESCAPE: Final = re.compile(r"\\u[0-9a-f]{4}")
#: What writers of JSON escape beyond need, so that it may stand in HTML: Go and Rails; Jinja; Gson;
#: .NET; PHP with all of its flags.
_HTML_SAFE: Final = tuple(map(frozenset, ("&<>", "&<>'", "&<>'=", "&<>'+`\"", "&<>'\"")))
_NOT_SHELL_SAFE: Final = re.compile(r"[^\w@%+=:,./-]")
_NOT_DOUBLE_QUOTE_SAFE: Final = re.compile(r'[\\"$`!]')

#: Bytes in base64 that are encoded once more; what is shorter slows the search for all.
_LONG: Final = 12


def forms(value: str) -> frozenset[bytes]:
    """Return a secret in all the forms that are looked for, as UTF-8 and without line breaks.

    Line breaks are left out because the search leaves them out of the text: so a form is found
    when something has wrapped it, as base64 does every 76 characters.
    """
    texts = {value, repr(value)[1:-1]}
    texts.update(_html_forms(value))
    texts.update(_url_forms(value))
    texts.update(_json_forms(value))
    texts.update(_shell_forms(value))
    found = {text.encode("utf-8", "surrogatepass") for text in texts}
    raw = value.encode("utf-8", "surrogatepass")
    found.update(_binary_forms(raw))
    return frozenset(form.translate(None, b"\r\n") for form in found)


def _url_forms(value: str) -> Iterator[str]:
    # The third set is what encodeURIComponent of JavaScript leaves as it is.
    raw = value.encode("utf-8", "surrogatepass")
    for text in (quote(raw), quote(raw, safe=""), quote(raw, safe="!~*'()"), quote_plus(raw)):
        yield text
        yield _PERCENT.sub(lambda found: found[0].lower(), text)
        yield quote(text, safe="")  # a parameter of an address that is a parameter itself


def _html_forms(value: str) -> Iterator[str]:
    for with_quotes in (True, False):
        yield html.escape(value, quote=with_quotes)
    plain = html.escape(value, quote=False)
    for double, single in (("&#34;", "&#39;"), ("&quot;", "&#39;"), ("&quot;", "&apos;")):
        yield plain.replace('"', double).replace("'", single)


def _json_forms(value: str) -> Iterator[str]:
    for plain_unicode in (True, False):
        plain = json.dumps(value, ensure_ascii=not plain_unicode)[1:-1]
        for once in {plain, *(_html_safe(value, plain, escaped) for escaped in _HTML_SAFE)}:
            # JSON in JSON: a logger that writes JSON lines about a request whose body is JSON.
            twice = json.dumps(once, ensure_ascii=not plain_unicode)[1:-1]
            for text in (once, once.replace("/", "\\/"), twice):
                yield text
                yield _UNICODE_ESCAPE.sub(lambda found: "\\u" + found[0][2:].upper(), text)


def _html_safe(value: str, plain: str, escaped: frozenset[str]) -> str:
    """Return the text as JSON with more characters escaped than JSON asks for."""
    if escaped.isdisjoint(value):
        return plain
    if '"' in escaped:
        plain = plain.replace('\\"', '"')
    return "".join(f"\\u{ord(each):04x}" if each in escaped else each for each in plain)


def _shell_forms(value: str) -> Iterator[str]:
    yield shlex.quote(value).removeprefix("'").removesuffix("'")
    yield value.replace("'", "'\\''")
    yield _NOT_SHELL_SAFE.sub(lambda found: "\\" + found[0], value)
    yield _NOT_DOUBLE_QUOTE_SAFE.sub(lambda found: "\\" + found[0], value)


def _binary_forms(raw: bytes) -> Iterator[bytes]:
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    # `echo "$SECRET" | base64` encodes a line break too.
    for text in (raw, raw + b"\n"):
        for encoded in (base64.b64encode(text), base64.urlsafe_b64encode(text)):
            yield encoded
            yield encoded.rstrip(b"=")
            yield quote(encoded, safe="").encode()
    for before in range(3):
        core = _base64_core(raw, before)
        yield core
        yield core.translate(bytes.maketrans(b"+/", b"-_"))
        yield quote(core, safe="").encode()
        if len(core) >= _LONG:
            # As in a Secret of Kubernetes that holds credentials of a registry.
            yield from (_base64_core(core, outer) for outer in range(3))


def _base64_core(raw: bytes, before: int) -> bytes:
    """Return the base64 characters that depend on nothing but the secret.

    ``before`` is the number of bytes, modulo 3, that stand before it in the encoded text.
    """
    encoded = base64.b64encode(bytes(before) + raw)
    return encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
