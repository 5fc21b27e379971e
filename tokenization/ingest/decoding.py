"""From a text file's bytes to text, whatever encoding it was saved in.

In this order: a byte order mark; strict UTF-8; UTF-8 with a few damaged bytes; UTF-16 without a mark;
GB18030 and Western European by rules of our own, which are surer than statistics on these; then
charset-normalizer on a bounded sample. A guess counts only if the whole file decodes with it.

Guarantees: line ends become LF and a leading U+FEFF goes. Bytes that look like no text raise
`UndecodableText`. Price: UTF-8 at memory speed; a guess about 0.1 s for files of any size.
"""

from __future__ import annotations

import codecs
import re

SAMPLE_BYTES = 64 << 10
DAMAGE_LIMIT = 1e-3  # damaged places for each character outside ASCII, below which it still is UTF-8

_MARKS = (  # longest first: UTF-32's little-endian mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WESTERN = frozenset(
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüÿŒœ¡¿«»°§ªº·£©®\xa0–—‘’‚“”„…•€™‹›"
)
_HIGH = re.compile(rb"[\x80-\xff]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x80-\x9f]")


class UndecodableText(ValueError):
    """The bytes are text in no encoding that could be told."""


def decode_text(data: bytes) -> tuple[str, str]:
    """(text with LF line ends, name of the encoding). Raises `UndecodableText`."""
    text, encoding = _decode(data)
    return normalise_newlines(text.removeprefix("\ufeff")), encoding


def normalise_newlines(text: str) -> str:
    """CRLF and lone CR become LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _decode(data: bytes) -> tuple[str, str]:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace"), encoding.removesuffix("-sig")
    unmarked = _unmarked_utf16(data)
    if unmarked is not None:
        return data.decode(unmarked, errors="replace"), unmarked
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    for guess in (_damaged_utf8, _gb18030, _western, _by_statistics):
        found = guess(data)
        if found is not None:
            return found
    raise UndecodableText(
        "the bytes are neither UTF-8, UTF-16, GB18030 nor a legacy encoding that could be told; "
        "convert the file to UTF-8, or leave it out if it isn't text"
    )


def _unmarked_utf16(data: bytes) -> str | None:
    """ASCII-rich UTF-16 shows as a NUL in every other byte."""
    sample = data[:SAMPLE_BYTES]
    if not sample or sample.count(0) * 5 < len(sample) or len(data) % 2:
        return None
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) < 20 * (min(even, odd) + 1) and min(even, odd) > 0:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _damaged_utf8(data: bytes) -> tuple[str, str] | None:
    """UTF-8 but for a cut character or a few broken bytes, which become U+FFFD."""
    text = data.decode("utf-8", errors="replace")
    damaged = text.count("\ufffd") - data.count(b"\xef\xbf\xbd")
    sound = sum(1 for character in text if character > "\x7f") - damaged
    if damaged > max(1, DAMAGE_LIMIT * sound) or sound < 2 * damaged:
        return None
    return text, "utf-8 (damaged)"


def _gb18030(data: bytes) -> tuple[str, str] | None:
    """Chinese, where most characters outside ASCII are the 3,755 common ones of GB 2312's first level.

    Western text almost never passes: an accented letter takes the ASCII letter behind it for its second
    byte, and gives rare characters or an error.
    """
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        return None
    sample = [character for character in text[:SAMPLE_BYTES] if character > "\x7f"]
    common = sum(1 for character in sample if _is_common_chinese(character))
    return (text, "gb18030") if sample and common >= 0.8 * len(sample) else None


def _is_common_chinese(character: str) -> bool:
    try:
        lead, *rest = character.encode("gb2312")
    except UnicodeEncodeError:
        return False
    return bool(rest) and (0xB0 <= lead <= 0xD7 or 0xA1 <= lead <= 0xA3)


def _western(data: bytes) -> tuple[str, str] | None:
    """Latin-1, or cp1252 where its punctuation (0x80–0x9f) is used."""
    encoding = "cp1252" if re.search(rb"[\x80-\x9f]", data) else "latin-1"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return None
    high = [character for character in text if character > "\x7f"]
    western = sum(1 for character in high if character in _WESTERN)
    letters = sum(1 for character in text[:SAMPLE_BYTES] if character.isalpha())
    sparse = len(_HIGH.findall(data[:SAMPLE_BYTES])) <= 0.3 * max(1, letters)
    return (text, encoding) if western >= 0.98 * len(high) and sparse and _looks_like_text(text) else None


def _by_statistics(data: bytes) -> tuple[str, str] | None:
    from charset_normalizer import from_bytes

    if data[:SAMPLE_BYTES].count(0):
        return None
    for match in from_bytes(data[:SAMPLE_BYTES].rpartition(b"\n")[0] or data[:SAMPLE_BYTES]):
        try:
            text = data.decode(match.encoding)
        except UnicodeDecodeError:
            continue
        if _looks_like_text(text):
            return text, match.encoding.replace("_", "-")
    return None


def _looks_like_text(text: str) -> bool:
    sample = text[:SAMPLE_BYTES]
    return len(_CONTROLS.findall(sample)) <= 0.001 * len(sample)
