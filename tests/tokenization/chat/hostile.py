"""Sessions that mean harm, as strategies; and the renderer and the prover asked about them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from tokenization.build.proof import Prover
from tokenization.build.proving import demands_of, prove_table, served_template, whole_claims
from tokenization.chat.rendering import Rendered, Renderer
from tokenization.ingest.messages import MessageReader
from tokenization.ingest.sessions import ChatOptions, normalised_session
from tokenization.ingest.tool_calls import Refused
from tokenization.recipe.model import ChatSpec
from tokenization.stages.chat_chunk import sequence_table

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
ROLES = ("system", "user", "user", "assistant", "assistant", "tool", "nobody")


def hostile_texts(typed: Sequence[str]) -> st.SearchStrategy[str]:
    """Strings of these special tokens, template syntax, odd characters and words."""
    piece = st.sampled_from([*typed, *TEMPLATE, *ODD, "a", "word", ". "]) | st.text(max_size=4)
    return st.lists(piece, max_size=6).map("".join)


def hostile_sessions(text: st.SearchStrategy[str]) -> st.SearchStrategy[list[list[dict[str, Any]]]]:
    """A few sessions of a few messages, in no order, whose every string is one of these."""
    function = st.fixed_dictionaries(
        {
            "name": text.filter(str.strip),
            "arguments": st.dictionaries(text, text | st.integers(), max_size=2),
        }
    )
    call = function.map(lambda named: {"type": "function", "id": "call00001", "function": named})
    message = st.fixed_dictionaries(
        {"role": st.sampled_from(ROLES), "content": text},
        optional={
            "reasoning_content": text,
            "tool_calls": st.lists(call, max_size=2),
            "train": st.booleans(),
            "name": text,
        },
    )
    return st.lists(st.lists(message, max_size=6), min_size=1, max_size=4)


def in_turn(text: st.SearchStrategy[str]) -> st.SearchStrategy[list[list[dict[str, Any]]]]:
    """A few sessions of questions and answers in turn, which strict templates take too."""
    said = st.lists(text, min_size=2, max_size=6).filter(lambda texts: len(texts) % 2 == 0)
    session = said.map(
        lambda texts: [
            {"role": ("user", "assistant")[place % 2], "content": own} for place, own in enumerate(texts)
        ]
    )
    return st.lists(session, min_size=1, max_size=4)


def turns(count: int) -> list[dict[str, Any]]:
    """That many questions and answers."""
    return [{"role": ("user", "assistant")[i % 2], "content": f"{i}"} for i in range(2 * count)]


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

    def outcome(
        self, sessions: list[list[dict[str, Any]]], *, fits: bool = True
    ) -> tuple[pa.Table, Rendered, list[str | None]]:
        """Read, rendered, made to fit a small window, and what the prover says of each sequence."""
        table = normalised(sessions)
        whole = self.renderer.render(table)
        for rendered in (self.renderer.fit(table, whole, 400), whole) if fits else (whole,):
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
