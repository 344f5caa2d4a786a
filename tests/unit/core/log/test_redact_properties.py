"""What holds for any secret, in any of eight encodings, in any text, cut anywhere."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

from hypothesis import given
from hypothesis import strategies as st

from keruta_agent.core.redaction import values
from keruta_agent.core.redaction.redactor import MASK, Redactor

ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "url": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "json": lambda text: json.dumps(text)[1:-1],
    "shell": lambda text: shlex.quote(text).removeprefix("'").removesuffix("'"),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "hex": lambda text: text.encode().hex(),
}

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="*"), max_size=60)
SECRETS = (
    st.text(
        st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="*"),
        min_size=6,
        max_size=40,
    )
    .map(str.strip)
    .filter(values.worth_masking)
    .filter(lambda text: not text.startswith(("{", "[")))
)
ENCODING = st.sampled_from(sorted(ENCODINGS))


@given(
    secrets=st.lists(SECRETS, min_size=1, max_size=4), around=st.tuples(TEXT, TEXT), name=ENCODING
)
def test_encoded_secret_never_appears(
    secrets: list[str], around: tuple[str, str], name: str
) -> None:
    redactor = Redactor(secrets)
    for secret in secrets:
        encoded = ENCODINGS[name](secret)
        redacted = redactor.redact(around[0] + encoded + around[1])
        assert encoded not in redacted
        assert secret not in redacted
        assert MASK in redacted


@given(secret=SECRETS, around=st.tuples(TEXT, TEXT), name=ENCODING, data=st.data())
def test_secret_cut_anywhere_is_masked_on_both_sides(
    secret: str, around: tuple[str, str], name: str, data: st.DataObject
) -> None:
    redactor = Redactor([secret])
    encoded = ENCODINGS[name](secret)
    start = len(around[0])
    text = around[0] + encoded + around[1]
    cut = data.draw(st.integers(start, start + len(encoded)))
    left, right = text[:cut], text[cut:]
    shipped = redactor.redact_window("", left, right) + redactor.redact_window(left, right, "")
    assert encoded not in shipped
    assert secret not in shipped
    whole = redactor.redact(text)
    assert shipped.replace(MASK, "") == whole.replace(MASK, "")


@given(secrets=st.lists(SECRETS, max_size=4), around=st.tuples(TEXT, TEXT), name=ENCODING)
def test_redaction_is_idempotent(secrets: list[str], around: tuple[str, str], name: str) -> None:
    redactor = Redactor(secrets)
    text = around[0] + "\n".join(ENCODINGS[name](secret) for secret in secrets) + around[1]
    once = redactor.redact(text)
    assert redactor.redact(once) == once


@given(
    text=st.text("abefst/=:%\\\"'\r\n日本é🎌0123", max_size=300),
    secret=st.text("qQxX789-_+", min_size=6, max_size=12).filter(values.worth_masking),
)
def test_text_of_other_characters_is_unchanged(text: str, secret: str) -> None:
    assert Redactor([secret]).redact(text) == text


@given(text=st.text(max_size=200), secret=SECRETS)
def test_spans_are_sorted_apart_and_inside_the_text(text: str, secret: str) -> None:
    mixed = text[:100] + secret + text[100:]
    spans = Redactor([secret]).spans(mixed)
    borders = [border for span in spans for border in span]
    assert borders == sorted(set(borders))
    assert borders
    assert borders[-1] <= len(mixed)
