"""No character of a name or a line is hidden, and none hides others."""

from __future__ import annotations

import pytest

from keruta_agent.http.pages.visible import size, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("report\u202efdp.exe", "report⟨U+202E⟩fdp.exe"),
        ("a\x1b[31mb\x00\x7f", "a⟨U+001B⟩[31mb⟨U+0000⟩⟨U+007F⟩"),
        ("over\rwritten", "over⟨U+000D⟩written"),
        ("\ufeffmark\u200b", "⟨U+FEFF⟩mark⟨U+200B⟩"),
        ("日本語\tof DOS\r\nand é 👩\u200d💻", "日本語\tof DOS\r\nand é 👩\u200d💻"),
    ],
)
def test_hidden_characters_are_shown_by_their_numbers(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_size_has_a_unit() -> None:
    assert [size(count) for count in (0, 999, 1000, 1_550_000, 5e12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.6 MB",
        "5000.0 GB",
    ]
