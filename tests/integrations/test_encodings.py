"""Which encoding a file is in: real sentences in many, short and long; never nonsense in silence."""

from __future__ import annotations

import time

import pytest

from app.integrations import text_sample
from app.integrations.csv_files import open_csv
from app.integrations.encodings import ENCODINGS
from app.integrations.text_files import NAMES, Unsure, find_encoding
from app.support.validation import ValidationError

REQUIRED = ("reference", "title", "body")
ITALIAN = (
    "Perché la città è più bella di sera;Non c’è modo di sapere se sarà così: può darsi, ma è già tardi.",
    "Caffè macinato, 250 g;Tostato a legna, ha un aroma che dà felicità. È buono, costa 4 € al pezzo.",
    "Università degli Studi;L’unità di misura è il chilo: né più né meno. Lunedì e martedì è chiuso.",
)
TEXTS = {  # encoding -> sentences of a language that is written in it
    "windows-1252": (ITALIAN, (
        "Crème brûlée;À la carte : le dîner est servi dès l’été, où l’on veut. Ça coûte 12 €.",
        "Müller & Söhne;Die Straße ist für Fußgänger geöffnet – auch im März.",
        "Jalapeño;El niño comió en el jardín con su compañía y después se marchó.",
    )),
    "iso-8859-15": (("Olio extravergine;Il prezzo è di 12,50 € la bottiglia, in città e più in là.",),),
    "mac-roman": (ITALIAN, ("Perché no;La qualità è più alta, però costa.",)),
    "cp850": (("Listino;La qualità è più alta, però la città è lontana e può costare.",),),
    "windows-1250": (
        ("Łódź;Zażółć gęślą jaźń, to jest książka o życiu i o śmierci.", "Gdańsk;Dziękuję bardzo, proszę przyjść jutro na obiad."),
        ("Kůň;Příliš žluťoučký kůň úpěl ďábelské ódy, ale nikdo ho neslyšel.", "Řeka;Ještě jednou děkuji za všechno, co jste pro mě udělali."),
        ("Könyv;A gyönyörű őszi erdőben sétálva a fűszeres levegő és a csönd.",),
    ),
    "iso-8859-2": (("Łódź;Zażółć gęślą jaźń, to jest książka o życiu i o śmierci.",),),
    "windows-1251": (
        ("Москва;Привет, мир! Это хорошая книга для всех, кто её читает.", "Товар;Чехол для телефона, чёрный, размер № 5"),
        ("Київ;Це дуже гарне місто, і ми його любимо.",), ("София;Това е хубав град с дълга история.",),
    ),
    "koi8-r": (("Москва;Привет, мир! Это хорошая книга для всех, кто её читает.",),),
    "cp866": (("Москва;Привет, мир! Это хорошая книга для всех, кто её читает.",),),
    "windows-1253": (("Αθήνα;Η πόλη είναι όμορφη και ο καιρός πολύ καλός σήμερα.",),),
    "windows-1254": (("İstanbul;Bu şehir çok güzel, ama ılık bir gün değil; ağaçlar yeşil.",),),
    "windows-1255": (("ירושלים;העיר הזאת יפה מאוד ואנחנו אוהבים אותה",),),
}
CASES = [(name, sentences) for name, several in TEXTS.items() for sentences in several]


def write(tmp_path, text: str | bytes, encoding: str = "utf-8"):
    path = tmp_path / "file.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def file_of(tmp_path, sentences, codec: str, times: int = 1):
    rows = [f"r{n}-{i};{sentence}" for n in range(times) for i, sentence in enumerate(sentences)]
    return write(tmp_path, "\n".join(["reference;title;body", *rows]) + "\n", codec), rows


@pytest.mark.parametrize("times", [1, 300])
@pytest.mark.parametrize(("name", "sentences"), CASES, ids=lambda v: v if isinstance(v, str) else v[0].split(";")[0])
def test_sentences_are_read_as_they_were_written(tmp_path, name, sentences, times):
    path, rows = file_of(tmp_path, sentences, ENCODINGS[name][0], times)
    source = open_csv(path, REQUIRED)
    assert [";".join(r.cells) for r in source.records()] == rows
    if name in ("windows-1252", "mac-roman", "windows-1251", "koi8-r", "windows-1250"):
        assert source.encoding.name == name


