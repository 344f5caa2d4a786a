"""The evidence of a run, stored: in the Artifact Store, and here when that cannot be had."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keruta_agent.core import errors
from keruta_agent.core.coding.model import (
    Artifact,
    ArtifactType,
    ImplementationResult,
    TaskContext,
    TestResult,
)
from keruta_agent.core.redaction.redactor import Redactor

if TYPE_CHECKING:
    from keruta_agent.runner.services.artifact_store import ArtifactStoreClient
    from keruta_agent.runner.services.task_registry import TaskRegistryClient

logger = logging.getLogger(__name__)

_FILES = {
    ArtifactType.DIFF: "diff.patch",
    ArtifactType.LOG: "run.log",
    ArtifactType.TEST_RESULT: "tests.json",
}


class ArtifactUploader:
    """The uploads of diff, log and test results, without secrets."""

    def __init__(
        self,
        artifact_store_client: ArtifactStoreClient | None,
        task_registry_client: TaskRegistryClient | None = None,
        *,
        redactor: Redactor | None = None,
    ) -> None:
        self._store = artifact_store_client
        self._registry = task_registry_client
        self._redactor = redactor or Redactor()
        #: What could not be stored or recorded by the last upload, in words.
        self.failures: list[str] = []

    def upload_artifacts(
        self,
        task_context: TaskContext,
        impl_result: ImplementationResult | None = None,
        test_result: TestResult | None = None,
        logs: str = "",
        transcript: str = "",
    ) -> list[Artifact]:
        """Store what there is and tell the registry; what fails is noted and left out.

        ``transcript`` is what was said to the model and by it, and becomes the end of the log.
        """
        logs += _appendix(transcript)
        self.failures = []
        if self._store is None:
            return []
        found = []
        for kind, text, more in self._texts(task_context, impl_result, test_result, logs):
            artifact = self._upload(task_context, kind, text, more)
            if artifact is not None:
                found.append(artifact)
        return found

    def keep_here(
        self,
        directory: Path,
        task_context: TaskContext,
        impl_result: ImplementationResult | None,
        test_result: TestResult | None,
        logs: str,
        transcript: str = "",
    ) -> Path:
        """Write the same into a directory of this machine, which is made for it.

        Raises:
            ArtifactUploadError: it cannot be written.
        """
        logs += _appendix(transcript)
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            for kind, text, _ in self._texts(task_context, impl_result, test_result, logs):
                (directory / _FILES[kind]).write_text(text, encoding="utf-8", errors="replace")
        except OSError as exc:
            raise errors.ArtifactUploadError(
                f"Failed to keep the evidence in {directory}: {exc.strerror}"
            ) from exc
        return directory

    def _texts(
        self,
        context: TaskContext,
        implementation: ImplementationResult | None,
        tests: TestResult | None,
        logs: str,
    ) -> Iterator[tuple[ArtifactType, str, Mapping[str, Any]]]:
        if implementation is not None and implementation.diff:
            diff = self._redactor.redact(implementation.diff)
            yield ArtifactType.DIFF, diff, {"branch": context.branch_name}
        if tests is not None:
            values = self._redactor.redact_value(tests.to_dict())
            yield (
                ArtifactType.TEST_RESULT,
                json.dumps(values, ensure_ascii=False, indent=2),
                {"success": tests.success, "test_count": len(tests.test_results)},
            )
        yield ArtifactType.LOG, self._redactor.redact(logs), {}

    def _upload(
        self, context: TaskContext, kind: ArtifactType, text: str, more: Mapping[str, Any]
    ) -> Artifact | None:
        if self._store is None:
            return None
        metadata = self._redactor.redact_object(
            {"spec_name": context.spec_name, "task_id": context.task_id, "title": context.title}
            | dict(more)
        )
        content = text.encode("utf-8", errors="replace")
        try:
            uri = self._store.upload(kind.value, content, dict(metadata))
        except errors.RunnerError as exc:
            self._note(f"the {kind.value} was not stored: {exc}")
            return None
        artifact = Artifact(
            type=kind, uri=uri, size_bytes=len(content), created_at=datetime.now(UTC)
        )
        self._record(context, artifact, dict(metadata))
        return artifact

    def _record(self, context: TaskContext, artifact: Artifact, metadata: dict[str, Any]) -> None:
        if self._registry is None:
            return
        try:
            self._registry.add_artifact(
                context.task_id,
                artifact.type.value,
                artifact.uri,
                artifact.size_bytes,
                metadata | {"created_at": artifact.created_at.isoformat()},
            )
        except errors.RunnerError as exc:
            self._note(f"the Task Registry did not record the {artifact.type.value}: {exc}")

    def _note(self, text: str) -> None:
        self.failures.append(text)
        logger.warning("%s", text, extra={"action": "runner_artifact_failed"})


def _appendix(transcript: str) -> str:
    """Return what was said to a model, for the end of a log."""
    title = "--- requests to the model and its answers, one JSON object a line ---"
    return f"\n{title}\n{transcript}" if transcript else ""
