#!/usr/bin/env bash
# Renews the pinned front-end files and the font of the PDFs from npm: static/vendor, static/icons.svg, tests/e2e/vendor.
# Usage: bash scripts/vendor.sh     (needs npm, python3 and pip; nothing else of the project needs npm)
# To take a newer version change its number here, run, look at the pages, commit what changed.
set -euo pipefail
cd "$(dirname "$0")/.."

TABLER=1.6.1 ALPINE=3.17.4 CHARTJS=4.6.1 INTER=5.3.0 ICONS=3.51.0 AXE=4.14.1 PDF_INTER=0.4.2 FONTTOOLS=4.68.0

# Names of the outline icons in the sprite; add one, run, use it as {{ ui.icon("name") }}.
NAMES="activity alert-triangle arrow-bar-to-up arrow-down arrow-left arrow-right arrow-up ban bell bolt bolt-off
calendar-time check chevron-down chevron-up circle-check clock clock-exclamation clock-x copy dots download edit external-link eye file
filter hand-stop hourglass info-circle language list lock logout menu-2 moon pencil player-pause player-play plus power
refresh rotate-clockwise search send server stack-2 sun terminal trash upload user volume-off x"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fetch() { # name version folder
    mkdir -p "$work/$3"
    (cd "$work" && npm pack --silent "$1@$2" --pack-destination "$work/$3" >/dev/null)
    tar -xzf "$work/$3"/*.tgz -C "$work/$3"
}
fetch @tabler/core "$TABLER" tabler
fetch @alpinejs/csp "$ALPINE" alpine
fetch chart.js "$CHARTJS" chart
fetch @fontsource-variable/inter "$INTER" inter
fetch @tabler/icons "$ICONS" icons
fetch axe-core "$AXE" axe
fetch @expo-google-fonts/inter "$PDF_INTER" pdf-inter

python3 -m venv "$work/fonttools" && "$work/fonttools/bin/pip" -q install "fonttools==$FONTTOOLS"
for weight in 400Regular:regular 600SemiBold:semibold; do
    from=${weight%:*}
    "$work/fonttools/bin/python" scripts/pdf_font.py \
        "$work/pdf-inter/package/$from/Inter_$from.ttf" "static/vendor/inter-${weight#*:}.ttf"
done

WORK="$work" NAMES="$NAMES" python3 - "$TABLER" "$ALPINE" "$CHARTJS" "$INTER" "$ICONS" "$AXE" "$PDF_INTER" <<'PY'
import hashlib, json, os, re, sys
from pathlib import Path

work, out, e2e = Path(os.environ["WORK"]), Path("static/vendor"), Path("tests/e2e/vendor")
tabler, alpine, chart, inter, icons, axe, pdf_inter = sys.argv[1:]
for folder in (out, e2e):
    folder.mkdir(parents=True, exist_ok=True)

MIT = """The MIT License (MIT)

Copyright (c) {who}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def licence(folder: str, target: Path, who: str = "") -> None:
    """The package's own licence; where npm's package has none, the text its package.json names."""
    package = work / folder / "package"
    own = next((p for p in sorted(package.iterdir()) if re.fullmatch(r"LICEN[CS]E(\.md|\.txt)?", p.name)), None)
    if own:
        text = own.read_text()
    else:
        said = json.loads((package / "package.json").read_text())["license"]
        if said != "MIT":
            raise SystemExit(f"{folder}: licence is {said}, look at it by hand")
        text = MIT.format(who=who)
    target.write_text(text.rstrip() + "\n")


def copy(source: str, target: Path) -> None:
    data = (work / source).read_bytes()
    if target.suffix in (".js", ".css"):  # source maps are not shipped: a link to one is only a 404
        data = re.sub(rb"\n?/[/*]# sourceMappingURL=\S+( \*/)?", b"", data).rstrip() + b"\n"
    target.write_bytes(data)


copy("tabler/package/dist/css/tabler.min.css", out / "tabler.min.css")
copy("alpine/package/dist/cdn.min.js", out / "alpine-csp.min.js")
copy("chart/package/dist/chart.umd.min.js", out / "chart.umd.min.js")
copy("inter/package/files/inter-latin-wght-normal.woff2", out / "inter-latin-wght-normal.woff2")
copy("axe/package/axe.min.js", e2e / "axe.min.js")
licence("tabler", out / "LICENCE-tabler.txt", "2018-2026 The Tabler Authors\nCopyright (c) 2018-2026 codecalm.net Paweł Kuna")
licence("alpine", out / "LICENCE-alpine.txt", "2019-2025 Caleb Porzio and contributors")
licence("chart", out / "LICENCE-chartjs.txt")
licence("inter", out / "LICENCE-inter.txt")
licence("icons", out / "LICENCE-tabler-icons.txt")
licence("axe", e2e / "LICENCE-axe-core.txt")

symbols = []
for name in sorted(set(os.environ["NAMES"].split())):
    svg = (work / "icons/package/icons/outline" / f"{name}.svg").read_text()
    inner = re.search(r"<svg[^>]*>(.*)</svg>", svg, re.S).group(1)
    inner = re.sub(r'<path stroke="none" d="M0 0h24v24H0z"[^>]*>', "", inner)
    inner = re.sub(r"\s*\n\s*", "", inner).replace(" />", "/>")
    symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{inner}</symbol>')
Path("static/icons.svg").write_text(
    f"<!-- Tabler Icons {icons}, MIT, see vendor/LICENCE-tabler-icons.txt; made by scripts/vendor.sh -->\n"
    '<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols) + "\n</svg>\n"
)

rows = [
    ("@tabler/core", tabler, out / "tabler.min.css"),
    ("@alpinejs/csp", alpine, out / "alpine-csp.min.js"),
    ("chart.js", chart, out / "chart.umd.min.js"),
    ("@fontsource-variable/inter", inter, out / "inter-latin-wght-normal.woff2"),
    ("@expo-google-fonts/inter", pdf_inter, out / "inter-regular.ttf"),
    ("@expo-google-fonts/inter", pdf_inter, out / "inter-semibold.ttf"),
    ("@tabler/icons", icons, Path("static/icons.svg")),
    ("axe-core", axe, e2e / "axe.min.js"),
]
lines = [f"{name} {version} {path} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for name, version, path in rows]
(out / "VERSIONS.txt").write_text("\n".join(lines) + "\n")
PY
cat static/vendor/VERSIONS.txt
