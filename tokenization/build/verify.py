"""Prove a build again from its own files: the one home of what a whole build means.

`verify` (the command), the blocking asset checks and the tests call the same functions. Each looks at one law:

    hashes            every shard is the one that the manifest names
    windows_full      every row is exactly as long as it should be, and padding is where it may be
    masks_proved      the trained tokens of every session are its answers and their stops; texts are all targets
    targets_present   every session has something to learn
    ledger_closed     nothing was lost at any stage
    share             the mixture is what was asked, to one window, and in the range
    sources_readable  no source is broken as a whole: most of its rows could be read
    contamination     train and validation share no content; what holds an evaluation set's text is not in the dataset
    leaks             a warning: validation items or answers that stand in what is trained, beyond the recipe's limit

Guarantees: nothing but the build directory is read. Price: one pass over the dataset for each law; the proof of
masks costs about 20 µs a session, and 0.7 s to begin with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson

from tokenization import ledger
from tokenization.build.contents import SPLITS, Build, Rows
from tokenization.build.finding import SHOWN, Finding, finding
from tokenization.engine import available_cores
from tokenization.uncached import uncached_digest


def check_hashes(build: Build) -> Finding:
    """Every shard's SHA-256 is the manifest's."""
    named = [shard for split in SPLITS for shard in build.manifest["splits"][split]["shards"]]
    paths = [build.path / shard["path"] for shard in named]
    with ThreadPoolExecutor(
        available_cores(), thread_name_prefix="hashes"
    ) as pool:  # hashing lets go of the GIL
        digests = list(pool.map(lambda path: uncached_digest(path) if path.is_file() else None, paths))
    problems = [
        f"{shard['path']} is missing"
        if digest is None
        else f"{shard['path']} is not the file that the manifest names: its bytes changed"
        for shard, digest in zip(named, digests, strict=True)
        if digest != shard["sha256"]
    ]
    return finding("hashes", problems, f"{len(named)} shards", "every byte as written")


def check_windows(build: Build) -> Finding:
    """Rows are exactly full; padding is one last segment, and text has one padded remainder a split at most."""
    window = build.manifest["window"]
    ragged = build.manifest["recipe"]["sft"]["layout"] == "rows"
    whole_text = build.manifest["recipe"]["pretrain"]["packing"] == "concat"
    problems: list[str] = []
    rows_seen = 0
    for split in SPLITS:
        tokens = padding = 0
        remainders = set()
        first = rows_seen
        for rows in build.batches(split):
            count = len(rows.pretrain)
            problems += row_problems(rows, None if ragged else window, split, rows_seen - first)
            is_padding = rows.is_padding
            tokens += int(rows.seq_lens[~is_padding].sum())
            padding += int(rows.seq_lens[is_padding].sum())
            padded_rows = np.searchsorted(rows.segment_offsets, np.flatnonzero(is_padding), side="right") - 1
            for row in padded_rows[rows.pretrain[padded_rows]]:
                remainders.add(
                    (
                        rows.items[int(rows.segment_offsets[row])].as_py(),
                        int(rows.starts[rows.segment_offsets[row]]),
                    )
                )
            rows_seen += count
        told = build.manifest["splits"][split]
        for what, counted in (
            ("num_windows", rows_seen - first),
            ("num_tokens", tokens),
            ("num_pad_tokens", padding),
        ):
            if told[what] != counted:
                problems.append(
                    f"{split}: the manifest says {what} {told[what]}, the dataset holds {counted}"
                )
        if whole_text and len(remainders) > 1:
            problems.append(f"{split}: {len(remainders)} text windows are padded; one remainder is allowed")
    return finding("windows_full", problems, f"{rows_seen} rows of {window} tokens", "every row exactly full")


def row_problems(rows: Rows, window: int | None, split: str, first: int) -> list[str]:
    """What is wrong with the shape of these rows."""
    found = []
    counts = np.diff(rows.segment_offsets)
    widths = np.diff(rows.offsets)
    if len(rows.seq_lens) != len(rows.lengths) or bool((rows.seq_lens != rows.lengths).any()):
        found.append(f"{split}: seq_lens and the lengths of segments disagree")
    total = (
        np.add.reduceat(rows.seq_lens.astype(np.int64), rows.segment_offsets[:-1]) if len(counts) else counts
    )
    found += [
        f"{split} row {first + row}: seq_lens add up to {total[row]}, the row has {widths[row]} tokens"
        for row in np.flatnonzero(total != widths)[:SHOWN]
    ]
    if window is not None:
        found += [
            f"{split} row {first + row} has {widths[row]} tokens, not {window}"
            for row in np.flatnonzero(widths != window)[:SHOWN]
        ]
    if bool((rows.seq_lens < 1).any()):
        found.append(f"{split}: a segment without a token")
    is_padding = rows.is_padding
    last = np.zeros(len(is_padding), bool)
    last[rows.segment_offsets[1:] - 1] = True
    for segment in np.flatnonzero(is_padding & ~last)[:SHOWN]:
        row = int(np.searchsorted(rows.segment_offsets, segment, side="right")) - 1
        found.append(f"{split} row {first + row}: padding stands before other segments")
    return found


def check_targets(build: Build) -> Finding:
    """Every session in the dataset has at least one target."""
    problems, sessions = [], 0
    for split in SPLITS:
        for rows in build.batches(split):
            counts = np.diff(rows.segment_offsets)
            is_session = ~np.repeat(rows.pretrain, counts) & ~rows.is_padding
            if not is_session.any():
                continue
            sessions += int(is_session.sum())
            ones = np.concatenate([[0], np.cumsum(rows.loss_mask)])
            begins = rows.begins
            ends = np.minimum(begins + rows.seq_lens, len(rows.loss_mask))
            targets = ones[ends] - ones[begins]
            problems += [
                f"{split}: {rows.sources[segment]} {rows.items[segment]} has no target"
                for segment in np.flatnonzero(is_session & (targets == 0))[:SHOWN]
            ]
    return finding("targets_present", problems, f"{sessions} sessions", "at least one target each")


def check_ledger(build: Build) -> Finding:
    """Every entry closes, the stages chain, the last ones are the manifest's counts, what was set aside is there."""
    from tokenization.build.ledger_check import quarantine_problems

    path = build.path / "ledger.json"
    if not path.is_file():
        return finding(
            "ledger_closed", ["ledger.json is missing"], "no ledger", "in = out + set aside, to the unit"
        )
    entries = [ledger.Entry.from_json(row) for row in orjson.loads(path.read_bytes())["entries"]]
    problems = [*ledger.problems(entries), *quarantine_problems(build, entries)]
    for split in SPLITS:
        told = build.manifest["splits"][split]
        written = sum(entry.going_out for entry in entries if entry.stage == "write" and entry.split == split)
        if written != told["num_tokens"] + told["num_pad_tokens"]:
            problems.append(f"{split}: the ledger ends with {written} tokens, the manifest with others")
    if not entries:
        problems.append("the ledger is empty")
    return finding(
        "ledger_closed", problems, f"{len(entries)} entries", "in + added = out + removed, to the unit"
    )


