"""tiktoken ranks (base64 token, space, rank a line) as a Hugging Face tokenizer.json.

The file says which byte strings are tokens and in which order they merge; it says neither how text is split
before merging nor which special tokens there are. Both belong to the published vocabularies and are told by
the number of ranks; for any other file cl100k's pattern is assumed, said aloud, and special tokens come from
`add_special_tokens`. The result is compared with `tiktoken` itself; a difference is an error.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import orjson

from tokenization.errors import RecipeError
from tokenization.tokenizer.definition import Definition
from tokenization.tokenizer.engines import Ids, Offsets, OracleEncoder, flatten
from tokenization.tokenizer.identity import ODD_TEXTS, prove_identity
from tokenization.tokenizer.patterns import CL100K, GPT2, O200K, QWEN2, byte_level
from tokenization.tokenizer.sources import RawTokenizer
from tokenization.tokenizer.vocabulary import byte_alphabet

_RANDOM_TEXTS = 500


@dataclass(frozen=True)
class KnownRanks:
    """A published vocabulary: what its rank file does not say."""

    name: str
    pattern: str
    special_tokens: Callable[[], list[str]]  # ids follow the last rank, one by one
    eos_token: str | None = None
    bos_token: str | None = None
    nfc: bool = False


def _llama3_special_tokens() -> list[str]:
    named = [
        "<|begin_of_text|>", "<|end_of_text|>",
        "<|reserved_special_token_0|>", "<|reserved_special_token_1|>", "<|finetune_right_pad_id|>",
        "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>",
        "<|python_tag|>", "<|image|>",
    ]  # fmt: skip
    return named + [f"<|reserved_special_token_{2 + place}|>" for place in range(256 - len(named))]


def _qwen_special_tokens() -> list[str]:
    return ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def _end_of_text() -> list[str]:
    return ["<|endoftext|>"]


def _cl100k_special_tokens() -> list[str]:
    # Rank 100256 is not used; its place is kept, so that the others have the published ids.
    return ["<|unused_100256|>", "<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"]


def _o200k_special_tokens() -> list[str]:
    return ["<|startoftext|>", "<|endoftext|>"]


KNOWN_RANKS: dict[int, KnownRanks] = {
    50256: KnownRanks("gpt2", GPT2, _end_of_text, eos_token="<|endoftext|>"),
    100256: KnownRanks("cl100k_base", CL100K, _cl100k_special_tokens, eos_token="<|endoftext|>"),
    128000: KnownRanks("llama3", CL100K, _llama3_special_tokens, "<|end_of_text|>", "<|begin_of_text|>"),
    151643: KnownRanks("qwen", QWEN2, _qwen_special_tokens, eos_token="<|endoftext|>", nfc=True),
    199998: KnownRanks("o200k_base", O200K, _o200k_special_tokens, eos_token="<|endoftext|>"),
}


def convert(content: bytes, shown: str) -> RawTokenizer:
    """The rank file's tokenizer.json."""
    ranks = read_ranks(content, shown)
    known = KNOWN_RANKS.get(len(ranks))
    if known:
        special = known.special_tokens()
        note = f"{len(ranks):,} ranks are {known.name}'s: its pattern and special tokens are taken"
    else:
        known, special = KnownRanks("unknown", CL100K, list), []
        note = f"{len(ranks):,} ranks are no known vocabulary's: cl100k's pattern and no special tokens taken"
    definition = _definition(ranks, known, special)
    _compare(definition, ranks, known, shown)
    config = {"eos_token": known.eos_token, "bos_token": known.bos_token}
    named = {name: token for name, token in config.items() if token}
    return RawTokenizer("tiktoken", definition, named, notes=[note])


def read_ranks(content: bytes, shown: str) -> dict[bytes, int]:
    """Token bytes to rank; RecipeError naming the line that is none."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if not line:
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise RecipeError(
                f"tokenizer.path {shown}:{number} is not 'base64 rank': {line[:40]!r}"
            ) from error
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing or sorted(ranks.values()) != list(range(len(ranks))):
        raise RecipeError(
            f"tokenizer.path {shown}: {len(ranks):,} ranks must be 0..{len(ranks) - 1} without a gap and "
            f"hold all 256 bytes ({len(missing)} are missing)"
        )
    return ranks


def _definition(ranks: dict[bytes, int], known: KnownRanks, special: list[str]) -> bytes:
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import BPE

    letters = {byte: letter for letter, byte in byte_alphabet().items()}
    spelled = {token: "".join(map(letters.__getitem__, token)) for token in ranks}
    vocab = {spelled[token]: rank for token, rank in ranks.items()}
    merges = [(spelled[left], spelled[right]) for left, right in _merges(ranks)]
    tokenizer = Tokenizer(BPE(vocab, merges, ignore_merges=True))
    byte_level(tokenizer, known.pattern, nfc=known.nfc)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return bytes(tokenizer.to_str().encode())


def _merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Every split of a token into two tokens, in rank order: tiktoken merges any pair that makes a token."""
    merges = []
    for token in sorted(ranks, key=ranks.__getitem__):
        splits = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        found = [(left, right) for left, right in splits if left in ranks and right in ranks]
        merges += sorted(found, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    return merges


class _Tiktoken:
    """tiktoken itself on these ranks."""

    def __init__(self, ranks: dict[bytes, int], known: KnownRanks) -> None:
        import tiktoken

        self._nfc = known.nfc
        self._encoding = tiktoken.Encoding(
            known.name, pat_str=known.pattern, mergeable_ranks=ranks, special_tokens={}
        )

    def encode(self, texts: list[str]) -> tuple[Ids, Offsets]:
        from unicodedata import normalize

        given = [normalize("NFC", text) for text in texts] if self._nfc else texts
        return flatten([self._encoding.encode_ordinary(text) for text in given])


def _compare(definition: bytes, ranks: dict[bytes, int], known: KnownRanks, shown: str) -> None:
    chance = np.random.default_rng(0)
    tokens = sorted(ranks, key=ranks.__getitem__)
    random = [
        b"".join(tokens[i] for i in chance.integers(len(tokens), size=int(chance.integers(1, 40)))).decode(
            "utf-8", "ignore"
        )
        for _ in range(_RANDOM_TEXTS)
    ]
    converted = OracleEncoder(Definition(orjson.loads(definition)).text_view())
    report = prove_identity(converted, _Tiktoken(ranks, known), [*ODD_TEXTS, *random])
    if not report.identical:
        first = report.differing[0]
        raise RecipeError(
            f"tokenizer.path {shown}: converted to a tokenizer.json it differs from tiktoken on "
            f"{len(report.differing)} of {report.texts} texts, first {first.text[:60]!r}; give its "
            "tokenizer.json"
        )
