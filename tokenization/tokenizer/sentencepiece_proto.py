"""The few fields of a SentencePiece model file that a conversion needs, read from the wire format.

The library's own protobuf classes demand a newer protobuf runtime than Dagster allows, and need one at
all; the fields used here have had their numbers since the format's beginning (sentencepiece_model.proto).
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3  # fields of ModelProto
_MODEL_TYPE, _BYTE_FALLBACK = 3, 35  # of TrainerSpec
_UNK_ID, _BOS_ID, _EOS_ID, _PAD_ID = 40, 41, 42, 43
_TREAT_AS_SUFFIX = 24
_NAME, _CHARSMAP, _DUMMY_PREFIX, _EXTRA_SPACES, _ESCAPE = 1, 2, 3, 4, 5  # of NormalizerSpec


class PieceType(IntEnum):
    """SentencePiece.Type."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class ModelType(IntEnum):
    """TrainerSpec.ModelType."""

    UNIGRAM = 1
    BPE = 2
    WORD = 3
    CHAR = 4


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary; its id is its place."""

    text: str
    score: float
    type: PieceType


@dataclass
class PieceModel:
    """A SentencePiece model, with the format's own defaults where a field is not written."""

    pieces: list[Piece] = field(default_factory=list)
    type: ModelType = ModelType.UNIGRAM
    byte_fallback: bool = False
    unk_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    pad_id: int = -1
    normalization: str = ""
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True
    treat_whitespace_as_suffix: bool = False


def read_model(content: bytes) -> PieceModel:
    """Parse a model file; ValueError where it is not one."""
    model = PieceModel()
    for number, value in _fields(content):
        if number == _PIECES:
            model.pieces.append(_piece(_as_bytes(value)))
        elif number == _TRAINER:
            _read_trainer(model, _as_bytes(value))
        elif number == _NORMALIZER:
            _read_normalizer(model, _as_bytes(value))
    if not model.pieces:
        raise ValueError("a SentencePiece model has pieces, and this has none")
    return model


def looks_like_model(content: bytes) -> bool:
    """True where the whole file parses as a SentencePiece model with an unknown piece."""
    try:
        model = read_model(content)
    except (ValueError, IndexError, struct.error):
        return False
    return any(piece.type is PieceType.UNKNOWN for piece in model.pieces)


def without_dummy_prefix(content: bytes) -> bytes:
    """The same model, which puts no space before a string; of two values of a field the later wins."""
    override = bytes([_DUMMY_PREFIX << 3 | _VARINT, 0])
    return content + bytes([_NORMALIZER << 3 | _BYTES, len(override)]) + override


def with_controls(content: bytes, ids: Collection[int]) -> bytes:
    """The same model with these pieces as control pieces, which no text becomes."""
    as_control = bytes([3 << 3 | _VARINT, PieceType.CONTROL])
    parts, index = [], 0
    for number, value in _fields(content):
        body = _as_bytes(value)
        if number == _PIECES:
            body += as_control if index in ids else b""
            index += 1
        parts += [bytes([number << 3 | _BYTES]), _as_varint(len(body)), body]
    return b"".join(parts)


def _piece(content: bytes) -> Piece:
    text, score, kind = "", 0.0, PieceType.NORMAL
    for number, value in _fields(content):
        if number == 1:
            text = _as_bytes(value).decode()
        elif number == 2:
            (score,) = struct.unpack("<f", _as_bytes(value))
        elif number == 3:
            kind = PieceType(_as_int(value))
    return Piece(text, score, kind)


def _read_trainer(model: PieceModel, content: bytes) -> None:
    for number, value in _fields(content):
        if number == _MODEL_TYPE:
            model.type = ModelType(_as_int(value))
        elif number == _BYTE_FALLBACK:
            model.byte_fallback = bool(value)
        elif number == _TREAT_AS_SUFFIX:
            model.treat_whitespace_as_suffix = bool(value)
        elif number in (_UNK_ID, _BOS_ID, _EOS_ID, _PAD_ID):
            name = {_UNK_ID: "unk_id", _BOS_ID: "bos_id", _EOS_ID: "eos_id", _PAD_ID: "pad_id"}[number]
            setattr(model, name, _signed(_as_int(value)))


def _read_normalizer(model: PieceModel, content: bytes) -> None:
    for number, value in _fields(content):
        if number == _NAME:
            model.normalization = _as_bytes(value).decode()
        elif number == _CHARSMAP:
            model.charsmap = _as_bytes(value)
        elif number == _DUMMY_PREFIX:
            model.add_dummy_prefix = bool(value)
        elif number == _EXTRA_SPACES:
            model.remove_extra_whitespaces = bool(value)
        elif number == _ESCAPE:
            model.escape_whitespaces = bool(value)


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of one message, in file order; fixed-width values as their bytes."""
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, place = _varint(content, place)
            yield number, value
            continue
        if wire == _BYTES:
            length, place = _varint(content, place)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire} at byte {place}")
        if number == 0 or place + length > len(content):
            raise ValueError(f"a field of {length} bytes at byte {place} runs past the end")
        yield number, content[place : place + length]
        place += length


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError(f"a number of more than ten bytes at byte {place}")


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _signed(value: int) -> int:
    """int32 fields write negative numbers as 64-bit two's complement."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _as_bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where bytes were expected")
    return value


def _as_int(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("bytes where a number was expected")
    return value
