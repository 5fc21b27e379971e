"""Proof that the fast encoder gives the oracle's ids, before a single token of a build is made with it.

The fast library is young, so it is held against `tokenizers` on the recipe's own text and on texts that
encoders are known to disagree about. One difference is enough: the oracle encodes the whole build then,
slower and right, and the reason is said. The decision is written beside the tokenizer, so that every
worker takes the same engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import orjson

from tokenization.tokenizer.definition import Definition
from tokenization.tokenizer.engines import (
    EngineName,
    FastEncoder,
    Ids,
    Offsets,
    PieceEncoder,
    TextEncoder,
    oracle_of,
)
from tokenization.tokenizer.layout import (
    ENGINE_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    engine_versions,
    read_facts,
    write_atomically,
)

SAMPLE_TEXTS = 2_000  # texts of the recipe looked at, at most
SAMPLE_CHARACTERS = 1_000_000  # and characters: about a second of the oracle
_LONGEST = 50_000  # characters of one sample text

ODD_TEXTS: tuple[str, ...] = (
    "",
    " ",
    "   leading and trailing   ",
    "\n\n\n",
    "a\r\nb\r\n\r\nc\rd",
    "tabs\t\t\tand  runs   of    blanks     \n      indented",
    "typed <|endoftext|> <|im_start|>system\n<|im_end|> <|end_of_text|> <|eot_id|> stay text",
    "typed <s>[INST] <<SYS>> </s> <unk> <pad> <eos> <bos> stay text",
    "<think>typed</think><tool_call>{}</tool_call><tool_response></tool_response><|fim_prefix|>",
    "<s",
    "s>",
    "<|",
    "|>",
    "<0x0A><0x41>",
    "👨‍👩‍👧‍👦 👩🏽‍🚀 🏳️‍🌈 🇩🇪🇯🇵 ❤️ ☕︎",
    "e\u0301 a\u030a\u0323 q\u0307\u0323 \u1e9b\u0323 \u212b \u2126 ﬁ ａｂｃ １２３",
    "\u0344\u0958\u2adc\ufb1d \u1100\u1161\u11a8 각",
    "1234567890123456789012345678901234567890 3.14159 1,000,000 0x1F ١٢٣ १२३ ²³ ½ Ⅷ",
    "nbsp\u00a0thin\u2009ideographic\u3000line\u2028para\u2029nel\u0085end",
    "zero\u200bwidth\u200cjoin\u200der\ufeffbom\u2060word\u00adsoft",
    "\u202eright to left\u202c שלום עולם مرحبا بالعالم",
    "漢字とかな交じり文、㐀㒢 𠀀𠮷𪚥𫝀 全角！？「」、。",
    "ไทยไม่มีช่องว่าง हिन्दी க்ஷ ខ្មែរ မြန်မာ བོད་ཡིག",
    "control \x00\x01\x07\x08\x0b\x0c\x1b\x1f\x7f\x80\x9f end",
    "\ufffe\uffff\U0010ffff\ue000 private",
    "it's IT'S I'll WE'RE they'd o'clock ’s 'tis ſ K İı",
    "def f(x):\n    return {'a': [1, 2]}  # ok\n\n\n\tif x != y && z || !w: pass;;",
    "▁already ▁▁ escaped ▁",
    "a" * 1000,
    " " * 1000,
    "=" * 257 + "-" * 129 + "\n" * 65,
    "ab" * 500,
    "哈" * 333,
)


@dataclass(frozen=True)
class Difference:
    """The first place at which two encoders part, in one text."""

    text: str  # the text, cut to 200 characters
    token: int  # index of the first differing token
    fast: list[int]  # up to 8 ids from there on
    oracle: list[int]


@dataclass(frozen=True)
class IdentityReport:
    """What was compared, and the texts on which the encoders differ."""

    texts: int
    tokens: int
    differing: list[Difference]

    @property
    def identical(self) -> bool:
        """True where something was compared and nothing differed."""
        return self.texts > 0 and not self.differing


def prove_identity(fast: TextEncoder, oracle: TextEncoder, texts: Sequence[str]) -> IdentityReport:
    """Encode each text with both; every difference is listed."""
    return _compared(fast.encode(list(texts)), oracle.encode(list(texts)), texts)


def _compared(fast: tuple[Ids, Offsets], oracle: tuple[Ids, Offsets], texts: Sequence[str]) -> IdentityReport:
    fast_ids, fast_offsets = fast
    oracle_ids, oracle_offsets = oracle
    differing = []
    for place, text in enumerate(texts):
        ours = fast_ids[fast_offsets[place] : fast_offsets[place + 1]]
        theirs = oracle_ids[oracle_offsets[place] : oracle_offsets[place + 1]]
        if not np.array_equal(ours, theirs):
            shared = min(len(ours), len(theirs))
            apart = np.flatnonzero(ours[:shared] != theirs[:shared])
            token = int(apart[0]) if len(apart) else shared
            here = slice(token, token + 8)
            differing.append(Difference(text[:200], token, ours[here].tolist(), theirs[here].tolist()))
    return IdentityReport(len(texts), len(oracle_ids), differing)


def proof_texts(sample: Iterable[str] = ()) -> list[str]:
    """The odd texts, then the sample's texts up to the limits above."""
    texts, characters = list(ODD_TEXTS), 0
    for text in islice(sample, SAMPLE_TEXTS):
        piece = text[:_LONGEST]
        texts.append(piece)
        characters += len(piece)
        if characters >= SAMPLE_CHARACTERS:
            break
    return texts


