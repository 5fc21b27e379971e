"""What is wrong with one sequence, in a sentence with the place: the slow side of the proof.

Only sequences that a first look over many does not prove come here. Texts that the tokenizer normalises
(another Unicode form, white space of SentencePiece) are compared stretch by stretch with what the
tokenizer makes of them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokenization.build.proof_layout import Filled
from tokenization.build.proof_tokens import TokenTable, mask_of, token_ranges, touched_tokens
from tokenization.sequences import IntArray

if TYPE_CHECKING:
    from tokenization.build.proof import Encode, Prover
    from tokenization.build.proof_claim import Claim

_SHOWN = 24  # bytes of context in a message


def explain(
    prover: Prover, claim: Claim, filled: Filled, ids: NDArray[np.integer], mask: NDArray[np.bool_]
) -> tuple[str | None, bool]:
    """(the first law that is broken or None, whether the text was normalised by the tokenizer)."""
    table = prover.table
    unknown = np.flatnonzero(table.unknown(ids))
    if len(unknown):
        return f"token {unknown[0]}: id {ids[unknown[0]]} stands for nothing in this tokenizer", False
    buffer, places = table.spell(ids)
    spelled = buffer.to_pybytes()
    lossy = spelled != filled.blob
    if lossy:
        aligned = align(prover, filled, ids, spelled, places)
        if isinstance(aligned, str):
            return aligned, False
        filled = aligned
    return (
        _controls(table, filled, ids, places)
        or _targets(prover, claim, filled, ids, places)
        or _mask(table, filled, ids, mask, places)
    ), lossy


def _controls(table: TokenTable, filled: Filled, ids: NDArray[np.integer], places: IntArray) -> str | None:
    """Control tokens stand where the template writes them, and nowhere else."""
    at = np.flatnonzero(table.is_control[ids])
    found = {(int(places[i]), int(ids[i])): int(i) for i in at}
    wanted = set(filled.controls)
    for place, token in sorted(found):
        if (place, token) not in wanted:
            index = found[place, token]
            return (
                f"token {index}: {_token(table, token)} is a control token where the session has typed text"
            )
    for place, token in filled.controls:
        if (place, token) not in found:
            index = int(np.searchsorted(places, place))
            return f"token {index}: {_token(table, token)} must stand here as one control token and is spelled as text"
    return None


def _targets(
    prover: Prover, claim: Claim, filled: Filled, ids: NDArray[np.integer], places: IntArray
) -> str | None:
    """The recorded spans are the targets, token for token, and each message's last one ends in a stop."""
    first, last, whole = token_ranges(places, filled.starts, filled.stops)
    for number, message in enumerate(filled.messages):
        if not whole[number]:
            return (
                f"message {message}: its target begins or ends within a token "
                f"(tokens {first[number]} to {last[number]})"
            )
    declared = [(int(a), int(b), m) for a, b, m in zip(first, last, filled.messages, strict=True)]
    recorded = [(int(a), int(b), int(m)) for a, b, m in claim.spans]
    if recorded != declared:
        own = next((pair for pair in recorded if pair not in declared), None)
        due = next((pair for pair in declared if pair not in recorded), None)
        return f"spans: {_span(own)} is recorded where {_span(due)} is due"
    stops = prover.stop_ids
    around = prover.demands.around_answers == "trained"
    for number, (start, end, message) in enumerate(declared):
        closes = number + 1 == len(declared) or declared[number + 1][2] != message
        if not closes or stops is None:
            continue
        inside = [int(token) for token in ids[start:end]]
        if around:  # what follows the stop on its line is trained too
            inside = [token for token in inside if prover.table.is_control[token]] or inside
        if inside[-1] not in stops:
            end_token = _token(prover.table, inside[-1])
            return f"message {message}: its target ends in {end_token}, which is no stop of the build"
    return None


def _span(span: tuple[int, int, int] | None) -> str:
    return "nothing" if span is None else f"message {span[2]} from token {span[0]} to {span[1]}"


