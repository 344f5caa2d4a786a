#!/usr/bin/env bash
# Leaves files behind: what a script writes below $KERUTA_ARTIFACTS_DIR is stored with the task.
# Makes a small table, a picture drawn from it, and a file with a Japanese name.
set -euo pipefail
# Outside of a keruta run nobody hears the reports, and the files go below this directory.
[ -n "${KERUTA_RUN_TOKEN:-}" ] || keruta() { printf '(keruta %s)\n' "$*"; }
target="${KERUTA_ARTIFACTS_DIR:-$PWD/artifacts}/sales"

mkdir -p "$target"
printf 'month,amount\nJan,12\nFeb,30\nMar,21\nApr,38\n' > "$target/sales.csv"
keruta progress 40 --message "table written"

{
    echo '<svg xmlns="http://www.w3.org/2000/svg" width="120" height="50">'
    x=10
    while IFS=, read -r month amount; do
        echo "  <rect x=\"$x\" y=\"$((45 - amount))\" width=\"20\" height=\"$amount\"" \
            "fill=\"teal\"><title>$month: $amount</title></rect>"
        x=$((x + 26))
    done < <(tail -n +2 "$target/sales.csv")
    echo '</svg>'
} > "$target/sales.svg"
keruta progress 80 --message "picture drawn"

printf '四か月の合計: %s\n' "$(awk -F, 'NR > 1 { sum += $2 } END { print sum }' "$target/sales.csv")" \
    > "$target/売上の要約.txt"
cat "$target/売上の要約.txt"
keruta success --message "three files written"
