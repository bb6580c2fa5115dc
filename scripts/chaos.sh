#!/usr/bin/env bash
# Kills random processes of a running product for minutes and counts what became of each job; see tests/chaos/harness.py.
#   bash scripts/chaos.sh --jobs 10000 --kills 200 [--seed N]
#   bash scripts/chaos.sh graphs --jobs 200 --kills 60 [--graphs N]   random graphs, failures, retries; see tests/chaos/graphs.py
#   bash scripts/chaos.sh --short --jobs 20000 --kills 40        short jobs, in groups, and some that kill their worker
#   bash scripts/chaos.sh --paused 100000                        pending, paused, resumed: tickets counted
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/venv.sh dev
what=harness
if [ "${1:-}" = graphs ]; then what=graphs; shift; fi
exec .venv/bin/python -m "tests.chaos.$what" "$@"
