"""The kind of a file: by content, then by name, then text or not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keruta_agent.agent.run.artifacts import media


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.txt", b"hello\n", "text/plain"),
        ("a.csv", b"a,b\n1,2\n", "text/csv"),
        ("README", "日本語の説明".encode() * 2000, "text/plain"),
        ("a.md", b"# title\n", "text/markdown"),
        ("empty", b"", "text/plain"),
        ("empty.pdf", b"", "application/pdf"),
        ("report", b"%PDF-1.7\n%\xe2\xe3\n", "application/pdf"),
        ("report.bin", b"%PDF-1.7\n", "application/pdf"),
        ("picture.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
        ("a.docx", b"PK\x03\x04\x14\0\6\0", "application/vnd.openxmlformats-officedocument"),
        ("a.zip", b"PK\x03\x04\x14\0\0\0", "application/zip"),
        ("a.tar.gz", b"\x1f\x8b\x08\0\0\0\0\0", "gzip"),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'>", "image/svg+xml"),
        ("a.json", b'{"a": 1}', "application/json"),
        ("BMI", b"BM is not a picture here\n", "text/plain"),
        ("noise", b"\0\1\2\xff\xfe\xfd\0\0", "application/octet-stream"),
    ],
)
def test_kind_of_a_file(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    file = tmp_path / "f"
    file.write_bytes(content)
    descriptor = os.open(file, os.O_RDONLY)
    try:
        assert kind in media.content_type(descriptor, f"dir.png/{name}")
    finally:
        os.close(descriptor)
