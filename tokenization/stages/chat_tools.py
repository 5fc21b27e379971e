"""What a recipe's `chat` section makes: its template, and one renderer and one prover a process.

Both learn the shapes of sessions as they go, so they are kept as long as the process lives and its threads share them;
a template edited meanwhile is another one, because what is kept goes by its text.
"""

from __future__ import annotations

import threading
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tokenization.chat.roles import Role
from tokenization.chat.templates import ChatTemplate
from tokenization.recipe.model import ChatSpec
from tokenization.tokenizer.encoder import open_tokenizer

if TYPE_CHECKING:
    from tokenization.build.proof import Prover
    from tokenization.chat.rendering import ChatOptions, Renderer

MOST_OPEN = 8  # renderers and provers kept: some recipes
_OPENING = threading.Lock()  # two threads that ask at once get the same one


def roles_of(chat: ChatSpec) -> dict[str, Role]:
    """The recipe's own roles."""
    return {
        name: Role(
            **{field.name: getattr(role, field.name) for field in fields(Role) if hasattr(role, field.name)}
        )
        for name, role in chat.roles.items()
    }


def options_of(chat: ChatSpec) -> ChatOptions:
    """The recipe's `chat` section in the renderer's words."""
    from tokenization.chat.rendering import ChatOptions

    return ChatOptions(
        loss_on=chat.loss_on,
        train_on_prompt=chat.train_on_prompt,
        history=chat.history,
        overlong=chat.overlong,
        default_system=chat.default_system,
        reasoning=chat.reasoning,
        around_answers=chat.around_answers,
        template_kwargs=chat.template_kwargs,
        roles=roles_of(chat),
    )


def load_template(chat: ChatSpec, tokenizer: Path, folder: Path) -> ChatTemplate:
    return ChatTemplate.load(chat.template, open_tokenizer(tokenizer), roles=roles_of(chat), folder=folder)


def template_fingerprint(tokenizer: Path, chat_json: str, folder: Path) -> str:
    """The fingerprint of the template that these settings name: an edited file is another template."""
    return load_template(ChatSpec.model_validate_json(chat_json), tokenizer, folder).fingerprint


def renderer_of(tokenizer: Path, chat_json: str, folder: Path) -> Renderer:
    """One renderer a process for these settings and the template's text as it is now."""
    with _OPENING:
        return _renderer(tokenizer, chat_json, folder, template_fingerprint(tokenizer, chat_json, folder))


@lru_cache(maxsize=MOST_OPEN)
def _renderer(tokenizer: Path, chat_json: str, folder: Path, fingerprint: str) -> Renderer:
    from tokenization.chat.rendering import Renderer
    from tokenization.chat.report import check_stop

    chat = ChatSpec.model_validate_json(chat_json)
    renderer = Renderer(load_template(chat, tokenizer, folder), open_tokenizer(tokenizer), options_of(chat))
    check_stop(renderer)
    return renderer


def prover_of(tokenizer: Path, chat_json: str, folder: Path) -> Prover:
    """One prover a process for these settings and the template's text as it is now."""
    with _OPENING:
        return _prover(tokenizer, chat_json, folder, template_fingerprint(tokenizer, chat_json, folder))


@lru_cache(maxsize=MOST_OPEN)
def _prover(tokenizer: Path, chat_json: str, folder: Path, fingerprint: str) -> Prover:
    """Of the renderer it knows the template alone."""
    from tokenization.build.proof import Prover
    from tokenization.build.proving import demands_of, served_template

    chat = ChatSpec.model_validate_json(chat_json)
    opened_tokenizer = open_tokenizer(tokenizer)
    template = load_template(chat, tokenizer, folder)
    return Prover(
        served_template(chat, template.source, template.named_tokens, builtin=template.builtin),
        opened_tokenizer,
        demands_of(chat),
        num_ids=opened_tokenizer.largest_id + 1,
        prefix_scope=opened_tokenizer.prefix_scope,
        encode=lambda text, goes_on: opened_tokenizer.encode_batch([text], [goes_on])[0].tolist(),
    )
