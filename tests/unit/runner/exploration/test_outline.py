"""The list of files in a prompt, and their order."""

from __future__ import annotations

from keruta_agent.runner.exploration import outline, relevance
from keruta_agent.runner.model.reply import estimated_tokens

MANY = sorted(f"area{area:02}/module{number:03}.py" for area in range(30) for number in range(100))


def test_all_files_are_listed_where_they_have_room() -> None:
    assert outline.structure(["a.py", "b/c.py"], ["b/c.py", "a.py"], 100) == "a.py\nb/c.py"
    assert outline.structure([], [], 100) == "(empty)"


def test_relevant_files_and_a_count_of_the_others_stand_for_a_large_repository() -> None:
    names = [*MANY, "zone/ledger.py"]
    ranked = relevance.ranked(names, [], relevance.words("The ledger is wrong"))
    text = outline.structure(names, ranked, 500)
    assert estimated_tokens(text) <= 520
    assert "3001 files in all" in text and "zone/ledger.py" in text
    assert "area07/ (100 files)" in text


def test_files_are_ranked_by_what_failed_then_by_words_then_by_place() -> None:
    names = ["docs/a.md", "src/parseHTMLPage.ts", "src/z.ts", "tests/test_x.py", "yarn.lock"]
    ranked = relevance.ranked(names, ["tests/test_x.py"], relevance.words("parse the html page"))
    assert ranked == ["tests/test_x.py", "src/parseHTMLPage.ts", "docs/a.md", "src/z.ts"]


def test_words_are_the_parts_of_identifiers() -> None:
    found = relevance.words("should_fix parseHTMLPage(user_id=12)")
    assert found == {"parse", "html", "page", "user"}
