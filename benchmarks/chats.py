"""Chats to packed windows: sessions a second beside TRL's, from one JSON Lines file to windows of 4096 on disk.

    python -m benchmarks.chats --data DATA --peer-python PYTHON --peer-script peer_sft_trl.py [--repeat 4] [--runs 3]
        [--templates measuring slicing parting]

The sessions: every Alpaca, ShareGPT and messages chat of DATA that is roles and texts alone, ending in an answer,
`--repeat` times with the questions told apart. Cases, each in turn in every run, in processes of their own:

    trl             the peer's script: `apply_chat_template` with assistant masks, then its packing, two processes
    proved          every stage of a build from the file to the candidate's shards, manifest and ledger, masks proved
    rendered        the same without the proof (left out by this benchmark; no build does that)
    measuring       `proved` and `trl` on half as many sessions of a template that asks for the length of every text, so
                    that no plan is sure and each session is rendered
    slicing         the same with a template that looks at the beginning of every text
    parting         the same with a template that writes every text in two pieces

Both sides count from after their imports, with the tokenizer loaded. One JSON line a run, then the table in Markdown
(`--out FILE` writes it). Ratios are of medians over the runs; as the cases take turns, they hold on a busy machine.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from tokenization import build, chat, preview, stages, windows

STAGES = ("documents", "selection", "tokenizer", "tokens", "windows", "candidate")
TEMPLATE, TOKENIZER = "templates/trl-qwen2_5_training.jinja", "tokenizers/qwen2.5"
LOOKING = "{%- for m in messages %}{%- if CONDITION %}{{- raise_exception('no') }}{%- endif %}{%- endfor %}"
RESISTING: dict[str, Callable[[str], str]] = {  # what is done to the template
    "measuring": lambda source: source + LOOKING.replace("CONDITION", "m.content | length < 0"),
    "slicing": lambda source: source + LOOKING.replace("CONDITION", "m.content[:3] == '\\0\\0\\0'"),
    "parting": lambda source: source.replace(
        "message.content", "(message.content[:1] ~ message.content[1:])"
    ),
}


def main() -> None:
    """Measure, or (with --worker) be one measured process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder with chat/, templates/ and tokenizers/"
    )
    parser.add_argument("--peer-python", type=Path, help="an environment with trl, transformers and datasets")
    parser.add_argument(
        "--peer-script", type=Path, help="the script that drives TRL, one JSON line at its end"
    )
    parser.add_argument("--repeat", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--templates", nargs="*", default=[*RESISTING], choices=[*RESISTING], help="that resist"
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", nargs=3, metavar=("MESSAGES", "TEMPLATE", "PROOF"))
    asked = parser.parse_args()
    if asked.worker:
        print(json.dumps(measured(asked.data, Path(asked.worker[0]), Path(asked.worker[1]), asked.worker[2])))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = [*runs(asked, Path(folder))]
    told = table(rows)
    print(told)
    if asked.out:
        asked.out.write_text(told, encoding="utf-8")


# -- the sessions -----------------------------------------------------------------------------------------


def plain_chats(data: Path) -> list[list[dict[str, str]]]:
    """The sessions that every tool can be given: roles and texts alone, ending in an answer."""
    from tokenization.ingest.chunks import plan_chunks
    from tokenization.ingest.files import resolve_files
    from tokenization.ingest.sessions import ChatOptions, read_sessions

    options = ChatOptions(role_names={"client": "user", "counselor": "assistant"})
    found: list[list[dict[str, str]]] = []
    for pattern in ("alpaca/*.json", "sharegpt/*.json", "messages/*.jsonl", "roles/smile*.jsonl"):
        files = resolve_files(f"chat/{pattern}", data, source="chats")
        for chunk in plan_chunks(files, ["x"] * len(files), chunk_bytes=8 << 20):
            for batch in read_sessions(chunk, options):
                for text in batch.sessions.column("messages").to_pylist():
                    messages = orjson.loads(text)
                    plain = all(
                        len(m) == 2 and m["role"] != "tool" and m["content"].strip() for m in messages
                    )
                    if plain and messages[-1]["role"] == "assistant":
                        found.append(messages)
    return found


def write_chats(sessions: list[list[dict[str, str]]], repeat: int, path: Path) -> int:
    """The sessions as JSON Lines, `repeat` times with distinct questions; how many."""
    with path.open("wb") as file:
        for number in range(repeat):
            for session in sessions:
                messages = [
                    {**m, "content": f"{m['content']} ({number})"} if number and m["role"] == "user" else m
                    for m in session
                ]
                file.write(orjson.dumps({"messages": messages}) + b"\n")
    return repeat * len(sessions)


# -- one measured process ---------------------------------------------------------------------------------


def measured(data: Path, messages: Path, template: Path, proof: str) -> dict[str, Any]:
    """Every stage of a build of this file, from after imports and with the tokenizer loaded."""
    from tokenization.recipe.load import load_recipe

    import_what_a_build_needs()
    from tokenization.stages import chat_chunk
    from tokenization.stages.tokenizer import opened
    from tokenization.stages.workspace import Workspace
    from tokenization.store import Store

    if proof != "proved":
        chat_chunk.prove_table = lambda prover, claims, sequences, plain: [None] * len(claims)  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        recipe = folder / "recipe.yaml"
        recipe.write_text(
            f"name: chats\nwindow: 4096\ntokenizer: {{path: {data.absolute() / TOKENIZER}}}\n"
            f"chat: {{template: {template.absolute()}}}\n"
            f"sources: [{{name: chats, kind: chat, path: {messages.absolute()}}}]\n"
        )

        def workspace() -> Workspace:
            return Workspace(load_recipe(recipe), Store(folder / "store"), folder / "out")

        early = workspace()
        for stage, name in (("documents", "chats"), ("selection", ""), ("tokenizer", "")):
            early.run(stage, name)
        opened(early).encode_batch(["loaded"])
        forget_all_but_tokenizer(folder / "store")
        timed = workspace()
        seconds: dict[str, float] = {}
        began, cpu = time.perf_counter(), cpu_seconds()
        for stage, name in timed.nodes():
            if stage in STAGES:
                start = time.perf_counter()
                value = timed.run(stage, name).value
                seconds[stage] = round(time.perf_counter() - start, 2)
        wall, cpu = time.perf_counter() - began, cpu_seconds() - cpu
        proved = timed.result("tokens", "chats").value
        return {
            "seconds": wall,
            "cpu_seconds": cpu,
            "stages": seconds,
            "proven": proved["proven"],
            "set_aside": proved["set_aside"],
            "candidate": value["fingerprint"][:12],
        }


def import_what_a_build_needs() -> None:
    """The libraries and modules that stages import as they go."""
    for name in ("pandas", "polars", "pyarrow.json", "pyarrow.parquet", "pyarrow.dataset"):
        importlib.import_module(name)
    for package in (stages, chat, build, preview, windows):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def forget_all_but_tokenizer(store: Path) -> None:
    """Put every result but the prepared tokenizer out of sight, as if the file had never been read. Nothing is
    deleted: for a while ext4 looks at what was just deleted for each file that is made (30 ms of a build of 20,062
    sessions)."""
    aside = Path(tempfile.mkdtemp(dir=store.parent))
    for kind in ("objects", "results"):
        for path in (store / kind).iterdir():
            if path.name != "tokenizer":
                path.rename(aside / f"{kind}-{path.name}")
    (store / "inputs.sqlite").unlink(missing_ok=True)


def cpu_seconds() -> float:
    """Of this process and its children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


# -- the runs ---------------------------------------------------------------------------------------------


def runs(asked: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """Every case once a run, in turn."""
    sessions = plain_chats(asked.data)
    whole, part = folder / "chats.jsonl", folder / "some.jsonl"
    counts = {
        whole: write_chats(sessions, asked.repeat, whole),
        part: write_chats(sessions[::2], asked.repeat, part),
    }
    compiled = asked.data / TEMPLATE
    cases = [("proved", whole, compiled), ("rendered", whole, compiled)]
    for name in asked.templates:
        resisting = folder / f"{name}.jinja"
        resisting.write_text(RESISTING[name](compiled.read_text(encoding="utf-8")), encoding="utf-8")
        cases.append(("proved", part, resisting))
    peers = [("trl", messages, template) for case, messages, template in cases if case == "proved"]
    peers = peers if asked.peer_python else []
    for run in range(asked.runs):
        for case, messages, template in [*cases, *peers]:
            made = (
                peer(asked, messages, template)
                if case == "trl"
                else ours(asked.data, messages, template, case)
            )
            row = {
                "run": run,
                "case": case if messages == whole else f"{case}, {template.stem}",
                "sessions": counts[messages],
                "sessions_a_second": round(counts[messages] / made["seconds"]),
                **{
                    key: value if type(value) is not float else round(value, 2) for key, value in made.items()
                },
            }
            print(json.dumps(row), flush=True)
            yield row


def ours(data: Path, messages: Path, template: Path, proof: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.chats", "--data", str(data), "--worker"]
    done = subprocess.run(
        [*command, str(messages), str(template), proof], check=True, capture_output=True, text=True
    )
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return made


def peer(asked: argparse.Namespace, messages: Path, template: Path) -> dict[str, Any]:
    command = [str(asked.peer_python), str(asked.peer_script), str(messages), str(asked.data / TOKENIZER)]
    done = subprocess.run([*command, str(template), "2"], check=True, capture_output=True, text=True)
    return {"seconds": float(json.loads(done.stdout.splitlines()[-1])["wall"])}


def table(rows: list[dict[str, Any]]) -> str:
    """The medians, and how many times the peer's they are."""
    medians: dict[str, float] = {}
    for case in dict.fromkeys(row["case"] for row in rows):
        medians[case] = statistics.median(row["sessions_a_second"] for row in rows if row["case"] == case)
    lines = ["| | sessions a second | times TRL |", "|---|---|---|"]
    for case, rate in medians.items():
        _, comma, template = case.partition(", ")
        beside = medians.get(f"trl{comma}{template}")
        lines.append(f"| {case} | {rate:,.0f} | {f'{rate / beside:.1f}' if beside else ''} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
