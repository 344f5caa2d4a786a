#!/usr/bin/env bash
# Shows progress and log lines: what a script prints becomes the task's log, what it reports
# becomes the task's progress.
set -euo pipefail
# Outside of a keruta run nobody hears the reports: print them.
[ -n "${KERUTA_RUN_TOKEN:-}" ] || keruta() { printf '(keruta %s)\n' "$*"; }

steps=5
for step in $(seq 1 "$steps"); do
    echo "step $step of $steps"
    keruta progress "$((step * 100 / steps))" --message "step $step of $steps"
    sleep "${PAUSE:-0.3}"
done
echo "こんにちは: what goes to standard error is logged as a warning" >&2
keruta log INFO "a line with a level of its own"
keruta success --message "said hello $steps times"
