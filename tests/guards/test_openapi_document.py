"""Holds the checked-in OpenAPI document against what the server serves.

After a change of the API: ``python tests/guards/test_openapi_document.py`` writes it anew.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from keruta_agent.server.application import create_application
from keruta_agent.server.store import Store

DOCUMENT = Path(__file__).parents[2] / "etc" / "openapi" / "keruta-api.json"


def served_document(data_dir: Path) -> Any:
    """Returns the document as the server serves it."""
    store = Store.open(data_dir)
    try:
        return create_application(store).test_client().get("/openapi.json").get_json()
    finally:
        store.close()


def test_checked_in_openapi_document_is_what_the_server_serves(tmp_path: Path) -> None:
    assert json.loads(DOCUMENT.read_text(encoding="utf-8")) == served_document(tmp_path), (
        "the API changed: run python tests/guards/test_openapi_document.py"
    )


def test_openapi_document_names_every_route(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    try:
        rules = [
            (rule.rule.replace("<", "{").replace(">", "}"), method.lower())
            for rule in create_application(store).url_map.iter_rules()
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        ]
    finally:
        store.close()
    paths = json.loads(DOCUMENT.read_text(encoding="utf-8"))["paths"]
    undocumented = [rule for rule in rules if rule[1] not in paths.get(rule[0], {})]
    assert undocumented == [("/openapi.json", "get")]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        text = json.dumps(served_document(Path(directory)), indent=2, ensure_ascii=False)
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(text + "\n", encoding="utf-8")
