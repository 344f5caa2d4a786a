#!/usr/bin/env bash
# Changes a git repository the way a task does it: clone, branch, commit, push. The repository is
# made here, so that neither a network nor anybody's git configuration is needed; put the address
# of yours in its place.
set -euo pipefail
# Outside of a keruta run nobody hears the reports: print them.
[ -n "${KERUTA_RUN_TOKEN:-}" ] || keruta() { printf '(keruta %s)\n' "$*"; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_TERMINAL_PROMPT=0
export GIT_AUTHOR_NAME="keruta" GIT_AUTHOR_EMAIL="keruta@example.com"
export GIT_COMMITTER_NAME="keruta" GIT_COMMITTER_EMAIL="keruta@example.com"
task="${KERUTA_TASK_ID:-by-hand}"
branch="keruta/${task:0:8}"

# The repository that somebody else would own.
git init --quiet --bare --initial-branch=main "$work/origin.git"
git clone --quiet "$work/origin.git" "$work/first" 2> /dev/null
printf '# A project\n' > "$work/first/README.md"
git -C "$work/first" add README.md
git -C "$work/first" commit --quiet -m "Begin the project"
git -C "$work/first" push --quiet origin HEAD:main
keruta progress 30 --message "repository made"

git clone --quiet "$work/origin.git" "$work/clone"
cd "$work/clone"
git switch --quiet -c "$branch"
printf '\nSay hello: 今日は\n' >> README.md
git commit --quiet -am "Say hello in the README"
keruta progress 60 --message "committed"

git push --quiet origin "$branch"
keruta progress 90 --message "pushed"
git --no-pager -C "$work/origin.git" log --stat --format='%h %an: %s' -1 "$branch"
keruta success --message "pushed $(git rev-parse --short HEAD) to $branch"
