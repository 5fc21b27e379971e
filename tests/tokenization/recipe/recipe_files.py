"""The recipes that these tests start from."""

from __future__ import annotations

from typing import Any

TEXT: dict[str, Any] = {"name": "docs", "kind": "text", "path": "docs/*.md"}
CHAT: dict[str, Any] = {"name": "chats", "kind": "chat", "path": "chats.jsonl"}


def minimal(*sources: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A recipe with nothing in it that could be left out."""
    return {"name": "demo", "tokenizer": {"path": "tok"}, "sources": list(sources or (TEXT,)), **more}


# Every key that a recipe documents, once.
WHOLE = """\
name: my_assistant
window: 4096
seed: 17
tokenizer:
  path: ./tokenizers/qwen2.5
  # train: {kind: bpe, vocab_size: 16384}
  # add_special_tokens: ["<|narrator|>"]
  document_end: auto
chat:
  template: tokenizer
  template_kwargs: {}
  default_system: template
  loss_on: all_answers
  train_on_prompt: false
  history: cut
  overlong: drop_turns
  roles:
    narrator: {header: "narrator", trained: false}
    background: {header: "background", trained: false}
sources:
  - {name: docs,   kind: text, path: "data/docs/**/*.md", licence: "CC0-1.0"}
  - {name: web,    kind: text, path: "data/web.jsonl.gz", text_field: text, limit: 10000}
  - {name: alpaca, kind: chat, path: "data/alpaca.json"}
  - {name: mine,   kind: chat, path: "data/mine.jsonl",
     fields: {messages: dialog, role: speaker, content: text}, role_names: {client: user}}
  - {name: hub,    kind: chat, path: "hf://owner/name", config: default, split: train}
cleaning: {unicode: nfc, exact_dedup: true, near_dedup: off, min_characters: 1, rules: []}
pretrain: {packing: concat}
sft: {layout: packed}
mixture:
  pretrain_share: 0.15
  unit: total_tokens
  max_repetition: 1.0
validation: 0.01
train: {model: minimind-26m, steps: 200}
schedule: "0 2 * * *"
"""
