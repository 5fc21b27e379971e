"""What is wrong with a recipe is said in one message: the key's path, the fact, the limit, the way on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_files import CHAT, TEXT, WHOLE, minimal

from tokenization.errors import RecipeError
from tokenization.recipe.load import load_recipe, recipe_from_mapping
from tokenization.recipe.model import Recipe

TRAINED = {"train": {"kind": "bpe", "vocab_size": 512}}


def refusal(mapping: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe_from_mapping(mapping, label="r.yaml")
    assert caught.value.exit_code == 2
    return str(caught.value)


def source(**more: Any) -> dict[str, Any]:
    return minimal({**TEXT, **more})


def chat(**more: Any) -> dict[str, Any]:
    return minimal(CHAT, chat=more)


@pytest.mark.parametrize(
    ("mapping", "parts"),
    [
        # keys
        (minimal(tokeniser={}), ["unknown key 'tokeniser'", "did you mean 'tokenizer'?"]),
        (
            minimal(pretrain_share=0.1),
            ["unknown key 'pretrain_share'", "did you mean mixture.pretrain_share?"],
        ),
        (minimal(zzzzzz=1), ["unknown key 'zzzzzz'", "the keys here are name, window"]),
        (chat(histroy="cut"), ["chat: unknown key 'histroy'", "'history'"]),
        (source(license="MIT"), ["sources.docs: unknown key 'license'", "'licence'"]),
        (
            chat(roles={"narrator": {"heading": "x"}}),
            ["chat.roles.narrator: unknown key 'heading'", "'header'"],
        ),
        ({**minimal(), 3: 4}, ["the key 3", "put it in quotes"]),
        (chat(roles={False: {}}), ["chat.roles has the key false", "put it in quotes"]),
        ({}, ["name is missing", "tokenizer is missing", "sources is missing"]),
        (minimal({"name": "a", "kind": "text"}), ["sources.a.path is missing"]),
        # types
        (minimal(window="big"), ["window is 'big'", "a whole number", "4096 and 8192"]),
        (minimal(window=4096.0), ["window is 4096.0", "a whole number"]),
        (minimal(window=True), ["window is true", "a whole number"]),
        (minimal(window=None), ["window is empty", "a whole number"]),
        (minimal(name=12), ["name is 12", "put it in quotes"]),
        (minimal(tokenizer="gpt2"), ["tokenizer is 'gpt2'", "a mapping with keys of its own (path, train"]),
        (minimal(sources={"a": 1}), ["sources is a mapping", "a list"]),
        (minimal(sources=None), ["sources is empty", "a list"]),
        (minimal(sources=[3]), ["sources.0 is 3", "a mapping"]),
        (minimal(cleaning={"exact_dedup": "yes"}), ["cleaning.exact_dedup is 'yes'", "true or false"]),
        (minimal(cleaning={"rules": "all"}), ["cleaning.rules is 'all'", "a list"]),
        (chat(default_system=None), ["chat.default_system is empty", "none, or a text"]),
        (chat(template_kwargs={"a": {"b": float("nan")}}), ["chat.template_kwargs.a.b", "finite"]),
        (chat(template_kwargs={"a": {1, 2}}), ["chat.template_kwargs.a", "JSON"]),
        # limits
        (minimal(window=0), ["window is 0", "at least 16 and at most 1,048,576"]),
        (minimal(window=2_000_000), ["window is 2000000", "at most 1,048,576"]),
        (minimal(seed=-1), ["seed is -1", "at least 0"]),
        (minimal(validation=1), ["validation is 1", "at least 0 and below 1"]),
        (minimal(validation=float("inf")), ["validation is inf", "finite"]),
        (minimal(sources=[]), ["sources is an empty list", "filled"]),
        (minimal(name="a b"), ["name is 'a b'", "letters, digits, _ and -"]),
        (minimal(name="a\n"), ["name is 'a\\n'", "letters, digits, _ and -"]),
        (minimal(name="数据"), ["name is '数据'", "letters, digits, _ and -"]),
        (minimal(name=""), ["name is ''", "filled"]),
        (minimal(name="config"), ["name is 'config'", "Dagster", "my_config"]),
        (source(limit=0), ["sources.docs.limit is 0", "at least 1"]),
        (source(weight=0), ["sources.docs.weight is 0", "above 0"]),
        (minimal(cleaning={"near_dedup": 2}), ["cleaning.near_dedup is 2", "above 0 and at most 1"]),
        (
            minimal(tokenizer={"train": {"kind": "bpe", "vocab_size": 1}}),
            ["tokenizer.train.vocab_size is 1", "257"],
        ),
        (
            minimal(TEXT, CHAT, mixture={"max_repetition": 0.5}),
            ["mixture.max_repetition is 0.5", "at least 1"],
        ),
        (minimal(train={"model": "m", "steps": 0}), ["train.steps is 0", "at least 1"]),
        # choices
        (source(kind="texts"), ["sources.docs.kind is 'texts'", "text or chat", "did you mean text?"]),
        (
            minimal(pretrain={"packing": "best-fit"}),
            ["pretrain.packing", "concat or best_fit", "did you mean best_fit?"],
        ),
        (chat(train_on_prompt="maybe"), ["chat.train_on_prompt is 'maybe'", "false, true or auto"]),
        (chat(history="keep"), ["chat.history is 'keep'", "cut, last or error"]),
        (minimal(schedule="0 25 * * *"), ["schedule is '0 25 * * *'", "'25' is no hour", "0 to 23"]),
        (minimal(schedule="nightly"), ["schedule is 'nightly'", "five fields"]),
        # what must fit across keys
        (
            minimal(TEXT, CHAT, mixture={"pretrain_share": 0.5}),
            ["mixture.pretrain_share is 0.5; it must be between"],
        ),
        (minimal(tokenizer={}), ["tokenizer has neither path nor train"]),
        (minimal(tokenizer={"path": "t", **TRAINED}), ["tokenizer has both path and train"]),
        (
            minimal(tokenizer={"path": "t", "add_special_tokens": ["a", "a"]}),
            ["add_special_tokens has 'a' twice"],
        ),
        (minimal(TEXT, {**TEXT, "path": "b"}), ["sources.1.name is 'docs'", "an earlier source"]),
        (
            minimal({**TEXT, "name": "a-b"}, {**TEXT, "name": "a_b"}),
            ["sources.a_b.name", "one name to Dagster"],
        ),
        (source(format="alpaca"), ["sources.docs.format belongs to chat sources"]),
        (minimal({**CHAT, "text_field": "t"}), ["sources.chats.text_field belongs to text sources"]),
        (source(fields={"content": "t"}), ["sources.docs.fields.content", "it can be id; text_field names"]),
        (
            minimal(cleaning={"rules": ["goper"]}),
            ["cleaning.rules names 'goper', which is no rule", "gopher"],
        ),
        (source(split="train"), ["sources.docs.split belongs to hf:// sources"]),
        (
            minimal({**CHAT, "fields": {"message": "m"}}),
            ["sources.chats.fields.message is no field", "messages"],
        ),
        (
            minimal({**CHAT, "role_names": {"a": "usr"}}),
            ["sources.chats.role_names.a is 'usr'", "system, user"],
        ),
        (minimal(CHAT, tokenizer=TRAINED), ["chat.template is tokenizer", "chatml", "add_special_tokens"]),
        (
            chat(roles={"assistant": {"trained": False}}),
            ["chat.roles.assistant.trained cannot be set", "loss_on"],
        ),
        (chat(roles={"user": {"header": "you"}}), ["chat.roles.user.header cannot be set"]),
        (chat(roles={"n": {"successors": ["usr"]}}), ["chat.roles.n.successors names 'usr'"]),
        (chat(roles={"n": {"weight": 2.0}}), ["chat.roles.n.weight is 2", "trained: true"]),
        (chat(roles={"n": {"header": "a\nb"}}), ["chat.roles.n.header has a line break"]),
        (chat(roles={" ": {}}), ["is no name for a role"]),
    ],
    ids=lambda value: value[0][:50] if isinstance(value, list) else "",
)
def test_a_bad_recipe_is_answered_with_path_fact_limit_and_way(mapping: Any, parts: list[str]) -> None:
    message = refusal(mapping)
    assert message.startswith("r.yaml: ")
    for part in parts:
        assert part in message
    for jargon in ("pydantic", "Input should", "validation error", "function-", "literal["):
        assert jargon not in message


def test_all_problems_are_listed_and_a_misspelt_key_is_not_also_missing() -> None:
    mapping = {**minimal(window=0, validation=7), "tokeniser": {"path": "t"}}
    del mapping["tokenizer"]
    lines = refusal(mapping).splitlines()
    assert [line.split()[1] for line in lines] == ["unknown", "window", "validation"]


def test_a_flood_of_problems_is_cut_with_a_count() -> None:
    lines = refusal(minimal(**{f"key{n}": 1 for n in range(50)})).splitlines()
    assert len(lines) == 21 and lines[-1] == "and 30 more"


def test_a_problem_comes_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(WHOLE.replace("pretrain_share: 0.15", "pretrain_share: 0.5"), encoding="utf-8")
    line = 1 + WHOLE[: WHOLE.index("pretrain_share")].count("\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert str(caught.value).startswith(f"{file}:{line}: mixture.pretrain_share is 0.5; it must be between")


def test_a_problem_in_a_source_names_the_source_and_its_line(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(WHOLE.replace("limit: 10000", "limit: none"), encoding="utf-8")
    line = 1 + WHOLE[: WHOLE.index("limit")].count("\n")
    with pytest.raises(RecipeError, match=rf"r\.yaml:{line}: sources\.web\.limit is 'none'"):
        load_recipe(file)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["is empty", "tokenmill init"]),
        ("# nothing yet\n", ["is empty"]),
        ("- a\n- b\n", ["holds a list", "a mapping"]),
        ("hello", ["'hello'", "a mapping"]),
        ("name: a\n\twindow: 3\n", [":2:", "spaces, not tabs"]),
        ("name: a: b\n", [":1:", "quotes"]),
        ("name: a\nsources: [\n", [":3:"]),
        ("name: a\nseed: 1\nname: b\n", [":3:", "key 'name' stands twice", "line 1"]),
        ("chat:\n  roles:\n    x: {}\n    x: {}\n", [":4:", "key 'x' stands twice"]),
        ("schedule: *nightly\n", [":1:", "put a text that begins with * in quotes"]),
        ("name: !secret x\n", [":1:", "!secret", "quotes"]),
        ("name: !!python/object/apply:os.system [ls]\n", [":1:", "could not determine"]),
        ("name: a\n---\nname: b\n", [":2:", "one file is one recipe"]),
        ("name: 0b_\n", ["YAML cannot read"]),
        ("name: !!bool maybe\n", ["YAML cannot read"]),
        ("name: a\x00b\n", ["YAML cannot read"]),
        ("a: &a [*a]\n", ["an alias stands inside what it repeats"]),
        ("a: " + "[" * 500 + "]" * 500, ["nested too deeply"]),
        (
            "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)),
            ["too many values"],
        ),
    ],
)
def test_a_file_that_is_no_recipe_has_one_clear_message(tmp_path: Path, text: str, parts: list[str]) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    message = str(caught.value)
    assert message.startswith(str(file)) and "\n" not in message
    for part in parts:
        assert part in message


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text(WHOLE, encoding="utf-8")
    (tmp_path / "latin.yaml").write_bytes("name: Bücher".encode("latin-1"))
    for name, part in (
        ("dmo.yaml", f"no such file; did you mean {tmp_path / 'demo.yaml'}?"),
        ("none/x.yaml", "there is no such file"),
        ("", "is a directory"),
        ("latin.yaml", "is not UTF-8: byte 0xfc at 7"),
        ("a\0b", "cannot be read"),
    ):
        with pytest.raises(RecipeError) as caught:
            load_recipe(tmp_path / name)
        assert part in str(caught.value)


def test_numbers_and_texts_are_what_people_mean(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    text = WHOLE.replace("steps: 200", "steps: 200, learning_rate: 5e-4")
    text = text.replace("template_kwargs: {}", "template_kwargs: {date_string: 2024-07-26}")
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("near_dedup: off", "near_dedup: 8e-1").encode())
    recipe = load_recipe(file)
    assert recipe.train is not None and recipe.train.learning_rate == 5e-4
    assert recipe.cleaning.near_dedup == 0.8
    assert recipe.chat.template_kwargs == {"date_string": "2024-07-26"}


@pytest.mark.parametrize("word", ["off", "false", '"off"', "no"])
def test_off_is_off_however_yaml_reads_it(tmp_path: Path, word: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(WHOLE.replace("near_dedup: off", f"near_dedup: {word}"), encoding="utf-8")
    assert load_recipe(file).cleaning.near_dedup is None


def test_merge_keys_and_aliases_work(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(
        "name: a\ntokenizer: {path: t}\nsources:\n"
        "  - &one {name: a, kind: text, path: a, limit: 3}\n"
        "  - {<<: *one, name: b}\n",
        encoding="utf-8",
    )
    assert [(s.name, s.limit) for s in load_recipe(file).sources] == [("a", 3), ("b", 3)]


KEYS = sorted({*Recipe.model_fields, "path", "train", "kind", "roles", "limit", "fields", "header", "x", "0"})
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["text", "chat", "auto", "off", "docs", "hf://a/b", "", "\ud800", "\n", "@daily"])
    | st.text(max_size=8)
    | st.binary(max_size=3)
    | st.dates()
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS) | st.integers() | st.booleans() | st.none(), inner, max_size=6
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=8), st.booleans())
def test_whatever_a_mapping_holds_it_is_a_recipe_or_a_recipe_error(
    mapping: dict[str, Any], near: bool
) -> None:
    try:
        recipe = recipe_from_mapping({**minimal(TEXT, CHAT), **mapping} if near else mapping)
    except RecipeError as error:
        assert str(error).strip()
    else:
        assert recipe_from_mapping(recipe.resolved()) == recipe


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_recipe_file_with_a_piece_broken_is_a_recipe_or_a_recipe_error(data: st.DataObject) -> None:
    from tokenization.recipe.document import read_document

    start = data.draw(st.integers(0, len(WHOLE)))
    end = data.draw(st.integers(start, min(start + 12, len(WHOLE))))
    junk = data.draw(st.text(alphabet=" \n\t:-[]{}*&!|>%@'\"#a1é?,", max_size=4) | st.text(max_size=3))
    try:
        recipe_from_mapping(read_document(WHOLE[:start] + junk + WHOLE[end:], "r").values)
    except RecipeError as error:
        assert str(error).strip()


def test_what_the_property_tests_start_from_is_sound() -> None:
    assert recipe_from_mapping(minimal(TEXT, CHAT)).mixture is not None
