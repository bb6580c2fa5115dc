"""Detects the single-byte encoding of a text by the likelihood of its non-ASCII letters in some language.

    likely([b"citt\\x88", ...], bytes_seen) -> [Reading("mac-roman", -9.3, ("città", ...)), ...], the likeliest first

Each candidate encoding decodes the same bytes. Its score is the logarithm of the likelihood of the decoded text, in the
language that fits best (a naive Bayes classifier). The features are:
* the share of each letter in running text, and its place in the word (Italian accents are at the end);
* case (no capital after a small letter) and script (a word does not mix scripts);
* the neighbours of a sign (a euro sign beside a number, a closing quote after a word);
* common short words, which tell the language, so that one "citt?" among Italian words is enough.
Windows-1252 has the highest prior, because most files that are not UTF-8 use it.

Charset detectors that count letters of whole texts fail here, because cells are short and most of a CSV is ASCII.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

# name -> (codec, prior): a nat is one power of e, and such files are that many nats rarer than those in Windows-1252
ENCODINGS = {
    "windows-1252": ("cp1252", 0.0), "iso-8859-15": ("iso8859_15", 2.5), "mac-roman": ("mac_roman", 3.5),
    "cp850": ("cp850", 4.5), "windows-1250": ("cp1250", 2.5), "iso-8859-2": ("iso8859_2", 3.5),
    "cp852": ("cp852", 5.0), "mac-latin2": ("mac_latin2", 6.0), "windows-1251": ("cp1251", 1.5),
    "koi8-r": ("koi8_r", 2.0), "koi8-u": ("koi8_u", 3.0), "cp866": ("cp866", 3.0),
    "mac-cyrillic": ("mac_cyrillic", 5.0), "windows-1253": ("cp1253", 2.0), "windows-1254": ("cp1254", 3.0),
    "windows-1255": ("cp1255", 3.0), "windows-1257": ("cp1257", 3.0),
}
FIRST = 40  # lines by which the candidates of a larger sample are chosen
CLOSE = 3.0  # nats: a reading is taken when it is 20 times likelier than the next
NONSENSE = {"latin": -7.6, "other": -4.7}  # nats a letter (and 6 less in all): a lower score is nonsense

_LETTERS: dict[str, dict[str, float]] = {}  # share of each non-ASCII letter in running text, by language
_ALONE: dict[str, str] = {}  # letters that are words by themselves
_WORDS: dict[str, frozenset[str]] = {}
for _line in Path(__file__).with_name("languages.tsv").read_text("utf-8").splitlines():
    if not _line.startswith("#"):
        _name, _letters, _ALONE[_name], _words = _line.split("\t")
        _LETTERS[_name] = {c: int(n) / 1e4 for c, n in re.findall(r"(\D)(\d+)", _letters)}
        _WORDS[_name] = frozenset(_words.split())
_RARER = {"it": 0.0, "fr": 1.5, "de": 1.5, "es": 1.5}  # nats by which a language is rarer than Italian here; others: 3
_AT_END = {"it": 0.9}  # share of these letters at the end of a word; in other languages about a quarter
_FOREIGN = ("ru", "uk", "bg", "sr", "el", "he")  # languages with another script, where ASCII words are rare
_ABROAD: dict[str, float] = {}  # largest share of a Latin letter in any language, for names and loan words
for _name in _LETTERS.keys() - set(_FOREIGN):
    for _c, _p in _LETTERS[_name].items():
        _ABROAD[_c] = max(_p, _ABROAD.get(_c, 0.0))
_WORD = re.compile(r"[A-Za-z]+(?![^\W\d_])")
_HIGH = re.compile(r"[^\x00-\x7f]")


class Reading(NamedTuple):
    """The sample as decoded by one encoding. `score` is in nats, higher is likelier; `sense` is false for nonsense."""

    encoding: str
    score: float
    texts: tuple[str, ...]
    sense: bool


def likely(sample: list[bytes], seen: bytes) -> list[Reading]:
    """Readings of a sample by all encodings that can decode the bytes `seen`, the likeliest first."""
    names = [name for name, (codec, _) in ENCODINGS.items() if _can_decode(codec, seen)]
    if len(sample) > FIRST:  # an encoding that is far behind in a part of the sample cannot win in all of it
        names = [r.encoding for r in _readings(names, sample[:: len(sample) // FIRST])[:6]]
    return _readings(names, sample)


def _can_decode(codec: str, seen: bytes) -> bool:
    try:
        seen.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


def _readings(names: list[str], sample: list[bytes]) -> list[Reading]:
    found = []
    for name in names:
        codec, rarer = ENCODINGS[name]
        texts = tuple(line.decode(codec, "replace") for line in sample)
        score, least = _score(texts)
        found.append(Reading(name, score - rarer, texts, score - rarer > least))
    return sorted(found, key=lambda reading: -reading.score)


def _score(texts: tuple[str, ...]) -> tuple[float, float]:
    """(nats of the texts in the languages that fit best, nats below which they are nonsense)."""
    letters: list[Counter[tuple[str, str]]] = []
    words: list[Counter[str]] = []
    common, signs = 0.0, 0
    for text in texts:
        letters.append(counted := Counter())
        words.append(Counter(word.lower() for word in _WORD.findall(text)))
        for found in _HIGH.finditer(text):
            at, c = found.start(), found.group()
            before, after = text[at - 1 : at] if at else " ", text[at + 1 : at + 2] or " "
            if c.isalpha() and c not in "ªºµˆ" and len(c.lower()) == 1:
                common += math.log(_fits(c, before, after))
                end = "hiatus" if before in "aeoAEO" else "end"
                place = "inside" if after.isalpha() else end if before.isalpha() else "alone"
                counted[c.lower(), place] += 1
            else:
                common, signs = common + math.log(_sign(c, before, after)), signs + 1
    total = sum(map(Counter.total, letters))
    if not total:
        return common, -10.0 * signs - 6.0
    ascii_letters = sum(len(word) * n for counted in words for word, n in counted.items())
    likely_in, fixed = {}, {}
    for name in _LETTERS:
        likely_in[name] = _in_language(name, letters, words)
        fixed[name] = -_RARER.get(name, 3.0)
        if name in _FOREIGN:
            fixed[name] -= min(12.0, 0.6 * max(0, ascii_letters - total) ** 0.5)
    used, best, languages = _languages(likely_in, fixed)
    least = sum(NONSENSE["other" if name in _FOREIGN else "latin"] * Counter.total(counted)
                for name, counted in zip(languages, letters, strict=True))
    return common + best, least + NONSENSE["latin"] * signs - 6.0 * len(used)


def _in_language(name: str, letters: list[Counter], words: list[Counter]) -> list[float]:
    """Nats of each text in one language. Common words give at most 10 nats in all texts together."""
    known, at_end, alone = _LETTERS[name], _AT_END.get(name, 0.25), _ALONE.get(name, "")
    hiatus = at_end * (0.02 if name == "it" else 0.5)
    met = [sum(n for word, n in counted.items() if word in _WORDS.get(name, ())) for counted in words]
    each = min(1.2, 10.0 / max(sum(met), 1))
    nats: dict[tuple[str, str], float] = {}
    scores = []
    for counted, n in zip(letters, met, strict=True):
        score = each * n
        for key, times in counted.items():
            if key not in nats:
                c, place = key
                single = 0.15 if c in alone else 0.03 if name in _FOREIGN else 0.005
                share = {"end": at_end, "inside": 1 - at_end, "alone": single, "hiatus": hiatus}[place]
                nats[key] = math.log(known.get(c, 0.0) * share * 0.95 + _ABROAD.get(c, 0.0) * 0.004 + 1e-7)
            score += times * nats[key]
        scores.append(score)
    return scores


def _languages(likely_in: dict[str, list[float]], fixed: dict[str, float]) -> tuple[list[str], float, list[str]]:
    """(languages of the texts, their nats, language of each text). At most 4; each further one must gain 6 nats."""
    used = [max(likely_in, key=lambda name: sum(likely_in[name]) + fixed[name])]
    line = list(likely_in[used[0]])
    best = sum(line) + fixed[used[0]]
    while len(used) < 4:
        gains = {name: sum(max(a - b, 0.0) for a, b in zip(likely_in[name], line, strict=True)) + fixed[name]
                 for name in likely_in if name not in used}
        name = max(gains, key=gains.__getitem__)
        if gains[name] < 6.0:
            break
        used.append(name)
        line = list(map(max, likely_in[name], line))
        best += gains[name]
    return used, best, [max(used, key=lambda name: likely_in[name][at]) for at in range(len(line))]


def _script(c: str) -> str:
    return "latin" if c < "\u0250" else "greek" if c < "\u0400" else "cyrillic" if c < "\u0530" else "hebrew"


def _fits(c: str, before: str, after: str) -> float:
    """How likely a letter is between its neighbours, in any language: a factor of at most 1."""
    fit = 1.0
    if c.isupper():
        fit = 0.002 if before.islower() else 0.25 if before.isupper() or not after.islower() else 0.1
    elif before.isupper() and after.isupper():
        fit = 0.02
    if (c in "ñÑ" and after not in "aeiouAEIOUáéíóúÁÉÍÓÚ") or (c in "æøåÆØÅ" and before in "aeoAEO"):
        fit *= 0.02  # then it is rather a Polish ń before a consonant, or a Croatian ć between vowels
    if c in "ńŃ" and after in "aeiouAEIOU":
        fit *= 0.05
    for other in (before, after):
        if other.isalpha() and _script(other) != _script(c):
            fit *= 0.001
        elif other.isdigit():
            fit *= 0.05
    return fit


# (signs, likelihood, what may be before, what may be after); the kinds of neighbours are b (blank, bracket, quote or
# separator), a (letter), d (digit) and o (other); "" allows any.
_SIGNS = (
    ("’", 4e-3, "a", "a"), ("’", 1e-3, "ad", ""), ("’", 5e-4, "b", "ad"), ("‘", 2e-4, "b", "ad"), ("´`", 1e-4, "a", ""),
    ("“„‚‹", 6e-4, "b", "ad"), ("«»", 6e-4, "b", "adbo"), ("”“", 6e-4, "ado", "b"), ("«»›", 6e-4, "adbo", "bo"),
    ("–—", 1e-3, "b", "bd"), ("–—", 1e-3, "d", "d"), ("–—", 5e-5, "a", "ab"), ("…", 5e-4, "adbo", "bo"),
    ("€", 2e-3, "bd", "bd"), ("£¥", 1e-4, "bd", "bd"), ("°", 6e-4, "adb", "bad"), ("ºª", 1e-4, "d", ""),
    ("ºª", 1e-4, "a", "b"), ("®™", 3e-4, "adb", "b"), ("©", 3e-4, "b", ""), ("½¼¾", 1e-4, "bd", "b"),
    ("²³", 6e-4, "ad", "bo"), ("×", 4e-4, "bd", "bd"), ("÷±", 1e-4, "bd", "bd"), ("µ", 1e-4, "bd", "a"),
    ("·•", 1e-4, "b", ""), ("·", 1e-4, "a", "a"), ("§№", 2e-4, "b", "bd"), ("¿¡", 4e-4, "b", "a"),
    ("\xa0", 1e-3, "", ""), ("\xad", 5e-5, "a", "a"), ("‰", 5e-5, "bd", "b"), ("†‡¶", 1e-5, "", "b"),
    ("¬¦¨¯¸ˆ˜¤", 2e-7, "", ""),
)
_BLANK = " \t\xa0,;:.!?()[]{}\"'/«»“”’"


def _kind(c: str) -> str:
    return "b" if c in _BLANK else "a" if c.isalpha() else "d" if c.isdigit() else "o"


def _sign(c: str, before: str, after: str) -> float:
    """Likelihood of a sign between its neighbours."""
    if c < "\xa0":
        return 1e-9  # control characters of ISO 8859
    left, right = _kind(before), _kind(after)
    return max((likelihood for signs, likelihood, lefts, rights in _SIGNS
                if c in signs and (not lefts or left in lefts) and (not rights or right in rights)), default=1e-6)
