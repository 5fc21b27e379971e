"""Sessions to token sequences: rendered, masked, proved, and made to fit the window.

A chunk's object is made in two steps. The first renders every session whole, whatever the window; the second, only for
chunks with sessions longer than the window, applies the recipe's overlong policy to those and keeps the rest as it is.
So another window length renders the few overlong sessions again and nothing else.

Every sequence is proved (see build.proof) before it is kept: one that cannot be proved is set aside as `unproven`.
Price: see benchmarks; beside encoding about 10 µs a session to render and 30 µs to prove.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.build.proof import Prover
from tokenization.build.proving import demands_of, plain_claims, prove_table, served_template, whole_claims
from tokenization.chat.outcome import Rendered, SetAside
from tokenization.chat.rendering import ChatOptions, Renderer, plain_of
from tokenization.chat.report import check_stop, report_on
from tokenization.chat.roles import Role
from tokenization.chat.templates import ChatTemplate, builtin_names
from tokenization.chat.weights import sequence_weights
from tokenization.engine import worker_id
from tokenization.errors import RecipeError
from tokenization.hashing import key_of
from tokenization.recipe.model import ChatSpec
from tokenization.sequences import offsets_of, storage_dtype
from tokenization.stages.documents import ROWS
from tokenization.stages.running import run_jobs
from tokenization.stages.tables import mapped, open_table, write_table
from tokenization.stages.tokenizer import opened, tokenizer_path
from tokenization.stages.workspace import Workspace
from tokenization.store import META, Store
from tokenization.tokenizer.encoder import open_tokenizer
from tokenization.windows.plan import ranges

SPAN = pa.struct([("start", pa.int32()), ("stop", pa.int32()), ("message", pa.int32())])
SEQUENCE_SCHEMA = pa.schema(
    [
        ("row", pa.int32()),  # of the chunk
        ("cut", pa.int32()),  # -1 where the session was not cut
        ("length", pa.int32()),
        ("targets", pa.int32()),
        ("spans", pa.list_(SPAN)),
        ("actions", pa.list_(pa.string())),
        ("weight", pa.float64()),  # of its targets in the loss, before the source's
        ("messages", pa.large_string()),  # JSON; null where all of the session's messages were rendered
    ]
)
SET_ASIDE_SCHEMA = pa.schema([("row", pa.int32()), ("reason", pa.string()), ("detail", pa.string())])
MOST_OPEN = 32  # renderers and provers kept: some recipes, some workers each
PLAIN_LOOK = 500  # sessions of a source that say whether threads serve it
SEQUENCES, ASIDE = "sequences.arrow", "set_aside.arrow"


@dataclass(frozen=True)
class RenderJob:
    store: Store
    key: str
    chunk: str
    rows: NDArray[np.int32]  # int32 [num_kept]  rows of the chunk to render, ascending
    tokenizer: Path
    chat: ChatSpec
    folder: Path  # where a template's relative path begins
    base: str = ""  # the whole rendering that a fitting starts from
    window: int = 0  # 0: render whole
    prompted: NDArray[np.int32] | None = None  # those of `rows` whose prompts `train_on_prompt: auto` trains


# -- what the result depends on -----------------------------------------------------------------------------


def options_of(chat: ChatSpec) -> ChatOptions:
    """The recipe's `chat` section in the renderer's words."""
    return ChatOptions(
        loss_on=chat.loss_on,
        train_on_prompt=chat.train_on_prompt,
        history=chat.history,
        overlong=chat.overlong,
        default_system=chat.default_system,
        reasoning=chat.reasoning,
        around_answers=chat.around_answers,
        template_kwargs=chat.template_kwargs,
        roles={
            name: Role(
                **{
                    field.name: getattr(role, field.name)
                    for field in fields(Role)
                    if hasattr(role, field.name)
                }
            )
            for name, role in chat.roles.items()
        },
    )


def description(workspace: Workspace) -> list[Any]:
    """The chat section and the template's text: what rendering depends on beside tokenizer and sessions."""
    return [workspace.recipe.chat.model_dump(mode="json"), template_of(workspace).fingerprint]


def template_of(workspace: Workspace) -> ChatTemplate:
    """The recipe's template, found for its tokenizer."""
    return load_template(workspace.recipe.chat, tokenizer_path(workspace), workspace.recipe.directory)


def load_template(chat: ChatSpec, tokenizer: Path, folder: Path) -> ChatTemplate:
    return ChatTemplate.load(
        chat.template, open_tokenizer(tokenizer), roles=options_of(chat).roles, folder=folder
    )


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