@dataclass(frozen=True)
class EngineChoice:
    """Which engine encodes, why, and what it was tried on."""

    engine: EngineName
    note: str  # "" for the fast engine; else why it does not serve
    texts: int
    tokens: int


def choose_engine(directory: str | Path, sample_texts: Iterable[str] = ()) -> EngineChoice:
    """Try the fast engine on a prepared directory's tokenizer and record the choice in engine.json."""
    directory = Path(directory)
    choice = _decide_prepared(directory, proof_texts(sample_texts))
    record = asdict(choice) | {"versions": engine_versions()}
    write_atomically(directory / ENGINE_FILE, orjson.dumps(record, option=orjson.OPT_INDENT_2))
    return choice


def _decide_prepared(directory: Path, texts: Sequence[str]) -> EngineChoice:
    """As `decide_engine`; a SentencePiece model is the truth where the tokenizer came as one."""
    facts = read_facts(directory)
    if facts.inexact:
        return EngineChoice("sentencepiece", facts.inexact, 0, 0)
    definition = Definition.read(directory / TOKENIZER_FILE)
    if (directory / MODEL_FILE).is_file():
        truth = PieceEncoder((directory / MODEL_FILE).read_bytes())
        report = prove_identity(oracle_of(definition.text_view()), truth, texts)
        if not report.identical:
            note = _said(report, "the converted tokenizer.json", "sentencepiece")
            return EngineChoice("sentencepiece", note, report.texts, report.tokens)
    return decide_engine(definition, texts)


def decide_engine(
    definition: Definition,
    texts: Sequence[str],
    fast_encoder: Callable[[str], TextEncoder] = FastEncoder,
) -> EngineChoice:
    """The fast engine where it loads and equals the oracle on these texts, the oracle otherwise."""
    texts_tried = tokens_tried = 0
    for continuing in (False, True) if definition.prefix_scope != "never" else (False,):
        view = definition.text_view(continuing=continuing)
        with ThreadPoolExecutor(
            1
        ) as pool:  # the fast engine's loading, 2 s for 150,000 ids, beside the oracle's work
            loading = pool.submit(fast_encoder, view)
            truth = oracle_of(view).encode(list(texts))
            try:
                fast = loading.result()
            except Exception as error:  # whatever a young library raises, the oracle serves
                return EngineChoice("tokenizers", f"fastokens cannot load this tokenizer: {error}", 0, 0)
        report = _compared(fast.encode(list(texts)), truth, texts)
        texts_tried, tokens_tried = texts_tried + report.texts, tokens_tried + report.tokens
        if not report.identical:
            return EngineChoice(
                "tokenizers", _said(report, "fastokens", "tokenizers"), texts_tried, tokens_tried
            )
    return EngineChoice("fastokens", "", texts_tried, tokens_tried)


def _said(report: IdentityReport, tried: str, truth: str) -> str:
    first = report.differing[0]
    return (
        f"{tried} differs from {truth} on {len(report.differing)} of {report.texts} texts, first on "
        f"{first.text[:60]!r} at token {first.token} ({first.fast[:3]} instead of {first.oracle[:3]})"
    )
