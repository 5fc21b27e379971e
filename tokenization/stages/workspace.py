"""One recipe at work: where its results are, which of them are there, and how the missing ones are made.

A result is named by everything that went into it (`key_of(stage, code version, parts)`), and the parts of one
stage are the fingerprints of the stages before it. So "is anything to do?" is a walk over a few small files,
without running anything: `find` gives the result or None, `run` makes it where it is missing.

Price: `find` costs one stat call an input file and one small read a stage.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from tokenization.engine import Engine
from tokenization.errors import BuildError
from tokenization.hashing import key_of
from tokenization.ingest.digests import InputDigests
from tokenization.ingest.files import InputFile, resolve_files
from tokenization.leases import Lease
from tokenization.memory import give_back, settle
from tokenization.recipe.model import Recipe, SourceSpec
from tokenization.stages.catalogue import CODES, MODULES, nodes
from tokenization.store import Store

EVALUATION = "evaluation:"  # begins the name of an evaluation set; no source's name has a colon


class Stage(Protocol):
    """What a stage's module offers; its version is `catalogue.CODES`."""

    def parts(self, workspace: Workspace, name: str) -> list[Any] | None:
        """Everything the result depends on, JSON-able; None where a stage before it has not run."""

    def run(self, workspace: Workspace, name: str, key: str) -> dict[str, Any]:
        """Do the work; the summary, with `fingerprint`."""

    # OBJECT: the name under which the result's own object lies in the store; left out, the stage's
    # valid(workspace, value) -> bool: whether what lies outside the store is still there; left out, it is


@dataclass(frozen=True)
class StageResult:
    """A stage's summary: small, JSON-able, kept in the store."""

    stage: str
    name: str  # the source, or "" for the stages that there is one of
    key: str
    value: dict[str, Any]
    reused: bool  # True where it was in the store already

    @property
    def fingerprint(self) -> str:
        return str(self.value["fingerprint"])

    @property
    def rests_on(self) -> list[tuple[str, str]]:
        """(stage, key) of the stored objects that the result uses: while they are there, it is right."""
        return [(stage, key) for stage, key in self.value.get("rests_on", [])]


def rates(value: dict[str, Any], seconds: float) -> dict[str, float]:
    """How fast a stage was that read bytes or gave tokens, for the page's plots."""
    units = {
        "bytes": ("megabytes_a_second", 1e6),
        "items": ("items_a_second", 1),
        "tokens": ("tokens_a_second", 1),
    }
    return {
        name: round(value[counted] / unit / seconds, 3)
        for counted, (name, unit) in units.items()
        if seconds > 0 and isinstance(value.get(counted), int)
    }


def ignore(_message: str) -> None:
    """The listener of a workspace nobody listens to."""


