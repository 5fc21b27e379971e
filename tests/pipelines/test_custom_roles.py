"""Roles of a recipe's own through a whole build, and what transformers makes of the exported template.

背景 and 事件 are context, 旁白 has a special token as its header and is trained, a character is headed by its name,
is trained and weighs more; a stage direction is for people and no model sees it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builds_read import Key, Row, dataset_of, decoder, items_of, quarantine_of, segments_of
from small_recipes import Project, chat_source, json_lines, small_project

ROLES: dict[str, Any] = {
    "背景": {"may_close": False, "successors": ["旁白", "character", "user"]},
    "旁白": {"header": "<|narrator|>", "trained": True, "may_open": False},
    "事件": {"header": "event", "may_open": False, "may_close": False},
    "character": {"trained": True, "weight": 2.0},
    "direction": {"visible_in_generation": False},
}


def said(*turns: tuple[str, ...]) -> list[dict[str, str]]:
    """(role, content) or (role, content, name)."""
    keys = ("role", "content", "name")
    return [dict(zip(keys, turn, strict=False)) for turn in turns]


SESSIONS = {
    "scene": said(
        ("背景", "雨夜，荒原。"),
        ("旁白", "灯灭了 <|narrator|> 又亮了。"),
        ("事件", "敲门 🦊"),
        ("character", "谁在那里？", "King Lear"),
        ("character", "Nobody, my lord.", "弄臣"),
        ("旁白", "沉默。"),
    ),
    "hidden": said(
        ("user", "Who speaks?"), ("direction", "Enter the fool."), ("character", "I do.", "弄臣"),
        ("user", "And then?"), ("assistant", "He left."),
    ),
    "first": said(("character", "I open this play.", "King Lear"), ("user", "Go on."), ("assistant", "No.")),
    "opens": said(("旁白", "Once."), ("assistant", "So.")),
    "closes": said(("user", "q"), ("character", "a", "X"), ("事件", "bang")),
    "follows": said(("背景", "b"), ("assistant", "a")),
    "unknown": said(("oracle", "A riddle."), ("assistant", "An answer.")),
}  # fmt: skip
KEPT = ("scene", "hidden", "first")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, small_tokenizer: Path, empty_instance: Path) -> Project:
    made = small_project(
        tmp_path_factory.mktemp("roles") / "project",
        small_tokenizer,
        name="roles",
        window=256,
        chat={"template": "chatml", "default_system": "none", "roles": ROLES},
        sources=[chat_source("play", "data/play.jsonl")],
        mixture=None,
        validation=0,
    )
    made.save(tokenizer={"path": str(small_tokenizer), "add_special_tokens": ["<|narrator|>"]})
    rows = [{"id": name, "messages": messages} for name, messages in SESSIONS.items()]
    made.file("data/play.jsonl", json_lines(rows))
    shutil.copytree(empty_instance, made.folder / "dagster")
    made.built()
    return made


@pytest.fixture(scope="module")
def sequences(project: Project) -> dict[str, tuple[list[int], np.ndarray]]:
    """item -> its ids and its mask."""
    found: dict[Key, Any] = segments_of(dataset_of(project.out))
    return {key[2]: (pieces[0][0], np.array(pieces[0][1])) for key, pieces in found.items()}


@pytest.fixture(scope="module")
def exported(project: Project) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(project.out / "tokenizer"))


def test_each_role_has_its_header_and_only_trained_ones_are_targets(
    project: Project, sequences: dict[str, Any]
) -> None:
    decode = decoder(project.out)
    assert set(sequences) == set(KEPT)
    ids, mask = sequences["scene"]
    assert decode(ids) == (
        "<|im_start|>背景\n雨夜，荒原。<|im_end|>\n"
        "<|im_start|><|narrator|>\n灯灭了 <|narrator|> 又亮了。<|im_end|>\n"
        "<|im_start|>event\n敲门 🦊<|im_end|>\n"
        "<|im_start|>character King Lear\n谁在那里？<|im_end|>\n"
        "<|im_start|>character 弄臣\nNobody, my lord.<|im_end|>\n"
        "<|im_start|><|narrator|>\n沉默。<|im_end|>\n"
    )
    assert decode([token for token, yes in zip(ids, mask, strict=True) if yes]) == (
        "灯灭了 <|narrator|> 又亮了。<|im_end|>谁在那里？<|im_end|>Nobody, my lord.<|im_end|>沉默。<|im_end|>"
    )
    narrator = project.manifest["tokenizer"]["vocab_size"] - 1
    assert ids.count(narrator) == 2  # the two headers; the typed one is text
    assert "Enter the fool" not in decode(sequences["hidden"][0])


def test_a_roles_weight_reaches_the_dataset(project: Project) -> None:
    weights = {
        segment["item"]: weight
        for row in dataset_of(project.out)["train"]
        for segment, weight in zip(row["segments"], row["loss_weights"], strict=True)
        if segment["source"]
    }
    items: dict[Key, Row] = items_of(project.out)
    assert set(weights) == set(KEPT) == {key[2] for key in items}
    assert weights["hidden"] == pytest.approx(_mean_weight(items, "hidden"))
    assert 1 < weights["hidden"] < 2 and 1 < weights["scene"] < 2


def _mean_weight(items: dict[Key, Row], name: str) -> float:
    """The mean over target tokens of each message's weight."""
    (item,) = (row for key, row in items.items() if key[2] == name)
    messages = json.loads(item["messages"])
    lengths = [
        (span["stop"] - span["start"], 2 if messages[span["message"]]["role"] == "character" else 1)
        for span in item["spans"]
    ]
    return sum(n * w for n, w in lengths) / sum(n for n, _ in lengths)


