"""The smaller parts of a recipe: tokenizer, the two kinds of windows, mixture, training."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tokenization.recipe.section import Problem, Section, refuse

LEAST_SHARE, MOST_SHARE = 0.10, 0.20


class TokenizerTraining(Section):
    """A tokenizer trained on the recipe's own text."""

    kind: Literal["bpe", "unigram"] = Field(description="bpe (tokenizers) or unigram (sentencepiece)")
    vocab_size: int = Field(ge=257, le=1_000_000, description="ids in all: 256 bytes and whatever is learnt")


class TokenizerSpec(Section):
    """A tokenizer that exists, or one to train."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["path"]}, {"required": ["train"]}]})

    path: str | None = Field(
        None,
        min_length=1,
        description="a Hugging Face directory or tokenizer.json, a SentencePiece model, or tiktoken ranks",
    )
    train: TokenizerTraining | None = Field(None, description="train one, instead of path")
    add_special_tokens: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), strict=False, description="special tokens to add to the vocabulary where it lacks them"
    )
    document_end: str = Field(
        "auto",
        min_length=1,
        description="the token that ends a document; auto: the first of <|endoftext|>, <|end_of_text|>, "
        "</s>, <eos> that the vocabulary has",
    )

    @model_validator(mode="after")
    def _path_or_train(self) -> Self:
        if self.path is not None and self.train is not None:
            refuse([Problem((), "has both path and train; leave one of the two out")])
        if self.path is None and self.train is None:
            refuse([Problem((), "has neither path nor train; say where it lies or train one")])
        twice = sorted({t for t in self.add_special_tokens if self.add_special_tokens.count(t) > 1})
        refuse([Problem(("add_special_tokens",), f"has {token!r} twice; once is enough") for token in twice])
        return self


class PretrainSpec(Section):
    """How documents become windows."""

    packing: Literal["concat", "best_fit"] = Field(
        "concat",
        description="concat (end to end, documents cut at the window) or best_fit (few documents cut)",
    )


class SftSpec(Section):
    """How sessions become windows."""

    layout: Literal["packed", "rows"] = Field(
        "packed", description="packed (several sessions a window) or rows (one session a row)"
    )


_RANGE_SCHEMA: dict[str, Any] = {
    "if": {"properties": {"allow_outside_range": {"const": True}}, "required": ["allow_outside_range"]},
    "else": {"properties": {"pretrain_share": {"minimum": LEAST_SHARE, "maximum": MOST_SHARE}}},
}


class MixtureSpec(Section):
    """How much pretraining text stands among the sessions."""

    model_config = ConfigDict(json_schema_extra=_RANGE_SCHEMA)

    pretrain_share: float = Field(
        0.15, gt=0, lt=1, description="the pretraining windows' part of an epoch, a fraction"
    )
    allow_outside_range: bool = Field(False, description="true: pretrain_share may leave 0.10 to 0.20")
    unit: Literal["total_tokens", "target_tokens"] = Field(
        "total_tokens", description="what the share is counted in; total_tokens never count padding"
    )
    max_repetition: float = Field(
        1.0, ge=1, description="how often a pretraining window may be seen in one epoch"
    )

    @model_validator(mode="after")
    def _share_in_range(self) -> Self:
        if not self.allow_outside_range and not LEAST_SHARE <= self.pretrain_share <= MOST_SHARE:
            limit = f"it must be between {LEAST_SHARE:.2f} and {MOST_SHARE:.2f}"
            way = "set mixture.allow_outside_range: true to go beyond"
            refuse([Problem(("pretrain_share",), f"is {self.pretrain_share:g}; {limit}; {way}")])
        return self


class TrainSpec(Section):
    """What is trained on the dataset once it is built; what is left out is the trainer's own default."""

    model: str = Field(
        min_length=1, description="a known model, such as minimind-26m, or a path to a Hugging Face model"
    )
    steps: int = Field(ge=1, description="optimiser steps")
    learning_rate: float | None = Field(None, gt=0, le=1, description="peak learning rate")
    batch_windows: int | None = Field(None, ge=1, description="windows in a batch")
    accumulate: int | None = Field(None, ge=1, description="batches in a step")
    seed: int | None = Field(None, ge=0, lt=2**32, description="seed of the weights; left out, the recipe's")
