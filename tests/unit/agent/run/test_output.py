"""Pieces of growing files: whole lines, nothing twice, nothing lost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keruta_agent.agent.run import output, screen
from keruta_agent.agent.run.output import LONGEST_LINE, PIECE_BYTES, OutputFiles, read_lines, tail
from keruta_agent.agent.run.screen import render


class Growing:
    def __init__(self, directory: Path, *, piece_bytes: int = PIECE_BYTES) -> None:
        self.directory = directory
        for stream in ("stdout", "stderr"):
            (directory / stream).touch()
        self.files = OutputFiles(directory, {"stdout": 0, "stderr": 0}, piece_bytes=piece_bytes)

    def write(self, data: bytes, stream: str = "stdout") -> None:
        with (self.directory / stream).open("ab") as file:
            file.write(data)

    def pieces(self, *, final: bool = False) -> list[tuple[str, int, int]]:
        return list(self.files.new_pieces(final=final))


@pytest.fixture
def growing(tmp_path: Path):
    growing = Growing(tmp_path)
    yield growing
    growing.files.close()


def test_unfinished_line_waits_for_its_end(growing):
    growing.write(b"one\ntw")
    assert growing.pieces() == [("stdout", 0, 4)]
    assert growing.pieces() == []
    growing.write(b"o\n")
    assert growing.pieces() == [("stdout", 4, 8)]


def test_unfinished_line_is_taken_at_the_end(growing):
    growing.write(b"no newline")
    assert growing.pieces() == []
    assert growing.pieces(final=True) == [("stdout", 0, 10)]


def test_streams_are_apart(growing):
    growing.write(b"out\n")
    growing.write(b"err\n", "stderr")
    assert growing.pieces() == [("stdout", 0, 4), ("stderr", 0, 4)]


def test_piece_has_a_limit(growing):
    growing.write(b"x" * 99 + b"\n")
    growing.write((b"y" * 99 + b"\n") * (3 * PIECE_BYTES // 100))
    pieces = growing.pieces()
    assert len(pieces) >= 3
    assert all(stop - start <= PIECE_BYTES for _, start, stop in pieces)
    assert all(stop % 100 == 0 for _, _, stop in pieces)


def test_endless_line_is_cut_and_nothing_of_it_is_lost(growing):
    growing.write(b"z" * (3 * LONGEST_LINE))
    pieces = growing.pieces(final=True)
    assert [stop - start for _, start, stop in pieces] == [LONGEST_LINE] * 3


def test_cut_does_not_tear_a_character(growing, tmp_path):
    text = "a" + "日" * LONGEST_LINE
    growing.write(text.encode())
    pieces = growing.pieces(final=True)
    read = "".join(
        line for _, start, stop in pieces for line in read_lines(tmp_path / "stdout", start, stop)
    )
    assert read == text


def test_progress_bar_without_an_end_is_cut_where_it_is_rewritten(growing):
    growing.write(b"".join(b"%07d\r" % number for number in range(LONGEST_LINE // 4)))
    pieces = growing.pieces()
    assert [stop % 8 for _, _, stop in pieces] == [0]
    assert LONGEST_LINE - 8 <= pieces[0][2] <= LONGEST_LINE


def lines_by_definition(data: bytes, longest: int) -> list[tuple[str, bool]]:
    """Cut a whole output into its lines, each with whether the next one goes on with it."""
    found = []
    for line in data.split(b"\n"):
        while len(line) > longest:
            rewritten = re.match(rb"(?s).*\r(?=[^\r\n])", line[: longest + 1])
            if rewritten:
                line = line[rewritten.end() :]
                continue
            cut = longest
            while line[cut] & 0xC0 == 0x80 and longest - cut < 3:
                cut -= 1
            if line[cut] & 0xC0 == 0x80:
                cut = longest
            found.append((render(line[:cut].decode("utf-8", "replace")), True))
            line = line[cut:]
        found.append((render(line.decode("utf-8", "replace")), False))
    if data.endswith(b"\n") or not data:
        found.pop()
    return found


OUTPUT = st.lists(
    st.binary(max_size=20)
    | st.sampled_from(
        [b"\n", b"\r", b"\r\n", b"\n\n", b"abcdefgh" * 3, "日本語".encode(), b"\x1b[31m"]
    ),
    max_size=25,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=OUTPUT, piece_bytes=st.sampled_from([1, 8, 64]))
def test_lines_are_the_same_however_the_output_came(tmp_path_factory, chunks, piece_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "LONGEST_LINE", 16)
        growing = Growing(tmp_path_factory.mktemp("run"), piece_bytes=piece_bytes)
        pieces = []
        for chunk in chunks:
            growing.write(chunk)
            pieces += growing.pieces()
        pieces += growing.pieces(final=True)
        growing.files.close()
    data = b"".join(chunks)
    found = []
    for _, start, stop in pieces:
        piece, after = data[start:stop], data[stop:]
        if output.is_superseded(piece, after):
            continue
        lines = screen.render_lines(piece.decode("utf-8", "replace").removesuffix("\n"))
        found += [(line, False) for line in lines]
        if after and not piece.endswith(b"\n"):
            found[-1] = (found[-1][0], True)
    assert found == lines_by_definition(data, 16)


def test_follower_that_takes_over_goes_on_at_the_stored_offset(growing, tmp_path):
    growing.write(b"first\nsecond\n")
    files = OutputFiles(tmp_path, {"stdout": 6})
    assert list(files.new_pieces()) == [("stdout", 6, 13)]
    files.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunks=st.lists(
        st.binary(max_size=40) | st.sampled_from([b"\n", b"\n\n", b"\r\n", "日本\n".encode()]),
        max_size=12,
    )
)
def test_pieces_are_the_file_in_order_whatever_is_written(tmp_path_factory, chunks):
    growing = Growing(tmp_path_factory.mktemp("run"))
    pieces = []
    for chunk in chunks:
        growing.write(chunk)
        pieces += growing.pieces()
    pieces += growing.pieces(final=True)
    growing.files.close()
    data = b"".join(chunks)
    assert [start for _, start, _ in pieces] == [0, *(stop for _, _, stop in pieces)][: len(pieces)]
    assert (pieces[-1][2] if pieces else 0) == len(data)
    for _, _, stop in pieces[:-1]:
        assert data[stop - 1 : stop] == b"\n"


def test_lines_of_a_piece_keep_blank_ones_and_replace_what_is_not_utf8(tmp_path):
    (tmp_path / "stdout").write_bytes(b"a\n\n\xff\r\nlast")
    assert read_lines(tmp_path / "stdout", 0, 100) == ["a", "", "\ufffd\r", "last"]


def test_tail_returns_the_last_lines_and_no_torn_one(tmp_path):
    path = tmp_path / "stdout"
    path.write_text("".join(f"line {n}\n" for n in range(1000)))
    assert tail(path, 2) == ["line 998", "line 999"]
    assert tail(path, 500, most_bytes=20) == ["line 998", "line 999"]
    assert tail(tmp_path / "missing", 3) == []


def test_longest_line_fits_into_a_piece():
    assert output.LONGEST_LINE < output.PIECE_BYTES