def template_fingerprint(tokenizer: Path, chat_json: str, folder: Path) -> str:
    """The fingerprint of the template that these settings name: an edited file is another template."""
    return load_template(ChatSpec.model_validate_json(chat_json), tokenizer, folder).fingerprint


def renderer_of(tokenizer: Path, chat_json: str, folder: Path) -> Renderer:
    """One renderer a worker for these settings and the template's text as it is now."""
    fingerprint = template_fingerprint(tokenizer, chat_json, folder)
    return _renderer(tokenizer, chat_json, folder, fingerprint, worker_id())


@lru_cache(maxsize=MOST_OPEN)
def _renderer(tokenizer: Path, chat_json: str, folder: Path, fingerprint: str, worker: int) -> Renderer:
    """One renderer a worker for these settings: it learns the shapes of sessions as it goes."""
    chat = ChatSpec.model_validate_json(chat_json)
    renderer = Renderer(load_template(chat, tokenizer, folder), open_tokenizer(tokenizer), options_of(chat))
    check_stop(renderer)
    return renderer


def prover_of(tokenizer: Path, chat_json: str, folder: Path) -> Prover:
    """One prover a worker for these settings and the template's text as it is now."""
    fingerprint = template_fingerprint(tokenizer, chat_json, folder)
    return _prover(tokenizer, chat_json, folder, fingerprint, worker_id())


@lru_cache(maxsize=MOST_OPEN)
def _prover(tokenizer: Path, chat_json: str, folder: Path, fingerprint: str, worker: int) -> Prover:
    """One prover a worker for these settings; of the renderer it knows the template alone."""
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


# -- jobs ---------------------------------------------------------------------------------------------------


def depends(workspace: Workspace) -> list[Any]:
    tokenizer = workspace.result("tokenizer")
    return ["chat", tokenizer.fingerprint, tokenizer.value["engine"], *description(workspace)]


def job(
    workspace: Workspace,
    chunk: str,
    rows: NDArray[np.int32],
    key: str,
    prompted: NDArray[np.int32] | None = None,
) -> RenderJob:
    recipe = workspace.recipe
    return RenderJob(
        workspace.store,
        key,
        chunk,
        rows,
        tokenizer_path(workspace),
        recipe.chat,
        recipe.directory,
        prompted=prompted,
    )


def threads_serve(jobs: list[RenderJob]) -> bool:
    """Whether most of the first sessions are plain: their time goes by in libraries that release the GIL, while tools,
    reasoning and flags are Python's work, for which processes are worth their start."""
    if not jobs:
        return True
    sessions = open_table(jobs[0].store.path("rows", jobs[0].chunk) / ROWS).slice(0, PLAIN_LOOK)
    return 2 * len(plain_of(sessions)) >= len(sessions)


def prompted_among(job: RenderJob, rows: NDArray[np.int32]) -> list[int]:
    """Where among these rows of the chunk those are whose prompts are trained."""
    places: list[int] = [] if job.prompted is None else np.flatnonzero(np.isin(rows, job.prompted)).tolist()
    return places


def encode_chunk(job: RenderJob) -> int:
    """Render one chunk's kept sessions, whole; the worker's number."""
    sessions = open_table(job.store.path("rows", job.chunk) / ROWS).take(pa.array(job.rows))
    renderer = renderer_of(job.tokenizer, job.chat.model_dump_json(), job.folder)
    made = Chunk.of(
        renderer, job, sessions, renderer.render(sessions, prompted_among(job, job.rows)), job.rows
    )
    made.save(job)
    return worker_id()


def fit(
    workspace: Workspace, jobs: list[RenderJob], metas: list[dict[str, Any]], name: str
) -> tuple[list[str], list[dict[str, Any]], int]:
    """Every chunk's object and meta once no sequence is longer than the window; how many chunks were fitted."""
    window = workspace.recipe.window
    fitted = [
        replace(base, key=key_of("fit", base.key, window), base=base.key, window=window)
        if meta["longest"] > window
        else base
        for base, meta in zip(jobs, metas, strict=True)
    ]
    over = [job for job in fitted if job.window]
    if over:
        run_jobs(workspace, "tokens", fit_chunk, over, 0, name)
    metas = [workspace.store.meta("tokens", job.key) for job in fitted]
    return [job.key for job in fitted], metas, len(over)


