"""Where a run's keys come from, and the masking of texts that might hold them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keruta_agent.core import errors
from keruta_agent.core.redaction.redactor import Redactor

_SHORTEST_SECRET = 8


class CredentialManager:
    """The source of keys: variables first, then files that were mounted for them."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment
        self._mounts: dict[str, Path] = {}
        self._found: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<CredentialManager with {', '.join(sorted(self._found)) or 'nothing'}>"

    def configure_secret_mount(self, name: str, path: Path) -> None:
        """Set the file of a credential: git_token, llm_api_key, or ``<service>_api_key``."""
        self._mounts[name] = Path(path)

    def get_git_token(self, env_var: str = "GIT_TOKEN") -> str | None:
        """Return the token for git servers."""
        return self._get("git_token", env_var)

    def get_llm_api_key(self, env_var: str = "OPENAI_API_KEY") -> str | None:
        """Return the key for the language model."""
        return self._get("llm_api_key", env_var)

    def get_api_key(self, service: str, env_var: str | None = None) -> str | None:
        """Return the key for a service, by default from ``<SERVICE>_API_KEY``."""
        return self._get(f"{service.lower()}_api_key", env_var or f"{service.upper()}_API_KEY")

    def validate_credentials(self, required: set[str]) -> None:
        """Check that the named credentials were found.

        Raises:
            SecurityError: one of them was not.
        """
        missing = sorted(name for name in required if not self._found.get(name))
        if missing:
            raise errors.SecurityError(
                f"Missing required credentials: {', '.join(missing)}",
                advice="Set their variables, or mount them as files",
            )

    def clear_credentials(self) -> None:
        """Forget what was found."""
        self._found.clear()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What was found, for those that have to keep it out of texts."""
        return tuple(self._found.values())

    def _get(self, name: str, env_var: str) -> str | None:
        value = self._environment.get(env_var, "").strip() or self._mounted(name)
        if value:
            self._found[name] = value
        return value or None

    def _mounted(self, name: str) -> str:
        path = self._mounts.get(name)
        if path is None:
            return ""
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError as exc:
            raise errors.SecurityError(
                f"Cannot read the credential {name} from {path}: {exc.strerror}"
            ) from exc


class SecretMasker:
    """The masker of secrets in texts and values, in every form that the redactor knows."""

    def __init__(self) -> None:
        self._redactor = Redactor()

    def add_secret(self, secret: str) -> None:
        """Mask a secret from now on; one under 8 characters would mask half of everything."""
        if len(secret) >= _SHORTEST_SECRET:
            self._redactor = self._redactor.with_secrets([secret])

    def mask(self, text: str) -> str:
        """Return a text without its secrets."""
        return self._redactor.redact(text) if text else text

    def mask_dict(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return named values without their secrets; also those in lists and below."""
        return dict(self._redactor.redact_object(data))