@pytest.mark.parametrize("title", [
    "Tè verde", "Caffè", "QUALITÀ", "Lunedì", "n° 5", "5 m³", "l’olio", "12,50 €", "Müller", "Crème brûlée", "Perché", "ciao…", "“Prima” scelta",
    "Città – centro", "È buono", "Virtù", "già", "Maglia 100% cotone · blu", "Jalapeño", "½ kg", "A4×4", "Però", "San Nicolò",
])
def test_a_single_italian_title_in_windows_1252_just_works(tmp_path, title):
    path = write(tmp_path, f"reference;title;body\n1;{title};Articolo di magazzino\n", "cp1252")
    assert [r.cells[1] for r in open_csv(path, REQUIRED).records()] == [title]


def writable(codec: str, word: str) -> bool:
    try:
        return bool(word.encode(codec))
    except UnicodeEncodeError:
        return False


CODECS = ("cp1252", "mac_roman", "iso8859_15", "cp850", "cp1250", "iso8859_2", "cp1251", "koi8_r", "cp866", "cp1253")
WORDS = ("Perché", "Città", "Łódź", "Dvořák", "žába", "Москва", "кот", "Αθήνα", "señor", "œuvre", "12 €", "l’ora", "Gdańsk")


@pytest.mark.parametrize(("codec", "word"), [(codec, word) for codec in CODECS for word in WORDS if writable(codec, word)])
def test_a_single_word_is_read_right_or_asked_about_never_garbled(tmp_path, codec, word):
    path = write(tmp_path, f"reference;title;body\n1;{word};Text\n", codec)
    try:
        titles = [r.cells[1] for r in open_csv(path, REQUIRED).records()]
    except ValidationError as error:
        assert "encoding" in str(error)
        if isinstance(error, Unsure):
            assert any(word in text for _, lines in error.readings for _, text in lines)
    else:
        assert titles == [word]


@pytest.mark.parametrize(("name", "text"), [
    ("SHIFT-JIS|CP932", "東京都は日本の首都です。カタカナとひらがなを使います。"), ("GB", "北京是中国的首都，也是一座历史悠久的城市。"),
    ("BIG5", "臺北是臺灣的首都，也是一座美麗的城市，歡迎光臨。"), ("CP949|EUC-KR", "서울은 대한민국의 수도이며 아름다운 도시입니다."),
])
def test_what_is_not_read_is_named_and_refused(tmp_path, name, text):
    codec = {"S": "cp932", "G": "gb18030", "B": "big5", "C": "cp949"}[name[0]]
    path = write(tmp_path, f"reference;title;body\n1;{text};{text}\n" * 3, codec)
    with pytest.raises(ValidationError, match=rf"seems to be in ({name}).*which is not read"):
        find_encoding(path)


def test_japanese_in_seven_bits_is_not_taken_for_ascii(tmp_path):
    with pytest.raises(ValidationError, match="ISO-2022-JP"):
        find_encoding(write(tmp_path, "reference;title;body\n1;東京;x\n", "iso2022_jp"))


def test_when_several_are_about_as_likely_three_lines_of_each_are_shown(tmp_path):
    for times, shown in ((1, [3]), (3, [3, 5, 7]), (5, [3, 5, 7])):
        text = "".join(f"{n};plain;x\n{n};Dvořák;{'x' * 90}\n" for n in range(times))
        path = write(tmp_path, "reference;title;body\n" + text, "cp1250")
        try:
            assert find_encoding(path).name == "windows-1250" and times > 1
        except Unsure as error:
            assert [name for name, _ in error.readings][:2] == ["windows-1250", "windows-1257"]
            assert [n for n, _ in error.readings[0][1]] == shown and all(len(text) <= 70 for _, text in error.readings[0][1])
            assert "does not tell which" in str(error) and "Windows-1250: 3: 0;Dvořák;x" in str(error) and "Dvoųįk" in str(error)


