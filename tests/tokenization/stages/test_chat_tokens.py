"""Renderers and provers are kept by a process, and never outlive the template that they were made of."""

from __future__ import annotations

from pathlib import Path

from tokenization.recipe.model import ChatSpec, TokenizerSpec
from tokenization.stages.chat_tools import prover_of, renderer_of
from tokenization.tokenizer.prepare import prepare_tokenizer

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_an_edited_template_gives_another_renderer_and_prover_in_the_same_process(
    small_tokenizer: Path, tmp_path: Path
) -> None:
    prepared = tmp_path / "prepared"
    prepare_tokenizer(TokenizerSpec(path=str(small_tokenizer)), tmp_path, prepared)
    file = tmp_path / "mine.jinja"
    chat = ChatSpec(template=file.name).model_dump_json()
    file.write_text(TEMPLATE)
    renderer, prover = (make(prepared, chat, tmp_path) for make in (renderer_of, prover_of))
    assert renderer_of(prepared, chat, tmp_path) is renderer and prover_of(prepared, chat, tmp_path) is prover
    file.write_text("Hello. " + TEMPLATE)
    assert renderer_of(prepared, chat, tmp_path).template.source.startswith("Hello. ")
    assert prover_of(prepared, chat, tmp_path).template.source.startswith("Hello. ")
