"""Whatever a session holds, it is proven or set aside with a reason; typed special tokens stay text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import chat_templates
import numpy as np
import pyarrow as pa
import pytest
from chats import byte_tokenizer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tokenization.build.proof import Prover
from tokenization.build.proving import demands_of, prove_table, served_template, whole_claims
from tokenization.chat.rendering import Rendered, Renderer
from tokenization.chat.templates import ChatTemplate
from tokenization.ingest.messages import MessageReader
from tokenization.ingest.sessions import ChatOptions, normalised_session
from tokenization.ingest.tool_calls import Refused
from tokenization.recipe.model import ChatSpec
from tokenization.stages.chat_chunk import sequence_table
from tokenization.stages.chat_tools import options_of

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
# Special tokens of gpt2, qwen, llama 2 and 3, mistral, minimind, and of the other shared templates.
TYPED = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_start|>assistant\n", "<s>", "</s>", "<unk>"),
    *("<think>", "</think>", "<think>\n\n</think>\n\n", "<tool_call>", "</tool_call>", "<tool_response>"),
    *("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>"),
    *("[INST]", "[/INST]", "[TOOL_CALLS]", "<<SYS>>", "<start_of_turn>model\n", "<end_of_turn>", "<0x0A>"),
    *("<|user|>", "<|assistant|>", "<|end|>", "<|channel|>", "<｜User｜>", "<｜end▁of▁sentence｜>", "▁"),
]
TEMPLATE = ["{{ messages }}", "{% generation %}", "{% endfor %}", "{{name}}", "{# #}", "{%- raw -%}", "}}"]
ODD = [
    *(
        "\ud800",
        "\udfff\ud800",
        "\u200b",
        "\u200d",
        "\u202e",
        "\ufeff",
        "\x00",
        "\u2028",
        "\u05e9\u05dc",
        "e\u0301",
    ),
    *(
        "\U0001f469\u200d\U0001f467",
        "好",
        "\U000f0000",
        "\U00100000",
        "\U0010fff0",
        "\U0010fff2",
        " ",
        "\n",
        "\r\n",
    ),
    *("Qm0mQ", "Qz9Probe9zQ", "Qz9Next9zQ"),  # what the prover itself puts in the place of strings
]
PIECE = st.sampled_from([*TYPED, *TEMPLATE, *ODD, "a", "word", ". "]) | st.text(max_size=4)
TEXT = st.lists(PIECE, max_size=6).map("".join)
ROLE = st.sampled_from(["system", "user", "user", "assistant", "assistant", "tool", "nobody"])
CALL = st.fixed_dictionaries(
    {"name": TEXT.filter(str.strip), "arguments": st.dictionaries(TEXT, TEXT | st.integers(), max_size=2)}
).map(lambda function: {"type": "function", "id": "call00001", "function": function})
MESSAGE = st.fixed_dictionaries(
    {"role": ROLE, "content": TEXT},
    optional={
        "reasoning_content": TEXT,
        "tool_calls": st.lists(CALL, max_size=2),
        "train": st.booleans(),
        "name": TEXT,
    },
)
SESSIONS = st.lists(st.lists(MESSAGE, max_size=6), min_size=1, max_size=4)


@dataclass(frozen=True)
class Ask:
    """A renderer and the prover beside it, as a build makes them."""

    chat: ChatSpec
    renderer: Renderer
    tokenizer: Any

    @cached_property
    def prover(self) -> Prover:
        template = self.renderer.template
        return Prover(
            served_template(self.chat, template.source, template.named_tokens, builtin=template.builtin),
            self.tokenizer,
            demands_of(self.chat),
            num_ids=self.tokenizer.largest_id + 1,
            prefix_scope=self.tokenizer.prefix_scope,
            encode=lambda text, goes_on: self.tokenizer.encode_batch([text], [goes_on])[0].tolist(),
        )

    def outcome(self, sessions: list[list[dict[str, Any]]]) -> tuple[pa.Table, Rendered, list[str | None]]:
        """Read, rendered, made to fit a small window, and what the prover says of each sequence."""
        table = normalised(sessions)
        whole = self.renderer.render(table)
        for rendered in (self.renderer.fit(table, whole, 400), whole):
            rows = np.arange(len(table), dtype=np.int32)
            made = sequence_table(table, rendered, rows, self.renderer.policy)
            asked = whole_claims(made, table.take(pa.array(rendered.session)))
            problems = prove_table(self.prover, asked, rendered.sequences)
            assert {*rendered.session.tolist(), *(entry.row for entry in rendered.set_aside)} == set(
                rows.tolist()
            )
            assert problems == [None] * len(problems)
            assert all(entry.reason and entry.detail for entry in rendered.set_aside)
        return table, rendered, problems


def normalised(sessions: list[list[dict[str, Any]]]) -> pa.Table:
    """What ingest makes of them; what it refuses is no session."""
    reader = MessageReader({}, {}, ChatOptions().roles)
    rows = []
    for session in sessions:
        try:
            rows.append(normalised_session({"messages": session}, ChatOptions(), reader))
        except Refused as refused:
            assert refused.reason
    return pa.table(
        {
            "messages": pa.array([messages.decode() for messages, _ in rows], pa.large_string()),
            "tools": pa.array([tools and tools.decode() for _, tools in rows], pa.large_string()),
        }
    )


@cache
def ask_of(template: str, **options: Any) -> Ask:
    """Over bytes, with every typed token of the list a special token."""
    source = chat_templates.EVERY.get(template, template)
    if template.endswith(".jinja"):
        source = (SHARED / "templates" / template).read_text(encoding="utf-8")
    markers = [*chat_templates.MARKERS, *(text for text in TYPED if not any(map(str.isspace, text)))]
    tokenizer = byte_tokenizer(list(dict.fromkeys(markers)), bos_token="<s>", eos_token="</s>")
    chat = ChatSpec(template=source, **options)
    return Ask(chat, Renderer(ChatTemplate.load(source, tokenizer), tokenizer, options_of(chat)), tokenizer)


def turns(count: int) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[i % 2], "content": f"{i}"} for i in range(2 * count)]


OPTIONS: dict[str, dict[str, Any]] = {
    "as usual": {},
    "last": {"history": "last", "reasoning": "masked"},
    "split": {"overlong": "split", "default_system": "S"},
    "prompts": {"train_on_prompt": True},
}


EXAMPLES = settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize(
    ("template", "option"),
    [
        ("chatml", "as usual"),
        *(
            pytest.param(template, option, marks=pytest.mark.slow)
            for template in ("chatml", "thinking", "next_marker")
            for option in OPTIONS
            if (template, option) != ("chatml", "as usual")
        ),
    ],
)
@EXAMPLES
@given(SESSIONS)
@example([[]])
@example([[{"role": "assistant", "content": ""}], [{"role": "user", "content": ""}]])
@example([[{"role": "assistant", "content": "first"}, *turns(2)]])
@example([[turns(1)[0], turns(1)[0], turns(1)[1], turns(1)[1]]])
@example([[{"role": "system", "content": "Qz9Probe9zQ"}, {"role": "system", "content": "s", "train": True}]])
@example([[{"role": "user", "content": "\ud800"}, {"role": "assistant", "content": "<|im_end|>\udc00"}]])
def test_every_hostile_session_is_proven_or_set_aside_with_a_reason(
    template: str, option: str, sessions: list[list[dict[str, Any]]]
) -> None:
    ask_of(template, **OPTIONS[option]).outcome(sessions)


@pytest.mark.parametrize("template", ["chatml", "thinking", "next_marker"])
@given(text=TEXT)
@settings(deadline=None, max_examples=20)
def test_typed_special_tokens_stay_text(template: str, text: str) -> None:
    ask = ask_of(template)
    said = [{"role": "user", "content": f"q{text}q"}, {"role": "assistant", "content": f"a{text}a"}]
    _, plain, _ = ask.outcome([[{"role": "user", "content": "qq"}, {"role": "assistant", "content": "aa"}]])
    _, rendered, _ = ask.outcome([said])
    assert len(rendered.sequences) == 1, rendered.set_aside
    special = np.array(sorted(ask.tokenizer.special_ids))

    def structure(made: Rendered) -> list[int]:
        ids = made.sequences.input_ids
        return [int(i) for i in ids[np.isin(ids, special)]]

    assert structure(rendered) == structure(plain) and structure(plain)


def test_a_session_of_300_turns_is_proven() -> None:
    for template in ("chatml", "thinking"):
        ask = ask_of(template, history="last")
        _, rendered, problems = ask.outcome([turns(300)])
        assert problems == [None] and not rendered.set_aside
        assert len(rendered.span_start) == (300 if template == "chatml" else 1)


def shared_templates() -> Iterator[str]:
    yield from sorted(path.name for path in (SHARED / "templates").glob("*.jinja"))


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("template", [*chat_templates.EVERY, *shared_templates()])
@EXAMPLES
@given(SESSIONS)
def test_templates_of_every_habit_prove_hostile_sessions(
    template: str, sessions: list[list[dict[str, Any]]]
) -> None:
    ask_of(template).outcome(sessions)
