"""The environment of git commands: what misleads git is left out, what must hold is set.

Settings go to git by variables (``GIT_CONFIG_COUNT``): they overrule every file, and reach the git
commands that git itself starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Final

#: Variables that would lead git to another repository, or make it print what it sends.
_DROPPED: Final = frozenset(
    {
        *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"),
        *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_TOKEN"),
        *("GIT_CURL_VERBOSE", "GIT_SSL_NO_VERIFY", "GIT_REDIRECT_STDERR", "SSH_ASKPASS"),
        *("GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS"),
        *("GIT_GRAFT_FILE", "GIT_SHALLOW_FILE", "GIT_REPLACE_REF_BASE", "GIT_QUARANTINE_PATH"),
        *("GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS"),
        *("GIT_ICASE_PATHSPECS", "GIT_ATTR_SOURCE", "GIT_SEQUENCE_EDITOR"),
        *("GIT_LFS_SKIP_SMUDGE", "GIT_LFS_SKIP_PUSH"),
    }
)
_DROPPED_BEGINNINGS: Final = ("KERUTA_", "GIT_TRACE", "GIT_TEST", "GIT_INTERNAL_")
#: Empty ones would stop a commit: a workspace of a user without a full name sets them so.
_IDENTITY: Final = ("GIT_AUTHOR_", "GIT_COMMITTER_")
#: What a command gets that reaches no server. Whatever else the agent's environment holds is for
#: the user's credential helpers and for nobody else.
_LOCAL: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LANGUAGE"),
        *("LD_LIBRARY_PATH", "GNUPGHOME", "GPG_TTY", "SSH_AUTH_SOCK", "SSH_ASKPASS_REQUIRE"),
        *("GCM_INTERACTIVE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    }
)
_LOCAL_BEGINNINGS: Final = ("GIT_", "LC_", "XDG_")

#: For every command; none of it can be overruled by a file.
SETTINGS: Final = (
    # The agent does the maintenance itself, and starts nothing in the background.
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("core.fsmonitor", "false"),
    ("protocol.version", "2"),
    # A server that sends less than this for a minute hangs.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
    # Nothing of a repository is executed.
    ("core.hooksPath", "/dev/null"),
    ("diff.external", ""),
    ("protocol.ext.allow", "never"),
    # A directory that looks like a repository is none unless we say so.
    ("safe.bareRepository", "explicit"),
    # What changes the output that we read, or stops a command.
    ("core.quotePath", "false"),
    ("core.safecrlf", "false"),
    ("core.ignoreStat", "false"),
    # A status of git once named a file that was not there.
    ("core.untrackedCache", "false"),
    ("color.ui", "false"),
    ("color.diff", "false"),
    ("color.status", "false"),
    ("advice.detachedHead", "false"),
    ("diff.orderFile", "/dev/null"),
    ("diff.noprefix", "false"),
    ("diff.mnemonicPrefix", "false"),
    ("i18n.commitEncoding", "UTF-8"),
    ("i18n.logOutputEncoding", "UTF-8"),
    ("log.showSignature", "false"),
    ("merge.verifySignatures", "false"),
    ("rebase.autoSquash", "false"),
    ("rebase.autoStash", "false"),
    ("rebase.updateRefs", "false"),
    # Signing needs a key that nobody may be there to unlock; git.sign turns it on.
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
    ("push.gpgSign", "false"),
    # What we name is pushed and fetched, and nothing beside it.
    ("push.followTags", "false"),
    ("push.recurseSubmodules", "no"),
    ("fetch.recurseSubmodules", "false"),
    ("submodule.recurse", "false"),
)
_FIXED: Final = {
    # English complaints, and hooks that can write Japanese.
    "LC_ALL": "C.UTF-8",
    "LANGUAGE": "",
    "GIT_TERMINAL_PROMPT": "0",
    "GCM_INTERACTIVE": "never",
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_EDITOR": "true",
    "GIT_PAGER": "cat",
    "GIT_MERGE_AUTOEDIT": "no",
    # What a task put in the place of a commit or a file is not what is shown and pushed.
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": "/dev/null/none",
}


def base_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what commands get that reach a server: our own, without what misleads git."""
    kept = {
        name: value
        for name, value in environment.items()
        if name not in _DROPPED
        and not name.startswith(_DROPPED_BEGINNINGS)
        and not (name.startswith(_IDENTITY) and not value.strip())
    }
    kept |= _FIXED
    if "PATH" in kept:
        kept["PATH"] = search_path(kept["PATH"])
    return with_settings(kept, SETTINGS)


def local_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of this the commands get that reach no server."""
    return {
        name: value
        for name, value in environment.items()
        if name in _LOCAL or name.startswith(_LOCAL_BEGINNINGS)
    }


def search_path(path: str) -> str:
    """Return the directories of a PATH, those that this user can write to behind the others.

    A task can put its own ``ssh`` into ``~/bin``, or into the directory that git is started in.
    """
    places = [place for place in path.split(os.pathsep) if place.startswith("/")]
    return os.pathsep.join(sorted(places, key=lambda place: os.access(place, os.W_OK)))


def with_settings(
    environment: Mapping[str, str], settings: Iterable[tuple[str, str]]
) -> dict[str, str]:
    """Return an environment that tells git more settings; they overrule those before them."""
    changed = dict(environment)
    number = int(changed.get("GIT_CONFIG_COUNT") or 0)
    for key, value in settings:
        changed[f"GIT_CONFIG_KEY_{number}"] = key
        changed[f"GIT_CONFIG_VALUE_{number}"] = value
        number += 1
    changed["GIT_CONFIG_COUNT"] = str(number)
    return changed
