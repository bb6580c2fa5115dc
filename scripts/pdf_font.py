"""Makes the font of the PDFs from a TTF of Inter: `python scripts/pdf_font.py IN.ttf OUT.ttf` (needs fontTools).

reportlab draws the glyph of each character and knows no features of OpenType. So the digits of this copy are the
tabular ones, as columns of numbers need, and the tables of features and hints are left out. It keeps Latin, Greek,
Cyrillic, punctuation, currencies, and the arrows and shapes that reports use.
"""

from __future__ import annotations

import sys

from fontTools import subset
from fontTools.ttLib import TTFont

KEPT = [(0x20, 0x7E), (0xA0, 0x52F), (0x1E00, 0x1FFE), (0x2000, 0x206F), (0x2070, 0x209F), (0x20A0, 0x20C0),
        (0x2100, 0x214F), (0x2190, 0x2199), (0x2200, 0x22FF), (0x25A0, 0x25FF), (0x2713, 0x2717), (0xFB00, 0xFB04)]


def main(source: str, target: str) -> None:
    """Write the copy. The same source gives the same bytes."""
    font = TTFont(source, recalcTimestamp=False)
    names = "zero one two three four five six seven eight nine".split()
    for table in font["cmap"].tables:
        for digit, name in enumerate(names):
            if 0x30 + digit in table.cmap:
                table.cmap[0x30 + digit] = f"{name}.tf"
    options = subset.Options(layout_features=[], hinting=False, glyph_names=False, notdef_outline=True,
                             name_IDs=["*"], recalc_timestamp=False)
    options.drop_tables += ["GSUB", "GPOS", "GDEF", "STAT", "DSIG", "gasp", "meta"]
    cut = subset.Subsetter(options)
    cut.populate(unicodes=[code for first, last in KEPT for code in range(first, last + 1)])
    cut.subset(font)
    font.save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
