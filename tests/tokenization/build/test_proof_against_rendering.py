"""Two that share no code, the renderer and the prover, agree on real chats under real tokenizers and templates."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from tokenization.build.proof import Claim, Prover
from tokenization.build.proof_template import ServedTemplate
from tokenization.build.proof_view import Demands
from tokenization.chat.rendering import ChatOptions, Rendered, Renderer
from tokenization.chat.roles import Role, role_policy
from tokenization.chat.templates import ChatTemplate
from tokenization.tokenizer.encoder import PreparedTokenizer, open_tokenizer
from tokenization.tokenizer.prepare import prepare_tokenizer

pytestmark = [pytest.mark.shared, pytest.mark.slow]
TYPED = [
    "<|im_end|>",
    "<|im_start|>assistant\n",
    "<think>",
    "</think>",
    "<tool_call>",
    "<tool_response>",
    "</tool_response>",
]
SAID = [*TYPED, " ", "\n", "你好", "🦊é", "e\u0301", "[INST]", "</s>", "x", " lead", "trail \n"]


@dataclass(frozen=True)
class Spec:
    """What a recipe says of its tokenizer."""

    path: str
    train: None = None
    add_special_tokens: tuple[str, ...] = ()
    document_end: str = "auto"


@pytest.fixture(scope="module")
def tokenizers(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, PreparedTokenizer]:
    out = tmp_path_factory.mktemp("prepared")
    for name in ("qwen3", "minimind"):
        prepare_tokenizer(Spec(str(shared / "data" / "tokenizers" / name)), Path(), out / name)
    return {name: open_tokenizer(out / name) for name in ("qwen3", "minimind")}


def odd_sessions(count: int, seed: int) -> pa.Table:
    """Sessions in which everything that may occur does: typed markers, reasoning, calls, tools, flags, white space."""
    chance = random.Random(seed)

    def text(most: int = 5) -> str:
        return "".join(chance.choices(SAID, k=chance.randint(1, most))) + chance.choice(["w", "好", ".\n"])

    def answer() -> dict[str, Any]:
        made: dict[str, Any] = {"role": "assistant", "content": text()}
        if chance.random() < 0.3:
            made["reasoning_content"] = text(3)
        if chance.random() < 0.1:
            made["train"] = False
        return made

    rows = []
    for _ in range(count):
        messages = [{"role": "system", "content": text()}] if chance.random() < 0.4 else []
        for _ in range(chance.randint(1, 3)):
            messages += [{"role": "user", "content": text()}, answer()]
            if chance.random() < 0.25:
                arguments = {chance.choice(["k", "<|im_end|>"]): text(2), "n": chance.randint(0, 9)}
                messages[-1]["tool_calls"] = [
                    {"type": "function", "function": {"name": "f", "arguments": arguments}}
                ]
                messages += [{"role": "tool", "content": text()}, answer()]
        function = {"name": "f", "description": text(), "parameters": {"type": "object", "properties": {}}}
        tools = [{"type": "function", "function": function}] if chance.random() < 0.2 else None
        rows.append((orjson.dumps(messages).decode(), orjson.dumps(tools).decode() if tools else None))
    return as_table(rows)


def as_table(rows: list[tuple[str, str | None]]) -> pa.Table:
    columns = [pa.array([row[number] for row in rows], pa.large_string()) for number in (0, 1)]
    return pa.table(columns, names=["messages", "tools"])


def claims_of(sessions: pa.Table, rendered: Rendered) -> list[Claim]:
    claims = []
    for number, row in enumerate(rendered.session.tolist()):
        messages = orjson.loads(sessions.column("messages")[row].as_py())
        kept = rendered.kept.get(number, list(range(len(messages))))
        own = slice(int(rendered.span_offsets[number]), int(rendered.span_offsets[number + 1]))
        spans = zip(
            rendered.span_start[own].tolist(),
            rendered.span_stop[own].tolist(),
            [kept.index(message) for message in rendered.span_message[own].tolist()],
            strict=True,
        )
        tools = orjson.loads(sessions.column("tools")[row].as_py() or "null")
        cut = int(rendered.cut[number])
        actions = rendered.actions_of(number)
        claims.append(
            Claim([messages[i] for i in kept], tools, list(spans), cut if cut >= 0 else None, actions)
        )
    return claims


def prover_like(renderer: Renderer, tokenizer: PreparedTokenizer) -> Prover:
    options, template = renderer.options, renderer.template
    policy = role_policy(options.roles)
    return Prover(
        ServedTemplate(
            template.source,
            template.named_tokens,
            options.template_kwargs,
            {} if template.builtin else {name: role.header for name, role in policy.items()},
            frozenset(name for name, role in policy.items() if not role.visible_in_generation),
            options.default_system,
        ),
        tokenizer,
        Demands(
            frozenset(name for name, role in policy.items() if role.trained),
            options.loss_on,
            options.train_on_prompt,
            options.history,
            options.reasoning,
        ),
        num_ids=tokenizer.largest_id + 1,
        encode=lambda text, goes_on: tokenizer.encode_batch([text], [goes_on])[0].tolist(),
    )


CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "qwen3": ("qwen3", "tokenizer", {}),
    "qwen3 last": ("qwen3", "tokenizer", {"history": "last", "reasoning": "masked"}),
    "qwen3 silent": ("qwen3", "tokenizer", {"template_kwargs": {"enable_thinking": False}}),
    "chatml": ("qwen3", "chatml", {"default_system": "Be brief."}),
    "chatml prompts": ("qwen3", "chatml", {"train_on_prompt": True}),
    "qwen3 prompts": ("qwen3", "tokenizer", {"train_on_prompt": True}),
    "qwen2.5 prompts": ("qwen3", "trl-qwen2_5_training.jinja", {"train_on_prompt": True}),
    "minimind": ("minimind", "tokenizer", {"loss_on": "last_answer"}),
    "qwen3 marked": ("qwen3", "trl-qwen3_training.jinja", {}),
    "qwen2.5 marked": ("qwen3", "trl-qwen2_5_training.jinja", {"default_system": "none"}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_the_renderer_makes_of_odd_sessions_is_proven(
    shared: Path, tokenizers: dict[str, PreparedTokenizer], case: str
) -> None:
    name, template, options = CASES[case]
    tokenizer = tokenizers[name]
    loaded = ChatTemplate.load(template, tokenizer, folder=shared / "data" / "templates")
    renderer = Renderer(loaded, tokenizer, ChatOptions(**options))
    sessions = odd_sessions(60, seed=len(case))
    for rendered in (renderer.render(sessions), renderer.fit(sessions, renderer.render(sessions), 150)):
        assert len(rendered.sequences) > 20
        prover = prover_like(renderer, tokenizer)
        claims = claims_of(sessions, rendered)
        assert [p for p in prover.prove_many(claims, rendered.sequences) if p is not None] == []
        assert prover.counts.proven == len(claims)
        wrong = rendered.sequences.loss_mask.copy()
        wrong[rendered.sequences.offsets[:-1] + 1] ^= True
        broken = type(rendered.sequences)(rendered.sequences.input_ids, wrong, rendered.sequences.offsets)
        assert None not in prover.prove_many(claims, broken)


def test_a_trained_role_of_the_recipe_is_proven_under_its_own_prompt(
    tokenizers: dict[str, PreparedTokenizer],
) -> None:
    tokenizer = tokenizers["qwen3"]
    roles = {"narrator": Role("narrator", trained=True), "note": Role("note", visible_in_generation=False)}
    template = ChatTemplate.load("chatml", tokenizer, roles=roles)
    renderer = Renderer(template, tokenizer, ChatOptions(roles=roles))
    scene = [
        {"role": "note", "content": "An aside."},
        {"role": "narrator", "name": "Kent", "content": "Night."},
        {"role": "user", "content": "Who is there?"},
        {"role": "assistant", "content": "Nobody."},
    ]
    sessions = as_table([(orjson.dumps(scene[first:]).decode(), None) for first in (0, 1) for _ in range(3)])
    rendered = renderer.render(sessions)
    assert not rendered.set_aside and len(rendered.span_start) == 12
    prover = prover_like(renderer, tokenizer)
    assert prover.prove_many(claims_of(sessions, rendered), rendered.sequences) == [None] * 6
