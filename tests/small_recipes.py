"""A whole project in a temporary folder: sources, a tokenizer, a recipe, its own store and Dagster instance.

Two text sources and two chat sources, a few hundred sessions and a window of 128 tokens, so that a build takes a
second or two and still has what the big ones have: both kinds, two splits, windows not drawn, duplicates, rows set
aside, Chinese, reasoning, several turns. Every word is seeded; `Project.build` is the command, in this process.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import yaml
from click.testing import CliRunner, Result

WINDOW = 128
MARKERS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
WORDS = [
    "river",
    "stone",
    "lantern",
    "winter",
    "orchard",
    "copper",
    "harbour",
    "whistle",
    "meadow",
    "carpet",
    "engine",
    "ladder",
    "silver",
    "thunder",
    "captain",
    "basket",
    "morning",
    "violin",
    "pepper",
    "window",
    "shadow",
    "bridge",
    "garden",
    "letter",
    "button",
    "anchor",
    "feather",
    "candle",
    "春天",
    "河流",
    "石头",
    "灯笼",
    "冬夜",
    "果园",
    "海港",
    "草地",
    "机器",
    "梯子",
    "雷声",
    "船长",
    "早晨",
    "窗户",
    "影子",
    "桥梁",
    "花园",
    "书信",
    "café",
    "naïve",
    "🦊",
    "12",
    "345",
]


def sentence(chance: random.Random, least: int = 4, most: int = 12) -> str:
    words = [chance.choice(WORDS) for _ in range(chance.randint(least, most))]
    return " ".join(words).capitalize() + chance.choice([".", "!", "?", "。"])


def paragraph(chance: random.Random, sentences: int) -> str:
    return " ".join(sentence(chance) for _ in range(sentences))


def write_tokenizer(folder: Path, *, markers: tuple[str, ...] = MARKERS, template: str | None = None) -> Path:
    """A byte-level BPE of 700 ids as a Hugging Face folder, trained on the words above."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=list(markers),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    chance = random.Random(5)
    tokenizer.train_from_iterator([paragraph(chance, 6) for _ in range(60)], trainer)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": markers[-1]}
    if template is not None:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def books() -> dict[str, str]:
    """Whole files, one much longer than a window, one in two paragraphs of Chinese."""
    chance = random.Random(1)
    files = {f"book-{number}.txt": paragraph(chance, 14) + "\n" for number in range(12)}
    files["long.txt"] = "\n\n".join(paragraph(chance, 9) for _ in range(12))
    files["短篇.txt"] = "春天的河流很长。\r\n\r\n" + "石头和灯笼，" * 40
    return files


def web_rows() -> list[dict[str, Any]]:
    chance = random.Random(2)
    rows = [{"id": f"page-{number}", "text": paragraph(chance, 3)} for number in range(60)]
    typed = {"id": "typed", "text": "A page may say <|endoftext|> or <|im_start|>user and mean the words."}
    return [*rows, typed, {"id": "copy-of-7", "text": rows[7]["text"]}]


def question_rows() -> list[dict[str, Any]]:
    """One question and one answer each; ids of their own; one types markers."""
    chance = random.Random(3)
    typed = "What ends a turn? <|im_end|>\n<|im_start|>assistant\nThis is the question's."
    rows = [
        {
            "id": f"q{number}",
            "messages": [
                {"role": "user", "content": sentence(chance)},
                {"role": "assistant", "content": sentence(chance)},
            ],
        }
        for number in range(260)
    ]
    rows[5]["messages"][0]["content"] = typed
    return rows


def talk_rows() -> list[dict[str, Any]]:
    """Several turns, some with a system prompt; ShareGPT's names, no ids, so places name them."""
    chance = random.Random(4)
    rows = []
    for number in range(70):
        turns = [("system", sentence(chance))] if number % 3 == 0 else []
        for _ in range(chance.randint(1, 3)):
            turns += [("human", sentence(chance)), ("gpt", sentence(chance, 3, 8))]
        rows.append({"conversations": [{"from": who, "value": text} for who, text in turns]})
    return rows


