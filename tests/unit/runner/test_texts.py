"""Encodings that a file keeps."""

from __future__ import annotations

import pytest

from keruta_agent.runner.changes.texts import FileText, NotTextError, decode

JAPANESE = "設定を読み込む。日本語のコメント。\nx = 1\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "euc_jp", "cp932", "utf-16"])
def test_text_is_written_as_it_was(encoding: str) -> None:
    data = JAPANESE.encode(encoding)
    found = decode(data)
    assert found.text == JAPANESE
    assert found.changed(JAPANESE) == data
    assert found.changed("変更\n").decode(encoding) == "変更\n"


@pytest.mark.parametrize("data", [b"\x7fELF\0\0", b"\xff\xfea\xd8", b"\0"])
def test_what_is_no_text_is_refused(data: bytes) -> None:
    with pytest.raises(NotTextError):
        decode(data)


def test_character_that_the_encoding_lacks_is_named() -> None:
    with pytest.raises(NotTextError, match="cp932, has no '😀'"):
        decode("漢字テスト".encode("cp932")).changed("😀")


@pytest.mark.parametrize("text", ["\ud800", "a\0b"])
def test_what_no_text_holds_is_refused_from_a_model(text: str) -> None:
    with pytest.raises(NotTextError):
        FileText(text="").changed(text)


def test_whole_text_gets_the_line_ends_of_its_file() -> None:
    assert decode(b"a\r\nb\r\n").with_own_line_ends("x\ny\n") == "x\r\ny\r\n"
    assert decode(b"a\nb\n").with_own_line_ends("x\r\n") == "x\r\n"