def fit_chunk(job: RenderJob) -> int:
    """Apply the overlong policy to one chunk's long sessions; the worker's number."""
    base = Chunk.load(job.store.path("tokens", job.base))
    rows = base.table.column("row").to_numpy()
    long_rows = np.unique(rows[base.table.column("length").to_numpy() > job.window])
    sessions = open_table(job.store.path("rows", job.chunk) / ROWS).take(pa.array(long_rows))
    renderer = renderer_of(job.tokenizer, job.chat.model_dump_json(), job.folder)
    whole = renderer.render(sessions, prompted_among(job, long_rows))
    rendered = renderer.fit(sessions, whole, job.window)
    refitted = Chunk.of(renderer, job, sessions, rendered, long_rows)
    base.without(long_rows).joined(refitted).save(job)
    return worker_id()


# -- a chunk's sequences ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chunk:
    """Sequences of a chunk, in the order of its rows and cuts, and what was set aside."""

    table: pa.Table  # SEQUENCE_SCHEMA
    input_ids: NDArray[Any]
    loss_mask: NDArray[np.bool_]
    set_aside: pa.Table  # SET_ASIDE_SCHEMA
    counts: Mapping[str, Any]  # stop_ids, lossy, mismatches

    @classmethod
    def of(
        cls,
        renderer: Renderer,
        job: RenderJob,
        sessions: pa.Table,
        rendered: Rendered,
        rows: NDArray[np.int32],
    ) -> Chunk:
        """What rendering gave, proved; sessions that cannot be proved are set aside."""
        table = sequence_table(sessions, rendered, rows, renderer.policy)
        prover = prover_of(job.tokenizer, job.chat.model_dump_json(), job.folder)
        lossy_before = prover.lossy
        claims = whole_claims(table, sessions.take(pa.array(rendered.session)))
        plain = plain_claims(rendered.plain, rendered.session, untouched=not rendered.kept)
        problems = prove_table(prover, claims, rendered.sequences, plain)
        unproven = {
            int(row): problem
            for row, problem in zip(rendered.session, problems, strict=True)
            if problem is not None
        }
        aside = [*rendered.set_aside, *(SetAside(row, "unproven", why) for row, why in unproven.items())]
        aside.sort(key=lambda entry: entry.row)
        columns = {
            "row": np.array([rows[entry.row] for entry in aside], np.int32),
            "reason": [entry.reason for entry in aside],
            "detail": [entry.detail for entry in aside],
        }
        counts = {
            "stop_ids": sorted(rendered.stop_ids),
            "lossy": prover.lossy - lossy_before,
            "mismatches": list(renderer.mismatches[:5]),
        }
        ids, mask = rendered.sequences.input_ids, rendered.sequences.loss_mask
        made = cls(table, ids, mask, pa.table(columns, schema=SET_ASIDE_SCHEMA), counts)
        return made.without(np.array([rows[row] for row in unproven], np.int32)) if unproven else made

    @classmethod
    def load(cls, folder: Path) -> Chunk:
        meta = orjson.loads((folder / META).read_bytes())
        return cls(
            open_table(folder / SEQUENCES),
            mapped(folder / "ids.bin", np.dtype(meta["dtype"])),
            mapped(folder / "mask.bin", np.dtype(np.bool_)),
            open_table(folder / ASIDE),
            {name: meta[name] for name in ("stop_ids", "lossy", "mismatches")},
        )

    def chosen(self, order: NDArray[np.int64]) -> Chunk:
        """These sequences in this order; set-asides stay."""
        lengths = self.table.column("length").to_numpy().astype(np.int64)
        begins = offsets_of(lengths)[:-1]
        tokens = ranges(begins[order], lengths[order])
        table = self.table.take(pa.array(order))
        return Chunk(table, self.input_ids[tokens], self.loss_mask[tokens], self.set_aside, self.counts)

    def without(self, rows: NDArray[np.int32]) -> Chunk:
        """All sequences but those of these rows."""
        return self.chosen(np.flatnonzero(~np.isin(self.table.column("row").to_numpy(), rows)))

    def joined(self, other: Chunk) -> Chunk:
        """Both, in the order of rows and cuts."""
        table = pa.concat_tables([self.table, other.table])
        aside = pa.concat_tables([self.set_aside, other.set_aside]).sort_by("row")
        both = Chunk(
            table,
            np.concatenate([self.input_ids, other.input_ids]),
            np.concatenate([self.loss_mask, other.loss_mask]),
            aside,
            {
                "stop_ids": sorted({*self.counts["stop_ids"], *other.counts["stop_ids"]}),
                "lossy": self.counts["lossy"] + other.counts["lossy"],
                "mismatches": [*self.counts["mismatches"], *other.counts["mismatches"]][:5],
            },
        )
        return both.chosen(np.lexsort((table.column("cut").to_numpy(), table.column("row").to_numpy())))

    def save(self, job: RenderJob) -> None:
        """Write the chunk as the job's object."""
        dtype = storage_dtype(open_tokenizer(job.tokenizer).largest_id)
        rows = self.table.column("row").to_numpy()
        lengths = self.table.column("length").to_numpy()
        actions: Counter[str] = Counter()
        for row_actions in self.table.column("actions").to_pylist():
            actions.update(action.split(":")[0] for action in row_actions)
        sessions = len(np.unique(rows))
        meta = {
            **self.counts,
            "sequences": len(rows),
            "sessions": sessions,
            "proven": sessions,
            "cuts": len(rows) - sessions,
            "tokens": int(lengths.sum()),
            "target_tokens": int(self.table.column("targets").to_numpy().sum()),
            "separators": 0,
            "longest": int(lengths.max(initial=0)),
            "dtype": dtype.name,
            "set_aside": dict(Counter(self.set_aside.column("reason").to_pylist())),
            "actions": dict(actions),
        }
        with job.store.writing("tokens", job.key) as folder:
            np.ascontiguousarray(self.input_ids, dtype).tofile(folder / "ids.bin")
            np.ascontiguousarray(self.loss_mask, np.bool_).tofile(folder / "mask.bin")
            write_table(self.table, folder / SEQUENCES)
            write_table(self.set_aside, folder / ASIDE)
            (folder / META).write_bytes(orjson.dumps(meta))


