"""No character is broken, nothing active comes through."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from preview_samples import END, HOSTILE, SPECIAL_TEXT, SPLIT, chat, sequence

from tokenization.preview import characters
from tokenization.preview.characters import (
    LONGEST_CLUSTER,
    character_groups,
    one_line,
    shared_characters,
    visible,
)
from tokenization.preview.model import PreviewSequence, RoleSpan
from tokenization.preview.runs import mask_runs, run_text, turns

ACTIVE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def words(seq: PreviewSequence) -> list[tuple[str, int]]:
    return [(group.text, group.stop - group.start) for group in character_groups(seq)]


@pytest.mark.parametrize("piece", [1, 2, 3])
def test_a_character_split_over_tokens_is_shown_whole(piece: int) -> None:
    seq = chat([("user", SPLIT)], piece=piece)
    groups = character_groups(seq)
    assert "".join(group.text for group in groups) == f"<|im_start|>user\n{SPLIT}<|im_end|>\n"
    assert not any("⟨0x" in group.text for group in groups)
    assert any(group.stop - group.start > 1 for group in groups)


def test_an_emoji_of_several_characters_and_a_letter_with_its_accent_stay_together() -> None:
    tokens = [(part, False) for part in ["👨".encode(), "\u200d".encode(), "👩".encode(), b"e"]]
    tokens += [
        ("\u0301".encode(), False),
        ("🇩".encode(), False),
        ("🇪".encode(), False),
        ("🇫".encode(), False),
    ]
    assert words(sequence(tokens)) == [("👨\u200d👩", 3), ("e\u0301", 2), ("🇩🇪", 2), ("🇫", 1)]


def test_bytes_that_are_no_character_show_as_bytes_and_never_swallow_a_special_token() -> None:
    tokens = [(b"\xe4", True), (b"\xbd", True), (SPECIAL_TEXT[END], True), (b"\xa0", True)]
    seq = sequence(tokens, special=[False, False, True, False])
    assert words(seq) == [("⟨0xE4⟩⟨0xBD⟩", 2), ("<|im_end|>", 1), ("⟨0xA0⟩", 1)]


def test_a_tower_of_accents_is_cut_into_bounded_groups() -> None:
    seq = sequence([(b"a", False), *[("\u0301".encode(), False)] * 200])
    sizes = [size for _, size in words(seq)]
    assert sum(sizes) == 201
    assert max(sizes) == LONGEST_CLUSTER


PIECES = st.one_of(
    st.sampled_from([b"a", b" ", b"", b"e", b"\xe4", b"\xbd", b"\xa0"]),
    st.text("e\u0301\u200d👨👩🇩🇪🏽न", max_size=2).map(str.encode),
    st.binary(max_size=3),
)


@given(st.lists(st.tuples(PIECES, st.booleans()), max_size=60))
def test_characters_of_several_tokens_are_found_without_a_look_at_the_others(
    parts: list[tuple[bytes, bool]],
) -> None:
    seq = sequence([(raw, False) for raw, _ in parts], special=[special for _, special in parts])
    assert shared_characters(seq) == [
        group for group in character_groups(seq) if group.stop - group.start > 1
    ]


def test_there_are_such_characters_and_they_keep_their_place() -> None:
    tokens = [*[(b"a", False)] * 9, (b"e", False), ("\u0301".encode(), False), *[(b"b", False)] * 9]
    tokens += [(b"\xe4", False), (b"c", False)]  # bytes that break off, and what is read with them
    assert [(g.start, g.stop, g.text) for g in shared_characters(sequence(tokens))] == [
        (9, 11, "e\u0301"),
        (20, 22, "⟨0xE4⟩c"),
    ]


@given(st.lists(st.tuples(st.binary(max_size=4), st.booleans(), st.booleans()), max_size=40))
def test_groups_tile_any_bytes_and_their_text_is_harmless(parts: list[tuple[bytes, bool, bool]]) -> None:
    seq = sequence([(raw, mask) for raw, mask, _ in parts], special=[special for _, _, special in parts])
    groups = character_groups(seq)
    edges = [group.start for group in groups] + [len(seq)]
    assert edges == sorted(set(edges)) and edges[0] == 0
    assert [group.stop for group in groups] == edges[1:]
    assert all(group.stop - group.start == 1 for group in groups if group.special)
    runs = mask_runs(seq, groups)
    assert [group for run in runs for group in run.groups] == groups


@given(st.text(max_size=60) | st.sampled_from([HOSTILE, "\ud800", "\u3164"]))
def test_visible_text_holds_nothing_that_acts_or_hides(text: str) -> None:
    shown = visible(text)
    categories = {unicodedata.category(char) for char in shown.replace("\n", "").replace("\u200d", "")}
    assert not categories & ACTIVE
    assert "\n" not in one_line(text)
    assert shown.count("\n") == text.count("\n")


@given(st.text(max_size=20) | st.text("ab你\n\u3000\u200d\u3164\U000e0101é👨\u0301\t", max_size=8))
def test_a_text_shown_as_it_is_has_no_character_that_is_spelled_out(text: str) -> None:
    shown = visible(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(characters, "_all_harmless", lambda text: False)
        assert visible(text) == shown


def test_a_joiner_between_latin_letters_is_spelled_out_and_inside_an_emoji_kept() -> None:
    assert visible("a\u200db") == "a⟨U+200D⟩b"
    assert visible("👨\u200d👩") == "👨\u200d👩"
    assert visible("\x1b[0m\t\r\x7f\ufeff") == "⟨ESC⟩[0m⇥⟨CR⟩⟨DEL⟩⟨U+FEFF⟩"


def test_turns_follow_roles_and_the_same_role_twice_is_two_turns() -> None:
    seq = chat([("system", "s"), ("user", "one"), ("user", "two"), ("assistant", "yes")])
    assert [turn.role for turn in turns(seq)] == ["system", "user", "user", "assistant"]
    assert turns(seq)[0].start == 0 and turns(seq)[-1].stop == len(seq)


def test_tokens_without_a_role_are_a_turn_of_their_own() -> None:
    seq = sequence([(b"a", False)] * 5, roles=[RoleSpan(1, 3, "user", False, "context")])
    assert [(turn.start, turn.stop, turn.role) for turn in turns(seq)] == [
        (0, 1, ""),
        (1, 3, "user"),
        (3, 5, ""),
    ]


def test_a_run_never_mixes_the_mask_and_a_disputed_character_counts_as_trained() -> None:
    first, rest = "你".encode()[:1], "你".encode()[1:]
    runs = mask_runs(seq := sequence([(b"a", False), (first, False), (rest, True)]), character_groups(seq))
    assert [(run_text(run), run.trained) for run in runs] == [("a", False), ("你", True)]


def test_a_typed_marker_is_told_from_a_special_token() -> None:
    seq = chat([("user", "<|im_end|> a <|> b")])
    text = "".join(run_text(run) for run in mask_runs(seq, character_groups(seq)))
    assert text == r"<|im_start|>user⏎<\|im_end|> a <|> b<|im_end|>⏎"


def test_a_sequence_whose_parts_disagree_is_refused() -> None:
    with pytest.raises(ValueError, match="lengths"):
        PreviewSequence(
            "s", "i", "sft", "t", np.arange(2), np.zeros(3, bool), [b"a", b"b"], np.zeros(2, bool)
        )
    with pytest.raises(ValueError, match="rise"):
        sequence([(b"a", False)], roles=[RoleSpan(0, 2, "user", False, "")])
