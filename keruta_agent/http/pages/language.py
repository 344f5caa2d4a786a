"""The languages of the pages: one catalogue file each, and which one a visitor reads."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from keruta_agent.http.request import Request

#: Also the names of the catalogue files; the first is for those who read none of them.
LANGUAGES: Final = ("en", "ja")
COOKIE: Final = "keruta_language"

_CATALOGUES: Final = Path(__file__).with_name("catalogue")


@functools.cache
def catalogue(language: str) -> Mapping[str, str]:
    """Return the texts of a language by their keys."""
    text = (_CATALOGUES / f"{language}.json").read_text(encoding="utf-8")
    texts: dict[str, str] = json.loads(text)
    return texts


def chosen_language(request: Request) -> str:
    """Return what a visitor reads: by the switch on the page, else by ``Accept-Language``."""
    switched = request.cookies.get(COOKIE)
    if switched in LANGUAGES:
        return str(switched)
    return request.accepted(*LANGUAGES) or LANGUAGES[0]


def translate(language: str, key: str, **values: object) -> str:
    """Return a text; ``values`` fill its ``{names}``.

    Raises:
        KeyError: there is no such text.
    """
    text = catalogue(language)[key]
    return text.format(**values) if values else text
