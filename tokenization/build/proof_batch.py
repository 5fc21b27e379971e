"""Many sequences at once: the fast side of the proof, which only says which ones need a closer look.

Texts are compared one by one as bytes; control tokens, spans and masks of all sequences whose texts are right are
compared as arrays.

Guarantees: a sequence that is not named here is proven. Price: about 5 µs a short sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tokenization.build.proof_claim import Claim
from tokenization.build.proof_layout import Filled
from tokenization.build.proof_tokens import TokenTable, mask_of, token_ranges, touched_tokens
from tokenization.sequences import IntArray, TokenSequences, offsets_of


def doubtful(
    table: TokenTable,
    stop_ids: frozenset[int] | None,
    around: bool,
    claims: Sequence[Claim],
    filled: Mapping[int, Filled],
    sequences: TokenSequences,
) -> list[int]:
    """Those of the sequences in `filled` that are not proven yet, ascending."""
    unknown = np.flatnonzero(table.unknown(sequences.input_ids))
    strange = set((np.searchsorted(sequences.offsets, unknown, side="right") - 1).tolist())
    known = [number for number in filled if number not in strange]
    buffer, places = table.spell(taken_sequences(sequences, known).input_ids)
    spelled = memoryview(buffer)
    ends = places[offsets_of(sequences.lengths[known])].tolist()
    right = [
        number
        for number, start, stop in zip(known, ends, ends[1:], strict=False)
        if spelled[start:stop] == filled[number].blob
    ]
    chosen = taken_sequences(sequences, right)
    if len(right) < len(known):
        places = table.spell(chosen.input_ids)[1]
    wrong = _wrong(
        table, stop_ids, around, [claims[n] for n in right], [filled[n] for n in right], chosen, places
    )
    proven = {number for number, fails in zip(right, wrong.tolist(), strict=True) if not fails}
    return [number for number in filled if number not in proven]


def taken_sequences(sequences: TokenSequences, numbers: Sequence[int] | IntArray) -> TokenSequences:
    """These sequences."""
    if len(numbers) == len(sequences):
        return sequences
    return sequences.chosen(np.asarray(numbers, np.int64))


def _wrong(
    table: TokenTable,
    stop_ids: frozenset[int] | None,
    around: bool,
    claims: Sequence[Claim],
    filled: Sequence[Filled],
    sequences: TokenSequences,
    places: IntArray,
) -> NDArray[np.bool_]:
    """Which of these sequences, whose texts are right, break another law; all of them where spans or control
    tokens of any do, since arrays of other lengths cannot be compared."""
    ids, mask, offsets = sequences.input_ids, sequences.loss_mask, sequences.offsets
    bases = places[offsets[:-1]].tolist()
    wrong = np.ones(len(filled), bool)

    controls = [
        (place + base, token)
        for base, own in zip(bases, filled, strict=True)
        for place, token in own.controls
    ]
    at = np.flatnonzero(table.is_control[ids])
    found = np.stack([places[at], ids[at].astype(np.int64)], axis=1)
    if not np.array_equal(found, np.array(controls, np.int64).reshape(-1, 2)):
        return wrong

    targets = [
        (start + base, stop + base, message)
        for base, own in zip(bases, filled, strict=True)
        for start, stop, message in zip(own.starts, own.stops, own.messages, strict=True)
    ]
    due = np.array(targets, np.int64).reshape(-1, 3)
    first, last, whole = token_ranges(places, due[:, 0], due[:, 1])
    begins = offsets[:-1].tolist()
    spans = [
        (start + begin, stop + begin, message)
        for begin, claim in zip(begins, claims, strict=True)
        for start, stop, message in claim.spans
    ]
    declared = np.stack([first, last, due[:, 2]], axis=1)
    if not (whole.all() and np.array_equal(np.array(spans, np.int64).reshape(-1, 3), declared)):
        return wrong
    if stop_ids is not None:
        owner = np.repeat(np.arange(len(filled)), [len(own.messages) for own in filled])
        following = np.stack([owner, due[:, 2]], axis=1)
        closes = np.append((following[1:] != following[:-1]).any(axis=1), True)[: len(due)]
        if not ends_in_stops(table, ids, last[closes], stop_ids, around=around):
            return wrong

    trained = [(a + base, b + base) for base, own in zip(bases, filled, strict=True) for a, b in own.trained]
    ranges = np.array(trained, np.int64).reshape(-1, 2)
    begin, end, whole = token_ranges(places, ranges[:, 0], ranges[:, 1])
    if not whole.all():
        return wrong
    hidden = [(a + base, b + base) for base, own in zip(bases, filled, strict=True) for a, b in own.hidden]
    due_mask = mask_of(len(mask), begin, end, offsets[:-1], touched_tokens(places, hidden))
    differing = np.flatnonzero(mask != due_mask)
    wrong[:] = False
    wrong[np.searchsorted(offsets, differing, side="right") - 1] = True
    return wrong


def ends_in_stops(
    table: TokenTable,
    ids: NDArray[np.integer],
    ends: NDArray[np.integer],
    stop_ids: frozenset[int],
    *,
    around: bool,
) -> bool:
    """Whether each target that ends before `ends` ends in a stop; where what follows a stop on its line is trained too
    (`around`), whether the last control token of each is one."""
    last = ends - 1
    if around:
        controls = np.concatenate([[0], np.flatnonzero(table.is_control[ids])])
        last = controls[np.searchsorted(controls, last, side="right") - 1]
    return bool(np.isin(ids[last], list(stop_ids)).all())
