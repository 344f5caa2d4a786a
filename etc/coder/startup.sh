#!/bin/sh
# Installs keruta into the workspace's home and starts its daemon. Done again at each start of the
# workspace; a script that was running when the workspace stopped is reported as lost, and the rest
# of the queue goes on.
#
# A Terraform template: "source" and "keep_awake" come from main.tf.
set -eu

venv="$HOME/.keruta/venv"
# An image with another Python leaves a venv that does not work any more.
"$venv/bin/python" -m pip --version > /dev/null 2>&1 || python3 -m venv --clear "$venv"
# Where nothing can be fetched now, the keruta of the last start does.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check '${source}' ||
    [ -x "$venv/bin/keruta" ]

cat > "$HOME/.keruta/keep-awake.sh" << 'END_OF_HOOK'
${keep_awake}
END_OF_HOOK

# Nothing to do when it runs already: a second daemon says so and ends.
nohup "$venv/bin/keruta" daemon --log-file "$HOME/.keruta/daemon.log" > /dev/null 2>&1 < /dev/null &
