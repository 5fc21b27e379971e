"""What a recipe's chats come to: what their rendering depends on, and the counts and reports of it.

Nothing here renders (see chat_jobs), so a build with nothing to render loads neither renderer nor prover.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from tokenization.chat.templates import ChatTemplate, builtin_names
from tokenization.errors import RecipeError
from tokenization.stages.chat_tools import load_template, renderer_of
from tokenization.stages.tokenizer import opened, tokenizer_path
from tokenization.stages.workspace import Workspace

# -- what the result depends on -----------------------------------------------------------------------------


def description(workspace: Workspace) -> list[Any]:
    """The chat section and the template's text: what rendering depends on beside tokenizer and sessions."""
    return [workspace.recipe.chat.model_dump(mode="json"), template_of(workspace).fingerprint]


def template_of(workspace: Workspace) -> ChatTemplate:
    """The recipe's template, found for its tokenizer."""
    return load_template(workspace.recipe.chat, tokenizer_path(workspace), workspace.recipe.directory)


def check_template_file(workspace: Workspace) -> None:
    """Refuse a template that is not there, before anything runs."""
    choice = workspace.recipe.chat.template
    if not workspace.recipe.chat_sources or choice == "tokenizer" or choice in builtin_names():
        return
    if not (workspace.recipe.directory / choice).is_file():
        raise RecipeError(
            f"chat.template: {choice!r} is neither a file beside the recipe nor a built-in template; "
            f"the built-in ones are {', '.join(builtin_names())}, and tokenizer means its own"
        )


def depends(workspace: Workspace) -> list[Any]:
    tokenizer = workspace.result("tokenizer")
    return ["chat", tokenizer.fingerprint, tokenizer.value["engine"], *description(workspace)]


# -- what the whole recipe's chats come to ------------------------------------------------------------------


def summary(workspace: Workspace, metas: list[dict[str, Any]]) -> dict[str, Any]:
    """A source's counts that only chats have."""
    actions: Counter[str] = Counter()
    for meta in metas:
        actions.update(meta["actions"])
    return {
        "stop_ids": sorted({stop for meta in metas for stop in meta["stop_ids"]}),
        "actions": dict(actions),
        "mismatches": [line for meta in metas for line in meta["mismatches"]][:5],
    }


def stop_token_ids(workspace: Workspace) -> list[int]:
    """The trained stops of every chat source; the document end where there are no chats."""
    stops = {
        stop
        for source in workspace.recipe.chat_sources
        for stop in workspace.result("tokens", source.name).value["stop_ids"]
    }
    return sorted(stops) or [opened(workspace).document_end_token_id]


def template_report(workspace: Workspace) -> dict[str, Any]:
    """How targets were found, and what the template does by itself."""
    from tokenization.chat.report import report_on

    chat = workspace.recipe.chat
    renderer = renderer_of(tokenizer_path(workspace), chat.model_dump_json(), workspace.recipe.directory)
    return dict(report_on(renderer).as_json())


def proof_summary(workspace: Workspace) -> dict[str, int]:
    """The manifest's `proof`: sessions that were to be rendered, proved, set aside; lossy ones among the proved."""
    totals = Counter[str]()
    for source in workspace.recipe.chat_sources:
        value = workspace.result("tokens", source.name).value
        set_aside = sum(value["set_aside"].values())
        totals.update(
            sessions=value["sessions"] + set_aside,
            proven=value["proven"],
            set_aside=set_aside,
            lossy=value["lossy"],
        )
    return {name: totals[name] for name in ("sessions", "proven", "set_aside", "lossy")}
