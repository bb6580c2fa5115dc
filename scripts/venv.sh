#!/usr/bin/env bash
# Make .venv in the project root and install the pinned dependencies into it.
#   bash scripts/venv.sh [EXTRA...]      extras of pyproject.toml, for example: dev redis
# The other scripts call this first; it takes a moment only when something has changed.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

python=""
for candidate in ${PYTHON:+"$PYTHON"} "$root/.venv/bin/python" python3 python3.14 python3.13 python3.12 python3.11; do
    if new_enough "$candidate"; then python="$candidate"; break; fi
done
if [ -z "$python" ]; then
    found="$(python3 --version 2>/dev/null || echo "no python3 at all")"
    echo "Python 3.11 or newer is needed and was not found (found: $found)." \
         "Install it, or name it: PYTHON=/path/to/python3.11 bash scripts/run.sh" >&2
    exit 1
fi
exec "$python" -B "$root/scripts/launch/install.py" "$@"
