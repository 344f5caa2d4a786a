#!/usr/bin/env bash
# Fails because of a broken file, and says why. keruta then files an auto-fix task: this script
# again, with KERUTA_AUTO_FIX=1, upon which it repairs the file first and succeeds.
set -euo pipefail
# Outside of a keruta run nobody hears the reports: print them.
[ -n "${KERUTA_RUN_TOKEN:-}" ] || keruta() { printf '(keruta %s)\n' "$*"; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'port=eighty\n' > "$work/service.conf"

if [ "${KERUTA_AUTO_FIX:-}" = 1 ]; then
    echo "fix ${KERUTA_FIX_COUNT:-1} for error ${KERUTA_FIX_ERROR_CODE:-unknown}: port=80"
    sed -i 's/eighty/80/' "$work/service.conf"
fi

keruta progress 50 --message "checking service.conf"
port=$(sed -n 's/^port=//p' "$work/service.conf")
if ! [[ $port =~ ^[0-9]+$ ]]; then
    echo "service.conf: the port is '$port', which is no number" >&2
    keruta fail --message "service.conf: '$port' is no port" --error-code BAD_PORT
    exit 3
fi
echo "service.conf is fine: port $port"
keruta success --message "the service would listen on port $port"
