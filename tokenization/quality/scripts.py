"""The scripts that rules know by name, which are Unicode's, and the script of a few words."""

from __future__ import annotations

UNSPACED_SCRIPTS = ("Han", "Hiragana", "Katakana", "Bopomofo", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan")
"""Scripts written without spaces between words: their letters are counted as words."""

SCRIPTS = (
    *UNSPACED_SCRIPTS,
    *("Latin", "Hangul", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Bengali", "Gujarati"),
    *("Gurmukhi", "Kannada", "Malayalam", "Sinhala", "Tamil", "Telugu", "Armenian", "Georgian", "Ethiopic"),
)


def script_of(text: str) -> str | None:
    """The script that most letters of a text are of; None where that is none of `SCRIPTS`."""
    import numpy as np

    from tokenization.quality.characters import KIND, NUMBER, class_table

    counts = np.bincount(class_table().take([ord(each) for each in text]) & KIND, minlength=32)
    kind = int(counts[1:NUMBER].argmax()) + 1
    return SCRIPTS[kind - 1] if counts[kind] and kind <= len(SCRIPTS) else None
