#!/usr/bin/env bash
# All that CI checks: lint, then tests of each package, of real processes and in a browser.
#   bash scripts/test.sh [pytest arguments]
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
cd "$root"
bash scripts/venv.sh dev postgres redis prometheus sentry ml
.venv/bin/python -m ruff check .

marks=()
if ! command -v chromium chromium-browser google-chrome >/dev/null; then
    echo "=====================================================================" >&2
    echo "  NO CHROMIUM on this machine: the browser tests cannot run." >&2
    echo "  Install it (Debian: apt install chromium) to see everything tested." >&2
    echo "=====================================================================" >&2
    [ -z "${CI:-}" ] || exit 1
    marks=(-m "not e2e")
fi
# With a real WordPress: a minute. Elsewhere than in CI only when its packages are there.
if [ "$#" = 0 ] && { [ -n "${CI:-}" ] || { [ -e /usr/share/wordpress/wp-load.php ] && command -v mariadbd; }; }; then
    bash scripts/real-wordpress.sh
fi
exec .venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder "${marks[@]}" "$@"  # most tests wait for processes
