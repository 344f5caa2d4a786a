#!/usr/bin/env bash
# Changes the session's repository, and nothing more: the agent has checked the task's branch out
# before, and commits and pushes what was changed afterwards. Where the session has no repository,
# one is made to try it on.
set -euo pipefail
# Outside of a keruta run nobody hears the reports: print them.
[ -n "${KERUTA_RUN_TOKEN:-}" ] || keruta() { printf '(keruta %s)\n' "$*"; }

if [ -z "${KERUTA_GIT_BRANCH:-}" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
    git init --quiet --initial-branch=main "$work"
    cd "$work"
    printf '# A project\n' > README.md
    git add README.md
    KERUTA_GIT_BRANCH=main
fi

printf '\nSay hello: 今日は\n' >> README.md
keruta progress 50 --message "changed the README on $KERUTA_GIT_BRANCH"
git --no-pager diff --stat
keruta success --message "Say hello in the README"