def test_a_choice_is_obeyed_and_what_it_cannot_read_is_a_sentence_with_the_line(tmp_path):
    path = write(tmp_path, "reference;title;body\n1;Dvořák;x\n", "cp1250")
    assert [r.cells[1] for r in open_csv(path, REQUIRED, "windows-1250").records()] == ["Dvořák"]
    assert [r.cells[1] for r in open_csv(path, REQUIRED, "windows-1252").records()] == ["Dvoøák"]
    with pytest.raises(ValidationError, match="UTF-8 but damaged: line 2"):
        open_csv(path, REQUIRED, "utf-8")
    undefined = write(tmp_path, b"reference,title,body\r1,a,b\r2,\x81,c\r")
    with pytest.raises(ValidationError, match="not Windows-1252, or damaged: line 3"):
        open_csv(undefined, REQUIRED, "windows-1252")
    with pytest.raises(ValidationError, match="an Excel workbook"):
        open_csv(write(tmp_path, b"PK\x03\x04"), REQUIRED, "windows-1252")


@pytest.mark.parametrize("name", NAMES)
def test_each_choice_reads_what_was_written_in_it(tmp_path, name):
    codec = ENCODINGS[name][0] if name in ENCODINGS else name
    path = write(tmp_path, "reference;title;body\n1;plain;x\n", codec)
    assert [r.cells for r in open_csv(path, REQUIRED, name).records()] == [["1", "plain", "x"]]


# UTF-16 and UTF-32

@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["\ufeff", ""])
@pytest.mark.parametrize("text", ["Città è 𝄞 €", "Москва", "日本語の本文"])
def test_utf_16_and_32_are_read_with_a_mark_and_without(tmp_path, codec, mark, text):
    content = f"reference\ttitle\tbody\r\n1\t{text}\tx\r\n2\t{text}\t\r\n"
    path = write(tmp_path, (mark if "-le" in codec or "-be" in codec else "") + content, codec)
    records = [(r.line, r.cells, r.fault) for r in open_csv(path, REQUIRED).records()]
    assert records[0] == (2, ["1", text, "x"], None) and len(records) == 2
    assert find_encoding(path).name == codec[:6]


def test_utf_16_that_is_cut_or_damaged_is_a_sentence_with_the_line(tmp_path):
    whole = "reference,title,body\n1,è,x\n2,b,x\n".encode("utf-16")
    for damaged in (whole[:-1], whole + b"\x00\xd8", whole[:-12] + b"\x00\x00" + whole[-12:]):
        with pytest.raises(ValidationError, match="not UTF-16, or damaged: line [34]"):
            find_encoding(write(tmp_path, damaged))


# Large files: a bounded sample that has every byte of the file in it

def test_first_accents_far_behind_decide_and_rare_ones_too(tmp_path, monkeypatch):
    monkeypatch.setattr(text_sample, "CHUNK", 1 << 16)
    plain = "".join(f"r{n};plain title;some text without anything\n" for n in range(50_000))
    late = plain + "z;Perché la città è più bella;È già così, però\n"
    for codec in ("cp1252", "mac_roman"):
        assert find_encoding(write(tmp_path, "reference;title;body\n" + late, codec)).codec == codec
    many = "".join(f"r{n};Perché;caffé\n" for n in range(50_000))  # é alone is the same in five of them
    path = write(tmp_path, "reference;title;body\n" + many + "z;Łódź i Kraków są piękne, a życie też;x\n", "cp1250")
    try:
        assert find_encoding(path).name == "windows-1250"
    except Unsure as error:
        assert any("Łódź" in text for _, lines in error.readings for _, text in lines)


@pytest.mark.parametrize(("unit", "times", "name"), [
    ("Москва;Привет, мир! Это хорошая книга;для всех\n".encode("cp1251"), 400_000, "windows-1251"),  # nothing but bytes past ASCII
    (b"x" * 997, 16_000, "windows-1252"),  # one line without an end, one accent in it
    (b"plain;text;without\n", 900_000, "windows-1252"),
])
def test_a_large_file_takes_seconds(tmp_path, unit, times, name):
    path = write(tmp_path, unit * times + "Perché è già così, più in là".encode(ENCODINGS[name][0], "ignore"))
    before = time.monotonic()
    assert path.stat().st_size > 15 * 2**20 and find_encoding(path).name == name
    assert time.monotonic() - before < 20
