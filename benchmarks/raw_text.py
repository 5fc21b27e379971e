"""Raw text to training windows: tokenmill, the bare encoder, and others' ways, in turns on one machine.

    python -m benchmarks.raw_text --data DATA/raw --tokenizer qwen2.5=DATA/tokenizers/qwen2.5
        [--form jsonl parquet] [--megabytes 512] [--repeats 3] [--peer-python PYTHON --peers-script SCRIPT]
        [--scaling] [--write]

Cases, each in a process of its own, one after another, again and again:

    bare         the encoder alone: strings already in memory, its own threads, ids thrown away (the ceiling)
    bytes        the encoder alone reading the same bytes from memory: its strings are made of them as it goes
    encode+pack  stored documents to windows on disk: the stages tokens, draw, windows and the shards
    raw+pack     raw JSON Lines (or Parquet) to windows on disk: the same and documents, selection before it
    build        the whole `tokenmill build`, from starting Python to the published, proved dataset
    build+clean  the same with near deduplication and every quality rule
    PEER         what SCRIPT does for the peer's name, called as `RAW=bytes PYTHON SCRIPT PEER FOLDER TOKENIZER_DIR 2`;
                 it prints a JSON line with `wall` seconds

`raw+pack` leaves out the opening and proving of the tokenizer, as peers' clocks start with theirs opened; `build`
leaves out nothing. Peers get a smaller corpus of the same kind (`--peer-megabytes`), for they take minutes, and read
JSON Lines whatever the form. Rates are megabytes of raw UTF-8 a second; compare ratios. `--scaling` adds the CPU
seconds at a sixteenth, a quarter and the whole of the size; `--cases` with nothing behind it leaves those alone.
`--write` puts table and plot into benchmarks/raw_text.md and benchmarks/raw_text.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.chart import bars
from benchmarks.corpus import write_corpus

PEERS = ("hf_datasets", "datatrove", "litdata", "nanogpt")
OURS = ("bare", "bytes", "encode+pack", "raw+pack", "build", "build+clean")
RULES = ["gopher", "c4", "fineweb"]
HERE = Path(__file__).parent
BATCH_BYTES = 12 << 20


def recipe(folder: Path, corpus: Path, tokenizer: Path, form: str, cleaned: bool) -> Path:
    """A recipe of one text source."""
    text: dict[str, Any] = {
        "name": "speed",
        "window": 4096,
        "tokenizer": {"path": str(tokenizer.absolute())},
        "sources": [{"name": "web", "kind": "text", "path": str(corpus.absolute() / f"corpus.{form}")}],
    }
    if cleaned:
        text["cleaning"] = {"near_dedup": 0.8, "rules": RULES}
    path = folder / "speed.yaml"
    path.write_text(json.dumps(text), encoding="utf-8")  # JSON is YAML
    return path


def bare(corpus: Path, tokenizer: Path, folder: Path, *, from_bytes: bool) -> dict[str, float]:
    """The encoder alone, reading from memory: UTF-8 in Arrow, or strings made before the clock starts."""
    import pyarrow.parquet as pq

    from tokenization.recipe.load import load_recipe
    from tokenization.stages.text_tokens import batches
    from tokenization.tokenizer.encoder import open_tokenizer
    from tokenization.tokenizer.identity import choose_engine
    from tokenization.tokenizer.prepare import prepare_tokenizer

    spec = load_recipe(recipe(folder, corpus, tokenizer, "jsonl", False), ()).tokenizer
    prepare_tokenizer(spec, folder, folder / "tokenizer")
    choose_engine(folder / "tokenizer")
    encoder = open_tokenizer(folder / "tokenizer")
    encoder.encode_batch(["opened"])
    column = pq.read_table(corpus / "corpus.parquet", columns=["text"]).column("text").combine_chunks()
    if hasattr(column, "chunks"):
        column = column.chunk(0)
    held = batches(column) if from_bytes else list(batches(column))
    began, used = time.perf_counter(), time.process_time()
    tokens = sum(len(encoder.encode_batch(batch)[0]) for batch in held)
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - used, "tokens": tokens}


def stages(corpus: Path, tokenizer: Path, folder: Path, form: str, first: str) -> dict[str, float]:
    """The stages up to the shards, timed from `first` on, the tokenizer's own left out."""
    from tokenization.recipe.load import load_recipe
    from tokenization.stages.candidate import write_dataset
    from tokenization.stages.workspace import Workspace
    from tokenization.store import Store

    path = recipe(folder, corpus, tokenizer, form, False)
    workspace = Workspace(load_recipe(path, ()), Store(folder / "store"), folder / "out")
    seconds = cpu = 0.0
    on = False
    for node in [*workspace.nodes(), ("shards", "")]:
        began, used = time.perf_counter(), time.process_time()
        on = on or node[0] == first
        if node[0] == "shards":
            (folder / "candidate").mkdir()
            splits = write_dataset(workspace, folder / "candidate")
        elif node[0] in ("candidate", "preview", "leaks"):
            continue
        else:
            workspace.run(*node)
        if on and node[0] != "tokenizer":
            seconds += time.perf_counter() - began
            cpu += time.process_time() - used
    return {"seconds": seconds, "cpu": cpu, "tokens": splits["train"]["num_tokens"]}


