"""Both languages say the same things."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

import keruta_agent
from keruta_agent.agent.store.run import Outcome
from keruta_agent.core import model
from keruta_agent.http.pages.language import LANGUAGES, catalogue
from keruta_agent.http.problems import CODES
from keruta_agent.server.access.principals import Role, ScopeKind

PACKAGE = Path(keruta_agent.__file__).parent
FOLDERS = ("http/pages", "server/pages", "agent/control/http")
#: Keys in templates and modules that are written out: t('...') and text("...").
WRITTEN = re.compile(r"""\b(?:t|text|say)\(\s*['"]([a-z][\w.-]*)['"]\s*[,)]""")
#: Texts whose keys are put together: how they begin.
PUT_TOGETHER = (
    "language.",
    "problem.",
    "status.",
    "session.",
    "outcome.",
    "confirm.",
    "chart.",
    "done.",
    "js.live.",
    "agent.hindered.",
    "file.fault.",
    "board.",
    "card.",
    "sessions.",
    "tokens.refused.",
    "tokens.role.",
    "tokens.scope.",
    "tokens.state.",
    "view.tests.",
)


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
    used = set(WRITTEN.findall(_sources()))
    assert len(used) > 90
    assert used - set(catalogue("en")) == set()


def test_no_text_is_left_that_nobody_asks_for() -> None:
    sources = _sources()
    unused = [
        key
        for key in catalogue("en")
        if not key.startswith(PUT_TOGETHER)
        and not re.search(rf"""['"]{re.escape(key)}['"]""", sources)
    ]
    assert unused == []


@pytest.mark.parametrize(
    ("beginning", "ends"),
    [
        ("status.", list(model.TaskStatus)),
        ("session.", list(model.SessionStatus)),
        ("outcome.", list(Outcome)),
        (
            "tokens.refused.",
            ["bound", "days", "many", "name", "role", "scope", "taken", "unbound"],
        ),
        ("tokens.role.", list(Role)),
        ("tokens.scope.", ["none", *ScopeKind]),
        ("tokens.state.", ["active", "expired", "revoked"]),
        ("view.tests.", ["baseline", "reverted", "allowed", "new_tests", "not_counted", "flaky"]),
        ("agent.hindered.", ["workers", "session"]),
        ("js.live.", ["waiting", "live", "lost", "full"]),
        ("problem.", [CODES[status] for status in (400, 403, 404, 405, 413, 503)]),
        ("problem.", ["NOT_FOUND", "WRONG_STATE", "NOTHING_ASKED", "INPUT_REFUSED"]),
    ],
)
def test_every_state_and_refusal_has_words(beginning: str, ends: list[str]) -> None:
    assert {f"{beginning}{end}" for end in ends} - set(catalogue("en")) == set()


def _sources() -> str:
    return "\n".join(
        file.read_text(encoding="utf-8")
        for folder in FOLDERS
        for file in (PACKAGE / folder).rglob("*")
        if file.suffix in {".html", ".js", ".py"}
    )
