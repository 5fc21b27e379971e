"""A tiny tokenizer trained in process, and the shared real ones, prepared once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tokenization.tokenizer.encoder import PreparedTokenizer, open_tokenizer
from tokenization.tokenizer.identity import choose_engine
from tokenization.tokenizer.prepare import prepare_tokenizer

WORDS = (
    "the quick brown fox jumps over a lazy dog while 12 345 owls, two cats & one über-café 小猫在雨中睡觉。"
)
TEXTS = [f"{WORDS} {place} {WORDS[::-1]}\n\tdef f{place}(x): return x" for place in range(60)]


def spec(path: str | None = None, *, document_end: str = "auto", add: tuple[str, ...] = (), **train: object):
    """A recipe's tokenizer section."""
    return SimpleNamespace(
        path=path,
        train=SimpleNamespace(**train) if train else None,
        add_special_tokens=add,
        document_end=document_end,
    )


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., SimpleNamespace]:
    return spec


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE of 512 ids, trained here and prepared."""
    out = tmp_path_factory.mktemp("tiny")
    training = spec(kind="bpe", vocab_size=512, add=("<|narrator|>",))
    prepare_tokenizer(training, Path(), out, training_texts=iter(TEXTS))
    choose_engine(out, TEXTS)
    return out


@pytest.fixture(scope="session")
def tiny(tiny_directory: Path) -> PreparedTokenizer:
    return open_tokenizer(tiny_directory)


@pytest.fixture(scope="session")
def prepared(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], PreparedTokenizer]:
    """A shared real tokenizer by its path below data/tokenizers, prepared on first use."""
    made: dict[str, PreparedTokenizer] = {}

    def prepare(name: str) -> PreparedTokenizer:
        if name not in made:
            out = tmp_path_factory.mktemp("prepared")
            prepare_tokenizer(spec(name), shared / "data" / "tokenizers", out)
            choose_engine(out)
            made[name] = open_tokenizer(out)
        return made[name]

    return prepare


@pytest.fixture(scope="session")
def real_texts(shared: Path) -> list[str]:
    """Texts of several kinds and languages, 4,000 characters each."""
    raw = shared / "data" / "raw"
    files = [
        raw / "txt" / "tinyshakespeare.txt",
        raw / "txt-zh" / "honglou-meng.txt",
        *sorted((raw / "md" / "react-zh-hans").rglob("*.md"))[:8],
        *sorted((raw / "md" / "rust-book").glob("*.md"))[:8],
        *sorted((raw / "txt" / "novels-en").glob("*.txt"))[:2],
    ]
    texts = [file.read_bytes().decode("utf-8")[:4000] for file in files]
    assert len(texts) == 20 and sum(map(len, texts)) > 40_000
    return texts
