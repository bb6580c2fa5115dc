#!/usr/bin/env bash
# Collect the texts of app/ and templates/ into the Italian catalogue and compile it. English is the source.
# translations/stored.pot has the sentences that are written into rows (app/support/messages.py).
set -euo pipefail
cd "$(dirname "$0")/.."
pot=$(mktemp)
trap 'rm -f "$pot"' EXIT
.venv/bin/pybabel -q extract -F app/translations/babel.cfg -k _ -k Message -k ngettext:1,2 -k pgettext:1c,2 --no-location --sort-output -o "$pot" .
.venv/bin/pybabel -q extract -F app/translations/babel.cfg --no-default-keywords -k Message --no-location --sort-output --omit-header --no-wrap \
  -o app/translations/stored.pot .
.venv/bin/pybabel -q update -i "$pot" -d app/translations -l it --no-fuzzy-matching --ignore-obsolete --no-wrap
sed -i '/^"POT-Creation-Date\|^"PO-Revision-Date\|^"Generated-By\|^"Last-Translator\|^"Language-Team\|^"Report-Msgid/d' app/translations/it/LC_MESSAGES/messages.po
.venv/bin/pybabel -q compile -d app/translations -l it --statistics