def json_lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@dataclass
class Project:
    """A folder with everything a build needs, and the commands run in it."""

    folder: Path
    recipe: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.folder / f"{self.recipe['name']}.yaml"

    @property
    def out(self) -> Path:
        return self.folder / "out" / self.recipe["name"]

    @property
    def environment(self) -> dict[str, str]:
        return {"TOKENMILL_STORE": str(self.folder / "store"), "DAGSTER_HOME": str(self.folder / "dagster")}

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def save(self, **changes: Any) -> Path:
        """Write the recipe, with these keys changed (None: left out)."""
        self.recipe = {key: value for key, value in {**self.recipe, **changes}.items() if value is not None}
        self.path.write_text(yaml.safe_dump(self.recipe, allow_unicode=True, sort_keys=False))
        return self.path

    def run(self, *arguments: object, **environment: str) -> Result:
        """`tokenmill ARGUMENTS`, in this process, on this project's store and instance."""
        from pipelines.cli import main

        return CliRunner().invoke(
            main, [str(argument) for argument in arguments], env={**self.environment, **environment}
        )

    def build(self, *options: object, **environment: str) -> Result:
        return self.run("build", self.path, "--out", self.out, "--json", *options, **environment)

    def built(self, *options: object, **environment: str) -> dict[str, Any]:
        """A build that must succeed; what `--json` says of it."""
        result = self.build(*options, **environment)
        assert result.exit_code == 0, f"{result.output}{result.exception!r}"
        lines = result.stdout.splitlines()
        assert len(lines) == 1, lines
        return dict(orjson.loads(lines[0]))

    @property
    def manifest(self) -> dict[str, Any]:
        return dict(orjson.loads((self.out / "manifest.json").read_bytes()))

    def workspace(self, **options: Any) -> Any:
        """The recipe at work, as the stages see it."""
        from tokenization.recipe.load import load_recipe
        from tokenization.stages.workspace import Workspace
        from tokenization.store import Store

        return Workspace(load_recipe(self.path), Store(self.folder / "store"), self.out, **options)

    def candidate(self, **options: Any) -> Path:
        """Every stage in order, without Dagster and without publishing: the candidate's folder."""
        workspace = self.workspace(**options)
        for stage, name in workspace.nodes():
            workspace.run(stage, name)
        return self.out.with_name(f"{self.out.name}.versions") / workspace.result("candidate").fingerprint

    def objects(self, stage: str) -> set[str]:
        """The keys of the stage's objects in the store."""
        return {path.name for path in (self.folder / "store" / "objects" / stage).glob("*/*")}

    def steps(self) -> list[list[str]]:
        """The steps of every Dagster run so far, oldest run first, by asset (without the recipe's name) or check."""
        import dagster as dg

        with dg.DagsterInstance.from_config(str(self.folder / "dagster")) as instance:
            return [
                sorted(
                    record.step_key.removeprefix(f"{self.recipe['name']}__").replace("__", "/")
                    for record in instance.all_logs(run.run_id)
                    if record.is_dagster_event
                    and record.step_key
                    and record.get_dagster_event().event_type_value == "STEP_START"
                )
                for run in reversed(instance.get_runs())
            ]


def text_source(name: str, path: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": "text", "path": path, **more}


def chat_source(name: str, path: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": "chat", "path": path, **more}


def small_project(folder: Path, tokenizer: Path, **changes: Any) -> Project:
    """The project that most tests start from."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = {
        "name": "small",
        "window": WINDOW,
        "seed": 17,
        "tokenizer": {"path": str(tokenizer)},
        "chat": {"template": "chatml", "default_system": "none"},
        "sources": [
            text_source("books", "data/books"),
            text_source("web", "data/web.jsonl", licence="CC0-1.0"),
            chat_source("questions", "data/questions.jsonl"),
            chat_source("talks", "data/talks.jsonl"),
        ],
        "mixture": {"pretrain_share": 0.15},
        "validation": 0.1,
    }
    project = Project(folder, recipe)
    for name, text in books().items():
        project.file(f"data/books/{name}", text)
    project.file("data/web.jsonl", json_lines(web_rows()) + "{broken\n")
    questions = question_rows()
    unknown = {
        "id": "oracle",
        "messages": [{"role": "oracle", "content": "A riddle."}, questions[0]["messages"][1]],
    }
    silent = {"id": "silent", "messages": [questions[0]["messages"][0], {"role": "assistant", "content": ""}]}
    again = {**questions[3], "id": "again"}
    project.file("data/questions.jsonl", json_lines([*questions, unknown, silent, again]))
    project.file("data/talks.jsonl", json_lines(talk_rows()))
    project.save(**changes)
    return project
