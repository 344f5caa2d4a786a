"""The files that other programs act upon by themselves: git, CI servers, bots, editors, keruta.

Whoever writes one decides what runs elsewhere, with secrets that are not the run's, as soon as the
branch is pushed or opened. A model may write one only if the task names it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from keruta_agent.core.coding.model import TaskContext
from keruta_agent.git.command import Git, records

#: Symbolic links that are followed from one to the next.
_MOST_LINKS: Final = 8
_SYMBOLIC_LINK: Final = "120000"

#: What git, or a program that it was made to start, acts upon.
_GIT: Final = (
    *(".gitmodules", ".gitattributes", ".gitconfig", ".lfsconfig"),
    *(".husky", ".huskyrc*", ".githooks", ".git-hooks", ".overcommit.yml"),
    *(".pre-commit-config.y*ml", ".pre-commit-hooks.y*ml", "prek.toml"),
    *("lefthook*.y*ml", "lefthook*.toml", "lefthook*.json", ".lefthook*"),
    *(".lintstagedrc*", "lint-staged.config.*"),
)
#: What CI servers run. At any depth: directories of a monorepo have pipelines of their own, and
#: the pipeline's path is a setting of most servers.
_PIPELINES: Final = (
    *(".github/workflows", ".github/actions", ".gitea/workflows", ".gitea/actions"),
    *(".forgejo/workflows", ".forgejo/actions", "action.y*ml"),
    *(".gitlab-ci*", "*.gitlab-ci.y*ml", ".gitlab/ci", ".gitlab/agents", ".gitlab/*.y*ml"),
    *(".circleci", ".buildkite", "buildkite*.y*ml", ".buildkite*.y*ml"),
    *(".woodpecker", ".woodpecker*.y*ml", ".travis", ".travis*.y*ml", ".ci", ".crow"),
    *(".cirrus", ".cirrus*.y*ml", ".cirrus.star", "appveyor*.y*ml", ".appveyor*"),
    *("buildspec*.y*ml", ".codebuild", "appspec.y*ml", "amplify.y*ml"),
    *("cloudbuild*.y*ml", "cloudbuild*.json", ".cloudbuild*", "clouddeploy*.y*ml"),
    *(".semaphore", ".semaphore*.y*ml", ".build.y*ml", ".build-*.y*ml", ".builds"),
    *(".tekton", ".drone", ".drone*.y*ml", ".drone*.star", ".drone*.jsonnet"),
    *("jenkinsfile*", "*.jenkinsfile", ".jenkins", ".jenkinsfile*", ".jenkins-x"),
    *("azure-pipeline*", ".azure-pipeline*", ".azuredevops", ".azure/pipelines", ".pipelines"),
    *("*.azure-pipelines.y*ml", "vsts-ci*.y*ml", ".vsts-ci*.y*ml", ".teamcity"),
    *("bitbucket-pipeline*.y*ml", "bamboo-specs", ".harness", "codefresh*.y*ml", ".codefresh"),
    *("codeship-*.y*ml", ".scrutinizer.y*ml", ".shippable.y*ml", "shippable.y*ml", "wercker.y*ml"),
    *("screwdriver.y*ml", "bitrise.y*ml", "codemagic.y*ml", ".zuul.y*ml", "zuul.y*ml"),
    *(".zuul.d", "zuul.d", "*.gocd.y*ml", "*.gocd.json", ".concourse", ".prow.y*ml", ".prow"),
    *(".evergreen*.y*ml", ".taskcluster.y*ml", ".packit.y*ml", ".onedev*", ".space.kts"),
    *(".argo", ".argocd*", "ci_scripts", "earthfile", "dagger.json", ".readthedocs.y*ml", ".copr"),
)
#: What bots act upon, and editors as soon as a branch is opened.
_AUTOMATION: Final = (
    *(".github/dependabot.y*ml", "renovate.json*", ".renovaterc*", ".mergify*", ".kodiak.toml"),
    *(".github/mergify.y*ml", ".github/renovate.json*", ".gitlab/renovate.json*"),
    *(".gitpod*", ".devcontainer", ".devcontainer.json", ".vscode/tasks.json"),
    *(".vscode/launch.json", ".envrc", ".releaserc*", ".goreleaser*"),
    *("atlantis.y*ml",),
)
_OWN: Final = (".keruta",)

#: Invisible in a name; macOS leaves the last group out when it compares (``.g<joiner>it``).
INVISIBLE: Final = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\u206a-\u206f\ufeff]")


def folded(part: str) -> str:
    """Return one name of a path as the strangest file system would compare it."""
    plain = INVISIBLE.sub("", unicodedata.normalize("NFKC", part)).casefold()
    # Composed again: folding may leave what normalization would join.
    return unicodedata.normalize("NFKC", plain).partition(":")[0].rstrip(". ")


def folded_path(path: str) -> str:
    """Return a path, each name of it as the strangest file system would compare it."""
    return "/".join(folded(part) for part in path.strip("/").split("/"))


def _pattern(*groups: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern for paths that match a glob at any depth, and all below them."""
    globs = [glob for group in groups for glob in group]
    either = "|".join("[^/]*".join(map(re.escape, glob.split("*"))) for glob in globs)
    return re.compile(f"(?:^|/)(?:{either})(?:/|$)")


