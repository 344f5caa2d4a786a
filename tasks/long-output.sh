#!/usr/bin/env bash
# Prints some thousand lines, numbered: all of them arrive, in order.
# LINES_TO_PRINT says how many.
set -euo pipefail
# Outside of a keruta run nobody hears the reports: print them.
[ -n "${KERUTA_RUN_TOKEN:-}" ] || keruta() { printf '(keruta %s)\n' "$*"; }

count="${LINES_TO_PRINT:-3000}"
for part in 1 2 3 4; do
    seq -f "line %g of $count" "$(((part - 1) * count / 4 + 1))" "$((part * count / 4))"
    keruta progress "$((part * 25))" --message "$((part * count / 4)) lines"
done
keruta success --message "printed $count lines"
