#!/bin/sh
# Tells Coder that the workspace is in use while a task's script runs, which is no connection and
# so no activity: KERUTA_KEEP_AWAKE_HOOK=/path/to/keep-awake.sh. It asks for one hour from now on,
# every ten minutes (KERUTA_KEEP_AWAKE_INTERVAL).
#
# It needs the coder program, and a session token in CODER_SESSION_TOKEN or by `coder login`; the
# template must allow its users to change the time of the stop.
set -eu

url=${CODER_URL:-${CODER_AGENT_URL:?is not set: this is no Coder workspace}}
owner=${CODER_WORKSPACE_OWNER_NAME:-me}
exec coder --url "$url" schedule extend "$owner/${CODER_WORKSPACE_NAME:?is not set}" 1h
