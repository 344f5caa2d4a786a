"""The scripts of the pages ask for nothing outside the path under which the pages are served."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import keruta_agent

PACKAGE = Path(keruta_agent.__file__).parent
SCRIPTS = sorted(PACKAGE.glob("**/static/*.js"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_names_no_address_from_the_root(script: Path) -> None:
    from_root = re.compile(r"""["'`]/(?:api|health|jobs|login|sessions|static|tasks)\b""")
    assert from_root.findall(script.read_text(encoding="utf-8")) == []
