"""Where a run finds its recipe, its store and its build directory: the one resource of every asset."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from tokenization.defaults import default_out, default_store
from tokenization.engine import Engine
from tokenization.leases import Lease
from tokenization.object_store import located
from tokenization.recipe.load import load_recipe
from tokenization.stages.workspace import Workspace
from tokenization.store import Store

_listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)
_lease: ContextVar[Lease | None] = ContextVar("lease", default=None)


@contextmanager
def listening(listener: Callable[[str], None], lease: Lease | None = None) -> Iterator[None]:
    """Hear the progress of runs in this process, beside Dagster's own log; their steps work under this `lease`, so that
    none of theirs outlives the build for as long as something still refers to them."""
    tokens = _listener.set(listener), _lease.set(lease)
    try:
        yield
    finally:
        _listener.reset(tokens[0])
        _lease.reset(tokens[1])


class Settings(dg.ConfigurableResource):  # type: ignore[type-arg]
    """What a run may set beside the recipe; empty means the default."""

    store: str = ""
    out: str = ""
    engine: Literal["local", "ray"] = "local"
    workers: int = 0  # 0: as many as the cores, where it pays
    overrides: list[str] = Field(default_factory=list)
    rehash: bool = False

    def workspace(self, recipe_path: str, say: Callable[[str], Any]) -> Workspace:
        """The recipe as it is on disk now, with this run's overrides, ready to work."""
        recipe = load_recipe(recipe_path, self.overrides)
        listener = _listener.get()

        def tell(message: str) -> None:
            say(message)
            if listener:
                listener(message)

        return Workspace(
            recipe=recipe,
            store=Store(located(self.store) if self.store else default_store()),
            out=located(self.out) if self.out else default_out(recipe),
            engine=Engine(self.engine, self.workers or None),
            rehash=self.rehash,
            overrides=tuple(self.overrides),
            say=tell,
            lingers=listener is None,  # a step of a run in the page: the next one is another process
            _lease=_lease.get(),
        )
