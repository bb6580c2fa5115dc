#!/usr/bin/env bash
# Workers alone, in the foreground: bash scripts/start-workers.sh [N] [--queue high,default]
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
bash "$root/scripts/venv.sh"
exec "$root/.venv/bin/python" "$root/scripts/launch/workers.py" "$@"