def test_an_order_that_the_policy_forbids_and_an_unknown_role_are_set_aside_with_the_line_to_add(
    project: Project,
) -> None:
    aside = {row["item"]: row for row in quarantine_of(project.out)}
    assert {name: row["reason"] for name, row in aside.items()} == {
        "opens": "role_order",
        "closes": "role_order",
        "follows": "role_order",
        "unknown": "unknown_role",
    }
    detail = aside["unknown"]["detail"]
    assert "oracle" in detail and "chat.roles" in detail


def test_transformers_gives_the_builds_ids_and_its_mask(
    exported: Any, sequences: dict[str, tuple[list[int], np.ndarray]]
) -> None:
    for name in KEPT:
        if name == "scene":
            continue  # a typed marker stays text here, and would be parsed there
        ids, mask = sequences[name]
        encoded = exported.apply_chat_template(
            SESSIONS[name], return_dict=True, return_assistant_tokens_mask=True
        )
        assert encoded["input_ids"] == ids
        assert encoded["assistant_masks"] == mask.astype(int).tolist()


@pytest.mark.parametrize(
    ("place", "arguments"),
    [(2, {"generation_role": "character", "generation_name": "弄臣"}), (4, {})],
)
def test_serving_prompts_for_any_role_with_the_ids_before_its_answer(
    exported: Any,
    sequences: dict[str, tuple[list[int], np.ndarray]],
    project: Project,
    place: int,
    arguments: dict[str, str],
) -> None:
    (item,) = (row for key, row in items_of(project.out).items() if key[2] == "hidden")
    (span,) = (span for span in item["spans"] if span["message"] == place)
    prompt = exported.apply_chat_template(
        SESSIONS["hidden"][:place], add_generation_prompt=True, return_dict=False, **arguments
    )
    assert prompt == sequences["hidden"][0][: span["start"]]


def test_the_build_is_proven_and_verified(project: Project) -> None:
    proof = project.manifest["proof"]
    assert (proof["sessions"], proof["proven"], proof["set_aside"]) == (
        6,
        3,
        3,
    )  # ingest knows of unknown roles
    result = project.run("verify", project.out)
    assert result.exit_code == 0, result.output
