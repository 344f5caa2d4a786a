"""Both languages say the same things."""

from __future__ import annotations

import re
import string
from pathlib import Path

import keruta_agent
from keruta_agent.web.pages.language import LANGUAGES, catalogue

PACKAGE = Path(keruta_agent.__file__).parent
#: Keys in templates and modules that are written out: t('...') and text("...").
WRITTEN = re.compile(r"""\b(?:t|text)\(\s*['"]([a-z][\w.-]*)['"]\s*[,)]""")


def names(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_catalogues_have_the_same_keys_in_the_same_order() -> None:
    first, *others = (list(catalogue(language)) for language in LANGUAGES)
    for other in others:
        assert other == first


def test_catalogues_fill_in_the_same_names() -> None:
    for key, text in catalogue("en").items():
        assert text.strip()
        assert names(catalogue("ja")[key]) == names(text), key


def test_every_text_that_pages_ask_for_is_there() -> None:
    used = set()
    for folder in ("web/pages", "server/pages"):
        for file in (PACKAGE / folder).rglob("*"):
            if file.suffix in {".html", ".js", ".py"}:
                used |= set(WRITTEN.findall(file.read_text(encoding="utf-8")))
    assert len(used) > 20
    assert used - set(catalogue("en")) == set()
