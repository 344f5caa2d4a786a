"""The redactor as its callers see it: ranges, windows of a file, JSON-like values."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from keruta_agent.core.redaction.redactor import MASK, Redactor

SECRET = "kW7-pq/Zr3+xY"
OTHER = "f00dBeef-99-zz"
KEY_BLOCK = (
    "-----BEGIN RSA PRIVATE KEY-----\n"
    + "MIIEowIBAAKCAQEA7bq3Zx9Yw1Kf5Qm8Rt2Vu4Xs6Ao0Bp\n" * 4
    + "-----END RSA PRIVATE KEY-----"
)


@pytest.fixture
def redactor() -> Redactor:
    return Redactor([SECRET, OTHER])


def test_redact_masks_each_occurrence(redactor: Redactor) -> None:
    assert redactor.redact(f"{SECRET} a{SECRET}b\n{OTHER}") == "*** a***b\n***"


def test_redact_masks_touching_secrets_as_one(redactor: Redactor) -> None:
    assert redactor.redact(SECRET + OTHER) == MASK


def test_spans_count_characters_not_bytes(redactor: Redactor) -> None:
    text = f"日本語🎌 {SECRET} 終わり {OTHER}"
    assert [text[start:end] for start, end in redactor.spans(text)] == [SECRET, OTHER]


def test_spans_of_lone_surrogates_are_right(redactor: Redactor) -> None:
    text = f"\udce3\udc81 {SECRET}"
    assert redactor.redact(text) == "\udce3\udc81 ***"


def test_secret_wrapped_over_lines_keeps_the_lines(redactor: Redactor) -> None:
    assert redactor.redact(f"{SECRET[:5]}\r\n{SECRET[5:]} end\n") == "***\r\n*** end\n"


def test_overlapping_secrets_are_masked_as_one() -> None:
    redactor = Redactor(["abcdef-123456", "123456-uvwxyz"])
    assert redactor.redact("<abcdef-123456-uvwxyz>") == "<***>"


def test_empty_redactor_still_knows_shapes() -> None:
    assert Redactor().redact("token: ghp_" + "a1B2" * 9) == "token: ***"


def test_with_secrets_returns_a_new_one(redactor: Redactor) -> None:
    more = redactor.with_secrets(["another-secret-9"])
    assert redactor.redact("another-secret-9") == "another-secret-9"
    assert more.redact(f"another-secret-9 {SECRET}") == "*** ***"


def test_repr_shows_no_secret(redactor: Redactor) -> None:
    assert SECRET not in repr(redactor)
    assert OTHER not in str(redactor)


def test_window_masks_both_sides_of_a_border(redactor: Redactor) -> None:
    for cut in range(1, len(SECRET)):
        left, right = f"a {SECRET[:cut]}", f"{SECRET[cut:]} b"
        assert redactor.redact_window("", left, right) == "a ***"
        assert redactor.redact_window(left, right, "") == "*** b"


def test_window_inside_a_secret_is_masked_whole(redactor: Redactor) -> None:
    assert redactor.redact_window(SECRET[:3], SECRET[3:6], SECRET[6:]) == MASK


def test_window_of_nothing_is_nothing(redactor: Redactor) -> None:
    assert redactor.redact_window(SECRET[:3], "", SECRET[3:]) == ""


def test_window_masks_a_key_block_that_has_begun_before() -> None:
    redactor = Redactor()
    cut = KEY_BLOCK.index("\n", 60)
    before, rest = KEY_BLOCK[:cut], KEY_BLOCK[cut:]
    assert redactor.redact_window(before, rest + "\ndone", "") == "\n***" * 4 + "\ndone"


def test_window_masks_a_key_block_without_end_to_the_end_of_the_text() -> None:
    open_block = KEY_BLOCK[: KEY_BLOCK.index("-----END")]
    redacted = Redactor().redact_window(open_block, "c3VwZXI=\nab", "")
    assert redacted == "***\n***"


def test_key_block_without_end_does_not_hide_a_whole_log() -> None:
    log = KEY_BLOCK[: KEY_BLOCK.index("-----END")] + "あ line of output\n" * 10_000
    redactor = Redactor()
    assert redactor.redact(log).endswith("あ line of output\n" * 8_000)
    assert len(log) > redactor.reach


def test_reach_covers_the_longest_secret() -> None:
    secret = "".join(chr(0x4E00 + number % 5000) for number in range(20_000))
    assert Redactor([secret]).reach >= len(secret)


def test_redact_value_masks_strings_and_keeps_keys(redactor: Redactor) -> None:
    value = {SECRET: [SECRET, 1, None, True, 2.5, {"a": (f"x{OTHER}",)}], "n": 7}
    assert redactor.redact_value(value) == {
        SECRET: [MASK, 1, None, True, 2.5, {"a": ["x***"]}],
        "n": 7,
    }


def test_redact_value_judges_by_the_key() -> None:
    value = {"apiToken": "abcd-1234-efgh", "token_type": "confidential-1", "password": "${PW}"}
    assert Redactor().redact_value(value) == {
        "apiToken": MASK,
        "token_type": "confidential-1",
        "password": "${PW}",
    }


def test_redact_object_masks_names_too(redactor: Redactor) -> None:
    assert redactor.redact_object({SECRET: 1, "a": {f"x{OTHER}": "y"}}) == {
        MASK: 1,
        "a": {"x***": "y"},
    }


@pytest.mark.parametrize("cut", ["a9Zk=3Lm+q7", "QWxhZGRpbjpv==", "=Tr0ub4dor"])
def test_secret_that_was_cut_into_a_name_and_a_value_is_masked_in_both(cut: str) -> None:
    name, _, value = f"{cut}=1".partition("=")
    redacted = Redactor([cut]).redact_object({name: value})
    assert not [part for part in cut.split("=") if part and part in repr(redacted)]


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "hunter2"},
        {"password": "correct horse battery"},
        {"pwd": 48151623},
        {"nested": [{"db_password": "x y"}]},
        {"token": "abc123"},
        {"args": ["login", "--password", "hunter2"]},
    ],
)
def test_field_of_a_secret_name_is_masked_however_short(fields: dict[str, Any]) -> None:
    redacted = repr(Redactor().redact_object(fields))
    assert MASK in redacted
    assert not re.search(r"hunter2|correct|48151623|x y|abc123", redacted)


@pytest.mark.parametrize(
    "fields",
    [
        {"password": None, "token": "", "pwd": True},
        {"password": "${DB_PASSWORD}", "secret": "<redacted>", "passwd": "null"},
        {"token": "identifier", "tokens": 128000, "keyboard": "jp106", "PWD": "/srv/app"},
        {
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "メッセージ": "パスワードが違います",
        },
        {"args": ["--token-type", "bearer", "--verbose", "run-17"]},
    ],
)
def test_field_that_holds_no_secret_stays(fields: dict[str, Any]) -> None:
    assert Redactor().redact_object(fields) == fields


def test_redact_value_masks_secrets_that_are_no_strings() -> None:
    redactor = Redactor(["9182736455", "pa-th-77-xyz"])
    assert redactor.redact_value([9182736455, Path("/tmp/pa-th-77-xyz")]) == [MASK, "/tmp/***"]


def test_redact_value_ends_at_a_depth() -> None:
    value: object = SECRET
    for _ in range(5000):
        value = [value]
    redacted = repr(Redactor([SECRET]).redact_value(value))
    assert SECRET not in redacted
    assert MASK in redacted


def test_from_environment_takes_secret_names_and_url_passwords() -> None:
    redactor = Redactor.from_environment(
        {"GITHUB_TOKEN": "tok-abc-123", "HOME": "/home/somebody-1", "EDITOR": "some-editor-1"},
        {"DATABASE_URL": "postgres://me:s3cr%2Fet-pw@db/x", "DB_PASSWORD": "hunter22"},
        also=["added-by-hand-1"],
    )
    text = "tok-abc-123 /home/somebody-1 some-editor-1 s3cr%2Fet-pw s3cr/et-pw hunter22"
    assert redactor.redact(text) == "*** /home/somebody-1 some-editor-1 *** *** ***"
    assert redactor.redact("added-by-hand-1") == MASK


def test_from_environment_leaves_common_values_alone() -> None:
    redactor = Redactor.from_environment({"DEPLOY_TOKEN": "DEPLOY", "SOME_SECRET": "true"})
    assert redactor.redact("true DEPLOY to master") == "true DEPLOY to master"


@pytest.mark.parametrize(
    "text",
    [
        "a9Zk\x1b[31m=3Lm+q7\x1b[0m",
        "".join(f"{each}\x1b[K" for each in "a9Zk=3Lm+q7"),
        '[0.1, "o", "a9Zk\\u001b[1;32m=3Lm+q7\\r\\n"]',
        "\x1b[33mpassword\x1b[0m=\x1b[32mhunter2xyz9\x1b[0m",
        '\x1b[34;1m"token"\x1b[0m\x1b[1;39m:\x1b[0m \x1b[32m"hunter2xyz9"\x1b[0m',
    ],
)
def test_colours_in_a_secret_hide_it_not(text: str) -> None:
    shown = Redactor(["a9Zk=3Lm+q7"]).redact(text)

    assert MASK in shown
    for part in ("3Lm", "q7", "hunter2xyz9"):
        assert part not in shown


def test_value_beside_its_name_is_masked() -> None:
    fields = {"env": [{"name": "DB_PASSWORD", "value": "abc"}, {"name": "LEVEL", "value": "abc"}]}

    shown = Redactor().redact_value(fields)

    assert shown == {
        "env": [{"name": "DB_PASSWORD", "value": MASK}, {"name": "LEVEL", "value": "abc"}]
    }


def test_text_around_colours_stays() -> None:
    text = "\x1b[32mok\x1b[0m 12 of 12 \u901a\u904e \x1b[1mpassword\x1b[0m: required\x1b["

    assert Redactor(["a9Zk=3Lm+q7"]).redact(text) == text


def test_secret_that_was_encoded_twice_is_masked() -> None:
    secret = "S3cr&t<p>w/42+x="
    once = base64.b64encode(f"user:{secret}".encode())
    twice = base64.b64encode(b'{"auth": "' + once + b'"}').decode()
    address = "https://login.test/?next=" + quote("https://a.test/?p=" + quote(secret, safe=""))

    shown = Redactor([secret]).redact(f"{twice} {address}")

    assert shown.count(MASK) == 2
    assert quote(quote(secret, safe=""), safe="") not in shown