@dataclass
class Workspace:
    """A recipe, its store and the build directory it is to fill."""

    recipe: Recipe
    store: Store
    out: Path
    engine: Engine = field(default_factory=Engine)
    rehash: bool = False
    overrides: tuple[str, ...] = ()  # of the recipe, as given on the command line
    say: Callable[[str], None] = ignore
    lingers: bool = False  # one of several processes that together are a build (see leases)
    _found: dict[tuple[str, str], StageResult] = field(default_factory=dict)
    _inputs: dict[str, tuple[list[InputFile], list[str]]] = field(default_factory=dict)
    _rests_on: set[tuple[str, str]] = field(default_factory=set)  # what the stage now running uses or makes
    _lease: Lease | None = None

    def source(self, name: str) -> SourceSpec:
        """The source of that name, or the evaluation set where the name begins with EVALUATION."""
        if not name.startswith(EVALUATION):
            return self.recipe.source(name)
        spec = self.recipe.cleaning.decontamination
        sets = spec.sets if spec else ()
        return next(each for each in sets if f"{EVALUATION}{each.name}" == name)

    def nodes(self) -> list[tuple[str, str]]:
        """(stage, name) of everything up to the candidate, in an order that can be run."""
        return nodes(self.recipe)

    def inputs(self, name: str) -> tuple[list[InputFile], list[str]]:
        """A source's files and the SHA-256 of each, looked up once in a workspace's life."""
        if name not in self._inputs:
            source = self.source(name)
            files = resolve_files(
                source.path, self.recipe.directory, source=name, config=source.config, split=source.split
            )
            digests = InputDigests(self.store.root / "inputs.sqlite").digests(files, rehash=self.rehash)
            self._inputs[name] = files, digests
        return self._inputs[name]

    def key(self, stage: str, name: str = "") -> str | None:
        """The name of the stage's result, or None where a stage before it has not run."""
        module: Stage = import_module(MODULES[stage])
        parts = module.parts(self, name)
        return None if parts is None else key_of(stage, CODES[stage], parts)

    def find(self, stage: str, name: str = "") -> StageResult | None:
        """The stage's result for the inputs as they are now, or None where it has not run on them."""
        known = self._found.get((stage, name))
        if known is not None:
            return known
        key = self.key(stage, name)
        value = None if key is None else self.store.load_result(stage, key)
        if key is None or value is None:
            return None
        found = StageResult(stage, name, key, value, reused=True)
        valid = getattr(import_module(MODULES[stage]), "valid", None)
        if (valid is not None and not valid(self, value)) or not self.hold(found):
            return None
        return self._remember(found)

    def hold(self, result: StageResult) -> bool:
        """Keep what the result rests on from being pruned while this work goes on; False where some of it is gone."""
        paths = [self.store.path(stage, key) for stage, key in result.rests_on]
        return self.lease.hold([self.store.result_path(result.stage, result.key), *paths])

    def keep(self, stage: str, key: str) -> bool:
        """Whether the object is there; then it stays, and what is running now rests on it."""
        there = self.lease.hold([self.store.path(stage, key)])
        if there:
            self._rests_on.add((stage, key))
        return there

    @property
    def lease(self) -> Lease:
        """This work's hold on its store, from the first look on."""
        if self._lease is None:
            self._lease = Lease(self.store.root, lingers=self.lingers)
        return self._lease

    def let_go(self) -> None:
        """End this work's hold on its store."""
        if self._lease is not None:
            self._lease.release()

    def used(self) -> list[tuple[str, str]]:
        """(stage, key) of everything that the build rests on, the stages' summaries among them, made or to be made."""
        keys = [(stage, self.key(stage, name)) for stage, name in self.nodes() if not self.find(stage, name)]
        found = list(self._found.values())  # evaluation sets among them, which are no nodes
        missing = [(stage, key) for stage, key in keys if key is not None]
        return [
            *((f"results/{stage}", key) for stage, key in missing),
            *((getattr(import_module(MODULES[stage]), "OBJECT", stage), key) for stage, key in missing),
            *((f"results/{result.stage}", result.key) for result in found),
            *(each for result in found for each in result.rests_on),
        ]

    def result(self, stage: str, name: str = "") -> StageResult:
        """The stage's result; an error that says what to run where it is missing."""
        found = self.find(stage, name)
        if found is None:
            what = f"{stage} of {name!r}" if name else stage
            raise BuildError(
                f"recipe {self.recipe.name!r}: {what} has not been made for the inputs as they are now; "
                f"materialise {stage} first, or everything with: tokenmill build"
            )
        return found

    def run(self, stage: str, name: str = "") -> StageResult:
        """The stage's result, made now where the store has none."""
        found = self.find(stage, name)
        if found is not None:
            return found
        key = self.key(stage, name)
        if key is None:
            self.result(stage, name)  # raises with the stage that is missing
            raise AssertionError("unreachable")
        module: Stage = import_module(MODULES[stage])
        settle()
        self.say(f"{stage} {name}".strip())
        began = time.perf_counter()
        around, self._rests_on = self._rests_on, set()  # a stage may run another one
        value = module.run(self, name, key)
        give_back()
        seconds = time.perf_counter() - began
        self.keep(getattr(module, "OBJECT", stage), key)
        value["rests_on"] = sorted(self._rests_on)
        self._rests_on = around
        value |= {"seconds": round(seconds, 3), **rates(value, seconds)}
        self.store.save_result(stage, key, value)
        return self._remember(StageResult(stage, name, key, value, reused=False))

    def forget(self, stage: str, name: str = "") -> None:
        """Drop the stage's summary, so that the stage runs again; its files stay."""
        key = self.key(stage, name)
        self._found.pop((stage, name), None)
        if key is not None:
            self.store.drop_result(stage, key)

    def _remember(self, result: StageResult) -> StageResult:
        self._found[(result.stage, result.name)] = result
        return result
