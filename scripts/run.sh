#!/usr/bin/env bash
# From a clean clone to the running site: environment, database, first super-admin, web, workers, monitor.
#   bash scripts/run.sh [--prepare]      --prepare does the first three only and ends
# Settings come from the environment and from .env (see .env.example). Ctrl-C stops everything.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
bash "$root/scripts/venv.sh"
exec "$root/.venv/bin/python" -S "$root/scripts/launch/launcher.py" "$@"   # -S: it needs no package, and stays small