def check_share(build: Build) -> Finding:
    """The share of pretraining in the asked unit, counted from the dataset, is the asked one to one window."""
    mixture = build.manifest["mixture"]
    if mixture is None:
        return finding("share", [], "one kind of source, nothing to mix", "no mixture")
    unit, asked = mixture["unit"], mixture["asked"]
    amounts = {True: 0, False: 0}
    largest = 0
    for rows in build.batches("train"):
        for kind, amount in row_amounts(rows, unit):
            amounts[kind] += amount
            if kind:
                largest = max(largest, amount)
    total = sum(amounts.values())
    share = amounts[True] / total if total else 0.0
    problems = []
    if abs(share - asked) * total > largest:
        problems.append(f"the dataset holds {share:.4%} of pretraining by {unit}, asked were {asked:.4%}")
    told = mixture["achieved"][unit]
    if abs(told - share) > 1e-9:
        problems.append(f"the manifest says {told:.6%} was achieved, the dataset holds {share:.6%}")
    wanted = build.manifest["recipe"]["mixture"]
    if asked != wanted["pretrain_share"]:
        problems.append(f"the mixture was made for {asked}, the recipe asks for {wanted['pretrain_share']}")
    if not wanted.get("allow_outside_range") and not 0.10 <= asked <= 0.20:
        problems.append(f"a share of {asked} is outside 0.10 to 0.20 and the recipe does not allow that")
    limit = f"{asked:.2%} to one window, within 10 to 20 %"
    return finding("share", problems, f"{share:.3%} of {unit} are pretraining text", limit)


def row_amounts(rows: Rows, unit: str) -> Iterator[tuple[bool, int]]:
    """(is pretraining, tokens or targets) of each row; padding never counts."""
    real = np.where(rows.is_padding, 0, rows.seq_lens).astype(np.int64)
    tokens = np.add.reduceat(real, rows.segment_offsets[:-1])
    if unit == "target_tokens":
        ones = np.concatenate([[0], np.cumsum(rows.loss_mask)])
        tokens = ones[rows.offsets[1:]] - ones[rows.offsets[:-1]]
    for kind, amount in zip(rows.pretrain.tolist(), tokens.tolist(), strict=True):
        yield bool(kind), int(amount)


def check_masks(build: Build) -> Finding:
    """Every session proved again from items.parquet and the dataset; texts are targets but for first tokens; each
    segment weighs what it must."""
    from tokenization.build.mask_check import mask_problems

    looked_at, problems = mask_problems(build)
    return finding(
        "masks_proved", problems, looked_at, "trained tokens are the declared targets, for every session"
    )


def check_contamination(build: Build) -> Finding:
    """Train and validation share no content, and nothing that holds an evaluation set's text is in the dataset."""
    from tokenization.build.leak_checks import contamination_problems

    looked_at, problems = contamination_problems(build)
    return finding(
        "contamination", problems, looked_at, "nothing in both splits, nothing of an evaluation set"
    )


def check_leaks(build: Build) -> Finding:
    """So few validation items and answers stand in what is trained as the recipe allows."""
    from tokenization.build.leak_checks import leak_problems

    looked_at, problems, limit = leak_problems(build)
    return replace(finding("leaks", problems, looked_at, limit), is_warning=True)


def check_sources(build: Build) -> Finding:
    """Of every source, no more rows are unreadable than its recipe allows."""
    from tokenization.build.source_check import unreadable_problems

    looked_at, problems = unreadable_problems(build.manifest)
    return finding(
        "sources_readable", problems, looked_at, "each source's max_unreadable, 50 % unless it says so"
    )


# What keeps a candidate from being published, in the order in which a person would look.
CHECKS: dict[str, Callable[[Build], Finding]] = {
    "hashes": check_hashes,
    "windows_full": check_windows,
    "masks_proved": check_masks,
    "targets_present": check_targets,
    "ledger_closed": check_ledger,
    "share": check_share,
    "sources_readable": check_sources,
    "contamination": check_contamination,
    "leaks": check_leaks,
}


def verify(path: Path) -> list[Finding]:
    """Every check on the build at `path`."""
    build = Build.open(path)
    return [check(build) for check in CHECKS.values()]
