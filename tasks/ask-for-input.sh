#!/usr/bin/env bash
# Asks a person: a script that waits at its standard input waits for an answer, from whoever sees
# the question first. Answer with `keruta input`, at the API, or in front of `keruta execute`.
set -euo pipefail
# Outside of a keruta run nobody hears the reports: print them.
[ -n "${KERUTA_RUN_TOKEN:-}" ] || keruta() { printf '(keruta %s)\n' "$*"; }

# Sets $answer; the second argument is what no answer means.
ask() {
    printf '%s [%s]: ' "$1" "$2"
    IFS= read -r answer || answer=
    [ -t 0 ] || echo # a terminal has shown the line end that was typed
    answer="${answer:-$2}"
}

ask "Whom shall I greet" "everybody"
name="$answer"
keruta progress 50 --message "it is $name"
ask "How often" "1"
case "$answer" in
    [1-9]) times="$answer" ;;
    *) keruta fail --message "'$answer' is no number from 1 to 9" --no-auto-fix; exit 2 ;;
esac
for _ in $(seq 1 "$times"); do
    echo "Hello, $name!"
done
keruta success --message "greeted $name, $times times"
