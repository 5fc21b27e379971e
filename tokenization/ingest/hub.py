"""Hugging Face datasets as the Arrow files that hold them.

`saved_dataset_files` reads a folder that `save_to_disk` wrote; `hub_files` has `datasets` download a
dataset (it keeps its own cache, and honours HF_ENDPOINT, HF_HOME and HF_TOKEN) and gives the Arrow files of
the cache. Either way each file is read as a table further on, so rows never pass through `datasets`.

Guarantees: relative paths name dataset, configuration, split and file, never the cache folder. A split that
isn't there is answered with those that are.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenization.errors import RecipeError


def saved_dataset_files(folder: Path, split: str | None, *, source: str) -> list[tuple[Path, str]]:
    """(path, relative path) of the Arrow files in a `save_to_disk` folder, in their own order."""
    if not (folder / "dataset_dict.json").is_file():
        return [(folder / name, name) for name in _data_files(folder, source)]
    splits = json.loads((folder / "dataset_dict.json").read_text("utf-8"))["splits"]
    chosen = choose_split(splits, split, source=source, place=str(folder))
    return [(folder / chosen / name, f"{chosen}/{name}") for name in _data_files(folder / chosen, source)]


def _data_files(folder: Path, source: str) -> list[str]:
    try:
        state = json.loads((folder / "state.json").read_text("utf-8"))
        return [each["filename"] for each in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(
            f"source {source!r}: {folder} looks like a saved dataset but its state.json can't be read "
            f"({error}); save it again with save_to_disk"
        ) from error


def choose_split(splits: list[str], asked: str | None, *, source: str, place: str) -> str:
    """The split asked for; else `train`; else the only one."""
    if asked is not None:
        if asked in splits:
            return asked
        raise RecipeError(f"source {source!r}: {place} has no split {asked!r}; it has {', '.join(splits)}")
    if "train" in splits or len(splits) == 1:
        return "train" if "train" in splits else splits[0]
    raise RecipeError(
        f"source {source!r}: {place} has the splits {', '.join(splits)}; choose one with split:"
    )


def hub_files(url: str, config: str | None, split: str | None, *, source: str) -> list[tuple[Path, str]]:
    """(path, relative path) of the cached Arrow files of `hf://owner/name`, downloaded where need be."""
    import datasets

    name = url.removeprefix("hf://").removeprefix("datasets/").strip("/")
    name, _, revision = name.partition("@")
    try:
        loaded = datasets.load_dataset(name, config, revision=revision or None)
    except Exception as error:  # datasets raises a dozen kinds, all of them about what was asked for
        raise RecipeError(f"source {source!r}: {url} cannot be loaded: {error}") from error
    chosen = choose_split([str(each) for each in loaded], split, source=source, place=url)
    prefix = "/".join(part for part in (name, config, chosen) if part)
    paths = [Path(each["filename"]) for each in loaded[chosen].cache_files]
    return [(path, f"{prefix}/{path.name}") for path in paths]