_REASONS: Final = (
    (_pattern(_GIT), "git, or a hook of it, would act upon it"),
    (_pattern(_PIPELINES), "a CI server would run it with its secrets"),
    (_pattern(_AUTOMATION), "a bot or an editor would act upon it"),
    (_pattern(_OWN), "keruta itself would act upon it"),
)


#: Documents and programs that are about a pipeline; their directories count all the same.
_ABOUT: Final = re.compile(
    r"(?:jenkinsfile|azure-pipeline)[^/.]*\.(?:md|rst|adoc|txt|py|js|ts|java|go|rs|html|png|svg)$"
)


def reason(path: str) -> str | None:
    """Return why a file is protected by its name, None when it is not."""
    name = folded_path(path)
    if _ABOUT.search(name):
        name = name.rpartition("/")[0]
    return next((why for pattern, why in _REASONS if pattern.search(name)), None)


def aliases(path: str, links: Mapping[str, str]) -> list[str]:
    """Return a file's path and those by which symbolic links of the repository lead to it."""
    found = [folded_path(path)]
    for known in found:
        for link, target in links.items():
            if known == target or known.startswith(f"{target}/"):
                alias = link + known.removeprefix(target)
                if alias not in found and len(found) <= _MOST_LINKS * len(links):
                    found.append(alias)
    return found


def links_of(git: Git) -> dict[str, str]:
    """Return the symbolic links of a repository, with what they lead to inside of it; folded."""
    root = git.directory.resolve()
    listed = git.run("ls-files", "-z", "--stage", action="list the symbolic links", ok=False)
    found = {}
    for entry in records(listed.output):
        if not entry.startswith(_SYMBOLIC_LINK):
            continue
        link = entry.partition("\t")[2]
        place = root / link
        if not place.is_symlink():
            continue
        try:
            target = place.resolve()
        except (OSError, RuntimeError):  # a circle
            continue
        if target.is_relative_to(root) and target != root:
            found[folded_path(link)] = folded_path(target.relative_to(root).as_posix())
    return found


def configured(git: Git) -> list[str]:
    """Return the paths in a work tree from which git takes settings, attributes or hooks."""
    named = git.find("config", "--list", "--name-only", "--show-origin", "-z") or ""
    origins = [field[5:] for field in named.split("\0") if field.startswith("file:")]
    # All of them: the settings of this git hide those that other gits use.
    values = [
        value
        for key in ("core.hooksPath", "core.attributesFile")
        for value in (git.find("config", "--type=path", "-z", "--get-all", key) or "").split("\0")
    ]
    root = git.directory.resolve()
    places = {(root / value).resolve() for value in (*origins, *values) if value}
    return sorted(
        place.relative_to(root).as_posix()
        for place in places
        if place.is_relative_to(root)
        and place != root
        and place.relative_to(root).parts[0] != ".git"
    )


def playbook(context: TaskContext, root: Path) -> list[str]:
    """Return the task's playbook if it is in the work tree: people write it."""
    path = context.playbook_path
    if path is None:
        return []
    place, root = path.resolve(), root.resolve()
    return [place.relative_to(root).as_posix()] if place.is_relative_to(root) else []
