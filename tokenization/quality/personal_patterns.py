"""Regular expressions for personal data, in the dialect that Rust's regex (polars) and Python's `re` share.

Groups 1 and 2 are the characters beside a match, which stay. What is meant and what can't be told apart stands in
`personal_data`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["email", "ip", "phone"]

_BEFORE = r"(^|[^0-9A-Za-z_.\-+])"  # what may stand before a number: group 1
_BEHIND = r"($|[^0-9A-Za-z_.]|\.(?:$|[^0-9A-Za-z_]))"  # and behind it, a full stop too: group 2


def _one_of(numbers: list[int]) -> str:
    return f"(?:{'|'.join(map(str, sorted(numbers, reverse=True)))})"


_OCTET = _one_of(list(range(256)))
_PUBLIC_FIRST = _one_of([each for each in range(1, 224) if each not in (10, 127, 169, 172, 192)])
_PUBLIC_PAIRS = "|".join(
    (
        rf"{_PUBLIC_FIRST}\.{_OCTET}",
        rf"169\.{_one_of([each for each in range(256) if each != 254])}",  # 169.254 is link-local
        rf"172\.{_one_of([each for each in range(256) if not 16 <= each < 32])}",  # RFC 1918
        rf"192\.{_one_of([each for each in range(256) if each != 168])}",  # RFC 1918
    )
)
_HEX = "[0-9A-Fa-f]{1,4}"
_IPV4 = rf"(?:{_PUBLIC_PAIRS})\.{_OCTET}\.{_OCTET}"
_IPV6 = rf"(?:(?:{_HEX}:){{7}}{_HEX}|{_HEX}:(?:{_HEX}:){{1,5}}(?::{_HEX}){{1,5}})"
_EMAIL = r"[A-Za-z0-9._%+\-]*[A-Za-z0-9_%+\-]@(?:[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,24}"
_INTERNATIONAL = r"\+[1-9](?:[ .()\-]{0,2}[0-9]){9,14}"  # ITU-T E.164: at most 15 digits
_CHINESE_MOBILE = r"(?:(?:\+|00)?86[ \-]?)?1[3-9][0-9][ \-]?[0-9]{4}[ \-]?[0-9]{4}"


@dataclass(frozen=True)
class _Pattern:
    kind: Kind
    hint: str  # a cheap expression that a text with a match matches too
    found: str  # groups 1 and 2 stay


PATTERNS = (
    _Pattern("email", r"@[A-Za-z0-9]", rf"(^|[^A-Za-z0-9._%+\-]){_EMAIL}($|[^A-Za-z0-9_@])"),
    _Pattern("ip", r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]", rf"{_BEFORE}{_IPV4}{_BEHIND}"),
    _Pattern("ip", rf"{_HEX}:{_HEX}:", rf"(^|[^0-9A-Za-z_.:\-]){_IPV6}($|[^0-9A-Za-z_.:]|\.(?:$|[^0-9]))"),
    _Pattern("phone", r"1[3-9][0-9][ \-]?[0-9]{4}[ \-]?[0-9]{4}", f"{_BEFORE}{_CHINESE_MOBILE}{_BEHIND}"),
    _Pattern("phone", r"\+[1-9]", rf"(^|[^0-9A-Za-z_.+)\]]){_INTERNATIONAL}{_BEHIND}"),
)
