"""Changing one value of a config file leaves all else to the letter."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keruta_agent.core import errors
from keruta_agent.core.settings import template
from keruta_agent.core.settings.config_file import ConfigFile
from keruta_agent.core.settings.edited import EditedFile
from keruta_agent.core.settings.sources import KNOWN_KEYS

PATH = Path("config.yaml")

USERS_FILE = """\
# ours, see ticket 12
api:
    url: "http://old:8080"   # the old one
    # a token is in the variable

artifacts:
    extensions:
        - .pdf  # reports
        - .csv
    max_size: 10MB

daemon: {port: 9000, host: localhost}
logging:
  level: INFO"""


def edited(text: str, key: str, value: object) -> str:
    file = EditedFile(PATH, text, KNOWN_KEYS)
    file.set(key, value)
    return file.text


def values(text: str) -> dict[str, object]:
    return ConfigFile(PATH, text, KNOWN_KEYS).values


def changed_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_set_changes_nothing_but_the_value_and_keeps_its_quotes() -> None:
    after = edited(USERS_FILE, "api.url", "http://new:8080")

    assert after == USERS_FILE.replace("http://old:8080", "http://new:8080")


def test_list_over_several_lines_keeps_its_comments_when_another_value_changes() -> None:
    before = USERS_FILE + "\nruns:\n  keep_size: 1GB\n"

    assert edited(before, "runs.keep_size", "2GB") == before.replace("1GB", "2GB")


def test_set_adds_a_key_to_its_section_with_its_indentation() -> None:
    after = edited(USERS_FILE, "api.timeout", "5s")

    gone, came = changed_lines(USERS_FILE, after)
    assert gone == []
    assert came == ["    timeout: 5s"]
    assert values(after) == {**values(USERS_FILE), "api.timeout": "5s"}


def test_set_adds_a_section_at_the_end() -> None:
    after = edited(USERS_FILE, "runs.keep_age", "2d")

    assert after == USERS_FILE + "\n\nruns:\n  keep_age: 2d\n"


def test_set_adds_a_key_that_stands_in_no_section() -> None:
    assert edited(USERS_FILE, "git_retry_count", 5) == f"{USERS_FILE}\n\ngit_retry_count: 5\n"
    assert edited("git_retry_count: 5 # five", "git_retry_count", 6) == "git_retry_count: 6 # five"
    assert values(edited("{git_retry_count: 5}", "git_retry_count", 6)) == {"git_retry_count": 6}


def test_set_replaces_a_list_that_stands_on_lines() -> None:
    after = edited(USERS_FILE, "artifacts.extensions", [".txt", ".a b"])

    assert values(after)["artifacts.extensions"] == [".txt", ".a b"]
    assert "    max_size: 10MB\n" in after
    assert "    extensions: [.txt, " in after


def test_set_reaches_a_section_in_braces() -> None:
    after = edited(USERS_FILE, "daemon.poll_interval", 10)

    assert values(after) == {**values(USERS_FILE), "daemon.poll_interval": 10}
    assert "# ours, see ticket 12" in after and "# the old one" in after and "# reports" in after


def test_set_in_a_file_of_windows_keeps_its_line_ends() -> None:
    text = "api:\r\n  timeout: 5s # five\r\nlogging:\r\n  level: INFO\r\n"

    after = edited(edited(text, "api.timeout", "6s"), "api.url", "http://a")

    assert after == (
        "api:\r\n  timeout: 6s # five\r\n  url: http://a\r\nlogging:\r\n  level: INFO\r\n"
    )


@pytest.mark.parametrize("text", ["", "# only a comment\n", "# no line end", "---\n", "api:\n"])
def test_set_in_an_empty_file_keeps_what_is_there(text: str) -> None:
    after = edited(text, "api.url", "http://a")

    assert values(after) == {"api.url": "http://a"}
    assert all(line in after.splitlines() for line in text.splitlines())


def test_set_takes_the_place_of_the_commented_default() -> None:
    before = template.text()

    after = edited(before, "api.timeout", "5s")

    assert changed_lines(before, after) == (["  #timeout: 30s"], ["  timeout: 5s"])


def test_set_leaves_a_persons_own_commented_out_line() -> None:
    text = "api:\n  #timeout: 77s\n  url: http://a\n"

    assert edited(text, "api.timeout", "5s") == (
        "api:\n  #timeout: 77s\n  url: http://a\n  timeout: 5s\n"
    )


@pytest.mark.parametrize(
    "key", ["api.url", "api.events", "runs.keep_size", "repo_pool_url", "max_memory_mb"]
)
def test_unset_brings_the_commented_file_back(key: str) -> None:
    file = EditedFile(PATH, template.text(), KNOWN_KEYS)

    file.set(key, "x")
    assert file.values == {**values(template.text()), key: "x"}
    assert file.unset(key)

    assert file.text == template.text()


def test_unset_takes_the_whole_value_away() -> None:
    file = EditedFile(PATH, USERS_FILE, KNOWN_KEYS)

    assert file.unset("artifacts.extensions")
    assert file.unset("daemon.port")
    assert file.unset("logging.level")
    assert not file.unset("logging.level")

    wanted = {
        key: value
        for key, value in values(USERS_FILE).items()
        if key not in ("artifacts.extensions", "daemon.port", "logging.level")
    }
    assert values(file.text) == wanted
    assert "# ours, see ticket 12" in file.text and "# the old one" in file.text


def test_value_that_another_refers_to_is_changed_alone() -> None:
    text = "api:\n  timeout: &time 5s\n  status_timeout: *time\n"

    after = edited(text, "api.timeout", "6s")

    assert values(after) == {"api.timeout": "6s", "api.status_timeout": "5s"}


def test_file_that_cannot_be_used_is_not_changed() -> None:
    with pytest.raises(errors.SettingsError, match=r"line 2.*Did you mean api.url"):
        EditedFile(PATH, "api:\n  ulr: http://a\n", KNOWN_KEYS)


#: What the schema lets through: no control characters.
TEXTS = st.one_of(
    st.text(min_size=1, max_size=30),
    st.sampled_from(
        ["true", "null", "~", "12", "1e3", "0x1f", "- a", "a: b", "a #b", "{x}", "é日本"]
    ),
).filter(lambda text: not any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in text))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(KNOWN_KEYS)),
            st.one_of(TEXTS, st.integers(), st.booleans(), st.lists(TEXTS, max_size=3)),
        ),
        max_size=5,
    ),
    st.sampled_from([USERS_FILE, "", "api: {}\nlogging: null\n"]),
)
def test_whatever_is_set_is_what_is_read(changes: list[tuple[str, object]], text: str) -> None:
    file = EditedFile(PATH, text, KNOWN_KEYS)
    wanted = values(text)

    for key, value in changes:
        file.set(key, value)
        wanted[key] = value

    assert values(file.text) == wanted
    comments = re.findall(r"^# .*|(?<= )# [a-z].*", text, re.M)
    assert all(comment in file.text for comment in comments if "reports" not in comment)
