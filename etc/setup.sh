#!/bin/sh
# Sets keruta up in .venv/ of this checkout; done again, it changes nothing and takes a moment.
#
#   sh etc/setup.sh       to run it:  .venv/bin/keruta
#   sh etc/setup.sh dev   to work on it and test it: the checkout itself is installed, with the
#                         tools for tests and checks
#
# Needs Python 3.11 or newer. Nothing outside of .venv/ is touched, except that as root on Debian
# and Ubuntu the package python3-venv is installed when it is missing.
set -eu

cd "$(dirname "$0")/.."
kind=${1:-run}
case $kind in
run | dev) ;;
*)
    echo "setup.sh: unknown word '$kind': say nothing, or dev" >&2
    exit 2
    ;;
esac

find_python() {
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
            command -v "$name"
            return
        fi
    done
    echo "setup.sh: no Python 3.11 or newer is on the PATH; install one and try again" >&2
    return 1
}

make_venv() {
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2> /dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        if [ "$(id -u)" -eq 0 ] && command -v apt-get > /dev/null; then
            echo "setup.sh: installs python$version-venv" >&2
            export DEBIAN_FRONTEND=noninteractive
            { apt-get -qq update && apt-get -qq install -y "python$version-venv"; } > /dev/null
        else
            echo "setup.sh: $python has no venv. Install it and try again, such as with:" >&2
            echo "  sudo apt-get install python$version-venv" >&2
            exit 1
        fi
    fi
    # --clear: an attempt that was cut off leaves half a directory.
    "$python" -m venv --clear .venv
}

# What the installation depends on: when it is the same as last time, all is done. The run kind
# copies the package, so that each of its files counts there.
fingerprint() {
    {
        echo "$1"
        pwd -P
        cat pyproject.toml
        if [ "$1" = run ]; then
            find keruta_agent tasks -type f ! -name '*.pyc' -exec cksum {} + | sort
        fi
    } | cksum
}

is_done() {
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint "$1")" ] &&
        .venv/bin/keruta --version > /dev/null 2>&1
}

# A directory that was moved or copied has programs that belong to the old place.
has_venv() {
    .venv/bin/python -m pip --version > /dev/null 2>&1 &&
        [ "$(.venv/bin/pip --version 2>&1)" = "$(.venv/bin/python -m pip --version)" ]
}

stamp=.venv/keruta-setup
# What was set up for tests runs as well.
if is_done "$kind" || is_done dev; then
    exit 0
fi

has_venv || make_venv
rm -f "$stamp"
# Left by setuptools; files that are gone from the package would live on in it.
rm -rf build
if [ "$kind" = dev ]; then
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
else
    .venv/bin/python -m pip install --quiet --disable-pip-version-check '.[llm]'
fi
rm -rf build
fingerprint "$kind" > "$stamp"
