"""Migration of a configuration of the old runner."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from keruta_agent.core import errors
from keruta_agent.core.settings import retired, schema
from keruta_agent.runner.migration.finding import Finding

#: Addresses that the guide gives the services.
SERVICES: Final = {
    "task_registry_url": "http://localhost:8001",
    "repo_pool_url": "http://localhost:8002",
    "artifact_store_url": "http://localhost:8003",
}
_MODEL: Final = {"model": "gpt-4", "timeout_seconds": 120}
#: Keys that only moved.
_MOVED: Final = {
    "llm_model": "llm.model",
    "llm_endpoint": "llm.endpoint",
    "llm_timeout_seconds": "llm.timeout_seconds",
    "llm_max_tokens": "llm.max_tokens",
    "log_level": "logging.level",
    "log_file": "logging.file",
    "kiro_api_key_env_var": "llm_api_key_env_var",
}
_RETRIES: Final = {
    "git_retry_config": "git_retry_count",
    "network_retry_config": "network_retry_count",
}
_BUS: Final = frozenset({"message_bus_url", "message_bus_config", "registry_storage"})
_OLD_MODEL: Final = frozenset({"kiro_url", "kiro_api_url"})
_NOT_KNOWN: Final = "It is not known: left out; look for it with `keruta config show`"
_NOTHING: Final[tuple[object, ...]] = (None, "")


def rewritten(path: Path) -> tuple[str, list[Finding]]:
    """Return the new file's text, and what became of each old key.

    Raises:
        SettingsError: the file cannot be read.
    """
    reader = YAML()
    reader.preserve_quotes = True
    try:
        document = reader.load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError, RecursionError) as exc:
        first = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise errors.SettingsError(f"Cannot read the old configuration {path}: {first}") from exc
    if document is None:
        document = CommentedMap()
    if not isinstance(document, CommentedMap):
        raise errors.SettingsError(f"The old configuration {path} is no mapping")
    findings = list(_Rewriting(path, document).do())
    written = io.StringIO()
    reader.dump(document, written)
    text = written.getvalue() if document else ""
    return text, findings


class _Rewriting:
    def __init__(self, path: Path, document: CommentedMap) -> None:
        self._path = path
        self._document = document
        self._known = {info.key for info in schema.SETTINGS if info.key}

    def do(self) -> Iterator[Finding]:
        for name in list(self._document):
            yield from self._key(str(name), self._document[name], self._place(name))

    def _place(self, name: Any) -> str:
        line = self._document.lc.key(name)[0] + 1
        return f"{self._path}:{line}"

    def _key(self, name: str, value: Any, place: str) -> Iterator[Finding]:
        sections = {key.partition(".")[0] for key in self._known}
        if name in _MOVED:
            del self._document[name]
            if value not in _NOTHING:
                self._put(_MOVED[name], value)
            yield Finding(place, name, f"It is {_MOVED[name]} now", needs_person=False)
        elif name in _RETRIES:
            yield self._retries(name, value, place)
        elif name == "structured_logging":
            del self._document[name]
            self._put("logging.format", "json" if value else "text")
            yield Finding(place, name, retired.KEYS[name], needs_person=False)
        elif name in _BUS:
            del self._document[name]
            for key, address in SERVICES.items():
                self._document.setdefault(key, address)
            advice = f"{retired.KEYS[name]}; check the addresses that stand there now"
            yield Finding(place, name, advice, needs_person=True)
        elif name in _OLD_MODEL:
            del self._document[name]
            for key, default in _MODEL.items():
                self._put(f"llm.{key}", default, only_if_missing=True)
            advice = f"{retired.KEYS[name]}; choose the model"
            yield Finding(place, name, advice, needs_person=True)
        elif name in ("artifact_store_url",) and str(value).startswith("file:"):
            self._document[name] = SERVICES[name]
            advice = "The store is a service now; check the address that stands there"
            yield Finding(place, f"{name}: {value}", advice, needs_person=True)
        elif name == "execution_mode" and str(value) in ("docker", "kubernetes"):
            self._document[name] = "local-process"
            advice = "Start `python -m keruta_agent.runner` inside the container, with TASK_CONTEXT"
            yield Finding(place, f"{name}: {value}", advice, needs_person=True)
        elif name in retired.KEYS:
            del self._document[name]
            needed = not retired.KEYS[name].startswith("Remove it")
            yield Finding(place, name, retired.KEYS[name], needs_person=needed)
        elif name == "llm_api_key":
            del self._document[name]
            advice = "Keys do not belong into files: set OPENAI_API_KEY, and replace this key"
            yield Finding(place, name, advice, needs_person=True)
        elif name in sections and isinstance(value, CommentedMap):
            yield from self._section(name, value)
        elif name not in self._known:
            del self._document[name]
            yield Finding(place, name, _NOT_KNOWN, needs_person=True)

    def _section(self, name: str, section: CommentedMap) -> Iterator[Finding]:
        for inner in list(section):
            key = f"{name}.{inner}"
            if key not in self._known:
                place = f"{self._path}:{section.lc.key(inner)[0] + 1}"
                del section[inner]
                yield Finding(place, key, _NOT_KNOWN, needs_person=True)

    def _retries(self, name: str, value: Any, place: str) -> Finding:
        del self._document[name]
        new = _RETRIES[name]
        if isinstance(value, Mapping) and isinstance(value.get("max_retries"), int):
            self._document.setdefault(new, value["max_retries"])
        return Finding(place, name, f"It is {new} now, the delays are fixed", needs_person=False)

    def _put(self, key: str, value: Any, *, only_if_missing: bool = False) -> None:
        section, dot, name = key.partition(".")
        if not dot:
            self._document[key] = value
            return
        place = self._document.setdefault(section, CommentedMap())
        if not only_if_missing or name not in place:
            place[name] = value