def sequence_table(
    sessions: pa.Table, rendered: Rendered, rows: NDArray[np.int32], policy: Mapping[str, Role]
) -> pa.Table:
    """One row a sequence; `rows` gives each session's row in its chunk."""
    ones = np.concatenate([[0], np.cumsum(rendered.sequences.loss_mask, dtype=np.int64)])
    weights, mixed = sequence_weights(sessions.column("messages"), rendered, policy)
    offsets = rendered.sequences.offsets
    spans = pa.StructArray.from_arrays(
        [
            pa.array(values.astype(np.int32))
            for values in (rendered.span_start, rendered.span_stop, span_messages(rendered))
        ],
        fields=list(SPAN),
    )
    columns = {
        "row": rows[rendered.session].astype(np.int32),
        "cut": rendered.cut.astype(np.int32),
        "length": rendered.sequences.lengths.astype(np.int32),
        "targets": (ones[offsets[1:]] - ones[offsets[:-1]]).astype(np.int32),
        "spans": pa.ListArray.from_arrays(pa.array(rendered.span_offsets.astype(np.int32)), spans),
        "actions": action_lists(rendered, mixed),
        "weight": weights,
        "messages": pa.array(rendered_messages(sessions, rendered), pa.large_string()),
    }
    return pa.table(columns, schema=SEQUENCE_SCHEMA)


def action_lists(rendered: Rendered, mixed: set[int]) -> pa.Array:
    """What policies did to each sequence; nothing, nearly always."""
    if not rendered.actions and not mixed:
        none = pa.array(np.zeros(len(rendered.session) + 1, np.int32))
        return pa.ListArray.from_arrays(none, pa.array([], pa.string()))
    rows = enumerate(rendered.session.tolist())
    return pa.array(
        [[*rendered.actions.get(row, []), *(["mixed_weights"] if n in mixed else [])] for n, row in rows],
        pa.list_(pa.string()),
    )


def rendered_messages(sessions: pa.Table, rendered: Rendered) -> list[str | None]:
    """The messages of each sequence where a policy left some out, else None."""
    made: list[str | None] = [None] * len(rendered.session)
    for sequence, kept in rendered.kept.items():
        messages = orjson.loads(sessions.column("messages")[int(rendered.session[sequence])].as_py())
        made[sequence] = orjson.dumps([messages[place] for place in kept]).decode()
    return made


def span_messages(rendered: Rendered) -> NDArray[np.int32]:
    """Each span's message, counted in the messages that its sequence holds."""
    message = np.array(rendered.span_message, np.int32)
    for sequence, kept in rendered.kept.items():
        own = slice(int(rendered.span_offsets[sequence]), int(rendered.span_offsets[sequence + 1]))
        place = {original: number for number, original in enumerate(kept)}
        message[own] = [place[int(original)] for original in message[own]]
    return message


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
