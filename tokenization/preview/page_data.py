"""What the page's script reads: every string made visible, every token named once.

The tokens of all sequences share one table, most frequent first, and a sequence is a list of row numbers
in it: a third of the size of spelling tokens out. Masks are run lengths, starting with masked.

Guarantees: the JSON holds no "<", ">", "&", U+2028 or U+2029, so no content can end the script element that
carries it; no text in it is active; its size stays below the limit, and what was left out is counted in
"left_out". Price: about 9 µs and 8 bytes a token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import orjson

from tokenization.preview.characters import decode, shared_characters, visible
from tokenization.preview.model import PreviewPage, PreviewSequence, PreviewWindow, SetAside
from tokenization.preview.runs import turns
from tokenization.sequences import BoolArray

LONGEST_SEQUENCE = 16_384  # tokens shown of one sequence
LONGEST_ROW = 2_000  # characters shown of a row that was set aside
BYTES_PER_TOKEN = 9  # a careful guess, for choosing what fits before it is written

Json = dict[str, object]
TokenKey = tuple[int, bytes, bool]  # one id may stand for other bytes at a text's beginning

_ESCAPES = {char.encode(): f"\\u{ord(char):04x}".encode() for char in "<>&\u2028\u2029"}


def page_json(page: PreviewPage, max_bytes: int) -> str:
    """The page's data as JSON that may stand inside a script element."""
    windows = [_window(window) for window in page.windows]
    aside = [_set_aside(row) for row in page.set_aside]
    left_out = {"sequences": 0, "windows": 0, "set_aside": 0}
    left_out["windows"] = _keep_within(windows, max_bytes // 4)
    left_out["set_aside"] = _keep_within(aside, max_bytes // 4)
    room = max_bytes - len(orjson.dumps([windows, aside])) - 4_000
    kept = _sequences_within(page.sequences, room)
    while True:
        left_out["sequences"] = len(page.sequences) - len(kept)
        tokens, sequences = _sequences(kept)
        data = {"tokens": tokens, "sequences": sequences, "windows": windows, "set_aside": aside}
        written = orjson.dumps({**data, "left_out": left_out})
        for char, escape in _ESCAPES.items():
            written = written.replace(char, escape)
        if not kept or len(written) <= max_bytes:
            return written.decode()
        kept = kept[: len(kept) * 4 // 5]  # the guess was too generous: long titles, many escapes


def mask_lengths(mask: BoolArray) -> list[int]:
    """Run lengths that alternate masked, trained, masked, …; the first may be 0."""
    if not len(mask):
        return []
    edges = np.flatnonzero(np.diff(np.asarray(mask, np.int8))) + 1
    lengths = np.diff(np.concatenate(([0], edges, [len(mask)]))).tolist()
    return [0, *lengths] if mask[0] else lengths


def _sequences(kept: Sequence[PreviewSequence]) -> tuple[list[list[object]], list[Json]]:
    keys = [_token_keys(seq) for seq in kept]
    counts = Counter(key for of_one in keys for key in of_one)
    rows = {key: i for i, (key, _) in enumerate(counts.most_common())}
    packed = [_sequence(seq, [rows[key] for key in of_one]) for seq, of_one in zip(kept, keys, strict=True)]
    return [_token(key) for key in rows], packed


def _token_keys(seq: PreviewSequence) -> list[TokenKey]:
    shown = slice(0, LONGEST_SEQUENCE)
    columns = (seq.input_ids[shown].tolist(), seq.token_bytes[shown], seq.special[shown].tolist())
    return list(zip(*columns, strict=True))


def _token(key: TokenKey) -> list[object]:
    """[id, text, special (0 | 1), hex]; the hex only where the text does not give the bytes away."""
    token_id, token, special = key
    text = decode(token)
    row: list[object] = [token_id, text, int(special)]
    return row if text.encode() == token else [*row, token.hex()]


def _sequence(seq: PreviewSequence, rows: list[int]) -> Json:
    shown = len(rows)
    groups = shared_characters(seq) if shown else []
    return {
        "source": visible(seq.source),
        "item": visible(seq.item),
        "kind": seq.kind,
        "title": visible(seq.title),
        "note": visible(seq.note),
        "size": len(seq),
        "trained": seq.num_trained,
        "rows": rows,
        "mask": mask_lengths(seq.loss_mask[:shown]),
        "groups": [[g.start, g.stop, g.text] for g in groups if g.stop <= shown],
        "turns": [[turn.start, visible(turn.role)] for turn in turns(seq) if turn.start < shown],
        "spans": [
            [span.start, min(span.stop, shown), visible(span.role), visible(span.why)]
            for span in seq.roles
            if span.start < shown
        ],
    }


def _window(window: PreviewWindow) -> Json:
    return {
        "row": window.row,
        "kind": window.kind,
        "segments": [
            [visible(source), visible(item), start, length]
            for (source, item, start, _), length in zip(window.segments, window.seq_lens, strict=True)
        ],
        "mask": mask_lengths(window.loss_mask),
    }


def _set_aside(row: SetAside) -> Json:
    text = row.row_text
    return {
        "source": visible(row.source),
        "item": visible(row.item),
        "place": visible(f"{row.file}:{row.place}" if row.place else row.file),
        "reason": visible(row.reason),
        "detail": visible(row.detail),
        "row": visible(text[:LONGEST_ROW]),
        "more": max(0, len(text) - LONGEST_ROW),
    }


def _keep_within(rows: list[Json], max_bytes: int) -> int:
    """Drops rows from the end until they fit; returns how many."""
    size = 0
    for i, row in enumerate(rows):
        size += len(orjson.dumps(row)) + 1
        if size > max_bytes:
            missing = len(rows) - i
            del rows[i:]
            return missing
    return 0


def _sequences_within(sequences: Iterable[PreviewSequence], max_bytes: int) -> list[PreviewSequence]:
    kept: list[PreviewSequence] = []
    for seq in sequences:
        max_bytes -= min(len(seq), LONGEST_SEQUENCE) * BYTES_PER_TOKEN + 400
        if max_bytes < 0:
            break
        kept.append(seq)
    return kept