def build(corpus: Path, tokenizer: Path, folder: Path, form: str, cleaned: bool) -> dict[str, float]:
    """The whole command."""
    path = recipe(folder, corpus, tokenizer, form, cleaned)
    environment = {**os.environ, "DAGSTER_HOME": f"{folder}/dagster", "TOKENMILL_STORE": f"{folder}/store"}
    command = [sys.executable, "-m", "pipelines.cli", "build", str(path), "--out", f"{folder}/out", "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    told = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": seconds, "cpu": cpu, "tokens": told["splits"]["train"]["num_tokens"]}


def measure(case: str, corpus: Path, tokenizer: Path, form: str) -> dict[str, float]:
    """One of our cases, in this process."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if case in ("bare", "bytes"):
            return bare(corpus, tokenizer, folder, from_bytes=case == "bytes")
        if case in ("encode+pack", "raw+pack"):
            return stages(corpus, tokenizer, folder, form, "tokens" if case == "encode+pack" else "documents")
        return build(corpus, tokenizer, folder, form, case == "build+clean")


def in_a_process(case: str, corpus: Path, tokenizer: Path, form: str) -> dict[str, float]:
    """The same in a fresh one."""
    command = [sys.executable, "-m", "benchmarks.raw_text", "--case", case, str(corpus), str(tokenizer), form]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def peer(
    name: str, options: argparse.Namespace, corpus: Path, tokenizer: Path, size: int
) -> dict[str, float]:
    """A peer's way, by the script given."""
    command = [options.peer_python, options.peers_script, name, str(corpus), str(tokenizer), "2"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env={**os.environ, "RAW": str(size)}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = json.loads(done.stdout.splitlines()[-1])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": told["wall"], "cpu": cpu, "tokens": told["ntok"]}


def with_definition(tokenizer: Path, work: Path) -> Path:
    """The tokenizer's folder as peers open it: with a tokenizer.json, which some tokenizers come without."""
    if (tokenizer / "tokenizer.json").is_file():
        return tokenizer
    from tokenization.recipe.parts import TokenizerSpec
    from tokenization.tokenizer.prepare import prepare_tokenizer

    prepared = work / f"tokenizer-{tokenizer.name}"
    prepare_tokenizer(TokenizerSpec(path=str(tokenizer.absolute())), work, prepared)
    return prepared


def rounds(
    options: argparse.Namespace, name: str, tokenizer: Path, work: Path, form: str
) -> dict[str, list[dict[str, float]]]:
    """Every case once a round: case -> its runs, with `rate` in MB/s."""
    large, small = work / "large", work / "small"
    sizes = {
        large: int(write_corpus(options.data, large, options.megabytes)["text_bytes"]),  # type: ignore[call-overload]
        small: int(write_corpus(options.data, small, options.peer_megabytes)["text_bytes"]),  # type: ignore[call-overload]
    }
    cases = [case for case in options.cases if case in OURS]
    peers = [case for case in options.cases if case in PEERS] if options.peer_python else []
    runs: dict[str, list[dict[str, float]]] = {}
    for number in range(options.repeats):
        for case in [*cases, *peers]:
            corpus = small if case in PEERS else large
            if case in PEERS:
                found = peer(case, options, corpus, with_definition(tokenizer, work), sizes[corpus])
            else:
                found = in_a_process(case, corpus, tokenizer, form)
            found["rate"] = sizes[corpus] / 1e6 / found["seconds"]
            found["cpu_rate"] = sizes[corpus] / 1e6 / found["cpu"]
            runs.setdefault(case, []).append(found)
            shown = {key: round(value, 3) for key, value in found.items()}
            line = {
                "tokenizer": name,
                "form": form,
                "case": case,
                "round": number,
                "megabytes": sizes[corpus] / 1e6,
                **shown,
            }
            print(json.dumps(line), flush=True)
    return runs


def report(name: str, form: str, runs: dict[str, list[dict[str, float]]]) -> list[str]:
    """Lines of a table: rates, and what they are beside the ceiling and the first peer."""
    rate = {case: statistics.median(run["rate"] for run in of_case) for case, of_case in runs.items()}
    cpu = {case: statistics.median(run["cpu_rate"] for run in of_case) for case, of_case in runs.items()}
    peers = [case for case in rate if case in PEERS]
    alone = [case for case in ("bare", "bytes") if case in rate]
    head = ["case", "MB/s", "MB/CPU s", *(f"of {name}" for name in alone), *(f"× {name}" for name in peers)]
    lines = [f"### {name}, {form}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for case in rate:
        shares = [f"{rate[case] / rate[each]:.2f}" for each in alone]
        times = [f"{rate[case] / rate[each]:.1f}" if case in OURS else "" for each in peers]
        cells = [case, f"{rate[case]:.2f}", f"{cpu[case]:.2f}", *shares, *times]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def scaling(options: argparse.Namespace, name: str, tokenizer: Path, work: Path, form: str) -> list[str]:
    """CPU seconds of raw text to windows at 1, 4 and 16 times a size."""
    lines = [f"### {name}, {form}: cost at 1×, 4×, 16×", "", "| MB | CPU s | CPU ms a MB |", "|---|---|---|"]
    for times in (1, 4, 16):
        corpus = work / f"scale{times}"
        told = write_corpus(options.data, corpus, options.megabytes * times / 16)
        size = int(told["text_bytes"]) / 1e6  # type: ignore[call-overload]
        found = [in_a_process("raw+pack", corpus, tokenizer, form)["cpu"] for _ in range(options.repeats)]
        used = statistics.median(found)
        lines.append(f"| {size:.0f} | {used:.2f} | {1000 * used / size:.1f} |")
        print(lines[-1], flush=True)
    return [*lines, ""]


def machine() -> str:
    """Where and with what this ran."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model
        )
    packages = ", ".join(
        f"{each} {version(each)}" for each in ("fastokens", "polars", "pyarrow", "numpy", "dagster")
    )
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {model}; Python {platform.python_version()}, {packages}; load at the end {load}"


def without_folders(word: str) -> str:
    """A word of a command line without the folders of this machine: the last name of a path, in capitals."""
    name, equals, value = word.rpartition("=")
    return f"{name}{equals}{Path(value).name.upper() if Path(value).is_absolute() else value}"


def main() -> None:
    """Run the cases and say what they came to."""
    if sys.argv[1:2] == ["--case"]:
        case, corpus, tokenizer, form = sys.argv[2:6]
        print(json.dumps(measure(case, Path(corpus), Path(tokenizer), form)))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a folder of raw texts")
    parser.add_argument("--tokenizer", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--form", nargs="+", choices=["jsonl", "parquet"], default=["jsonl"])
    parser.add_argument("--megabytes", type=float, default=512)
    parser.add_argument("--peer-megabytes", type=float, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", nargs="*", default=[*OURS, *PEERS], metavar="CASE")
    parser.add_argument("--peer-python", help="Python of an environment with the peers in it")
    parser.add_argument("--peers-script", help="see above")
    parser.add_argument("--work", type=Path, help="where corpora are kept [a temporary folder]")
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if bool(options.peer_python) != bool(options.peers_script):
        parser.error("--peer-python and --peers-script go together")
    if unknown := sorted({*options.cases}.difference(OURS, PEERS)):
        parser.error(f"--cases: {', '.join(unknown)} is none of {', '.join((*OURS, *PEERS))}")
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        lines: list[str] = []
        shown: dict[str, dict[str, float]] = {}
        for given in options.tokenizer:
            name, _, folder = given.partition("=")
            for form in options.form:
                if options.cases:
                    runs = rounds(options, name, Path(folder), work, form)
                    lines += report(name, form, runs)
                    shown[f"{name}, {form}"] = {
                        case: statistics.median(run["rate"] for run in each) for case, each in runs.items()
                    }
                if options.scaling:
                    lines += scaling(options, name, Path(folder), work, form)
    text = "\n".join([*lines, machine()])
    print(text)
    if options.write and shown:
        command = "python -m benchmarks.raw_text " + " ".join(map(without_folders, sys.argv[1:]))
        (HERE / "raw_text.md").write_text(
            f"# Raw text to windows\n\n`{command}`\n\n{text}\n", encoding="utf-8"
        )
        (HERE / "raw_text.svg").write_text(
            bars("Raw text to training windows, MB/s", shown), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