def _mask(
    table: TokenTable, filled: Filled, ids: NDArray[np.integer], mask: NDArray[np.bool_], places: IntArray
) -> str | None:
    """The mask is 1 exactly on what must be trained."""
    begin, end, whole = token_ranges(places, [a for a, _ in filled.trained], [b for _, b in filled.trained])
    if not bool(whole.all()):
        return f"what must be trained begins or ends within token {int(begin[np.flatnonzero(~whole)[0]])}"
    first = np.zeros(min(1, len(mask)), np.int64)
    due = mask_of(len(mask), begin, end, first, touched_tokens(places, filled.hidden))
    wrong = np.flatnonzero(mask != due)
    if not len(wrong):
        return None
    index = int(wrong[0])
    at = int(places[index])
    message = next(
        (m for a, b, m in zip(filled.starts, filled.stops, filled.messages, strict=True) if a <= at < b), None
    )
    more = f" ({len(wrong)} tokens are wrong)" if len(wrong) > 1 else ""
    token = _token(table, int(ids[index]))
    if index == 0 and bool(mask[0]):
        return f"token 0: {token} is trained, and nothing predicts a first token{more}"
    if bool(due[index]):
        whose = "" if message is None else f" of message {message}"
        return f"token {index}: {token}{whose} is a target and is not trained{more}"
    return f"token {index}: {token} is no target and is trained{more}"


def _token(table: TokenTable, token: int) -> str:
    return f"{table.bytes_of(token).decode('utf-8', 'replace')!r} (id {token})"


# -- texts that are not spelled as they are rendered --------------------------------------------------------


def align(
    prover: Prover, filled: Filled, ids: NDArray[np.integer], spelled: bytes, places: IntArray
) -> Filled | str:
    """The same demands on what the tokens spell, where the tokenizer normalised text; else the difference."""
    edges = {
        0,
        len(filled.blob),
        *filled.starts,
        *filled.stops,
        *(e for pair in filled.trained for e in pair),
    }
    control_at = dict(filled.controls)
    edges |= {place for place, _ in filled.controls}
    edges |= {place + int(prover.table.length[token]) for place, token in filled.controls}
    cuts = sorted(edges)
    moved = {0: 0}
    index = read = 0  # token and byte of what is spelled
    for start, stop in pairwise(cuts):
        wanted = filled.blob[start:stop]
        if start in control_at:
            if index >= len(ids) or int(ids[index]) != control_at[start]:
                return _difference(filled, ids, spelled, places)
            index += 1
        else:
            taken = _stretch(prover.encode, wanted, prover.table, ids, index, spelled, places, start > 0)
            if taken is None:
                return _difference(filled, ids, spelled, places)
            index = taken
        begin, read = moved[start], int(places[index])
        for edge in {edge for pair in filled.hidden for edge in pair if start < edge < stop}:
            if spelled[begin:read] != filled.blob[start:stop]:
                return "the tokenizer changes the text, so that hidden characters cannot be told in tokens"
            moved[edge] = begin + edge - start
        moved[stop] = read
    if index != len(ids):
        return _difference(filled, ids, spelled, places)
    return Filled(
        spelled,
        [moved[a] for a in filled.starts],
        [moved[b] for b in filled.stops],
        filled.messages,
        [(moved[a], moved[b]) for a, b in filled.trained],
        [(moved[place], token) for place, token in filled.controls],
        [(moved[a], moved[b]) for a, b in filled.hidden],
    )


def _stretch(
    encode: Encode | None,
    wanted: bytes,
    table: TokenTable,
    ids: NDArray[np.integer],
    index: int,
    spelled: bytes,
    places: IntArray,
    goes_on: bool,
) -> int | None:
    """Behind the tokens of this stretch of text: those that spell it, or those that the tokenizer makes of it."""
    read = int(places[index])
    end = int(np.searchsorted(places, read + len(wanted)))
    if end < len(places) and places[end] == read + len(wanted) and spelled[read : int(places[end])] == wanted:
        return end
    if encode is None:
        return None
    text = wanted.decode()
    for continuing in (goes_on, not goes_on):
        own = np.asarray(encode(text, continuing), np.int64)
        if np.array_equal(own, np.asarray(ids[index : index + len(own)], np.int64)):
            return index + len(own)
    return None


def _difference(filled: Filled, ids: NDArray[np.integer], spelled: bytes, places: IntArray) -> str:
    """The first byte that is not what the template writes."""
    length = min(len(spelled), len(filled.blob))
    a, b = np.frombuffer(spelled[:length], np.uint8), np.frombuffer(filled.blob[:length], np.uint8)
    differing = np.flatnonzero(a != b)
    at = int(differing[0]) if len(differing) else length
    index = min(int(np.searchsorted(places, at, side="right")) - 1, len(ids))
    has = spelled[max(0, at - 8) : at + _SHOWN].decode("utf-8", "replace")
    due = filled.blob[max(0, at - 8) : at + _SHOWN].decode("utf-8", "replace")
    return f"token {index}: the tokens read {has!r} where the template writes {due!r}"
