"""The gallery: loss masks that somebody asks for in the launchpad, written as a page and linked.

Run by hand alone. Previews that come with every build are small, because the page loads a hundred at once; this one may
be as large as a page can be.
"""

import dagster as dg
from pydantic import Field

from assets import naming
from assets.links import link
from assets.reports import explained
from assets.settings import Settings
from tokenization.build.layout import published
from tokenization.errors import BuildError
from tokenization.hashing import key_of
from tokenization.preview import MOST_IN_A_GALLERY
from tokenization.recipe.model import Recipe

KEPT = 20  # galleries of a recipe


class GalleryConfig(dg.Config):
    """What to show; empty asks for nothing."""

    source: str = Field("", description="of this source only")
    sessions: list[str] = Field(default_factory=list, description="these sessions or documents, by name")
    text: str = Field("", description="sessions whose messages hold this text")
    count: int = Field(20, description=f"at most so many, 1 to {MOST_IN_A_GALLERY}")


def gallery_asset(recipe: Recipe, path: str) -> dg.AssetsDefinition:
    """A page of what was asked for."""

    @dg.asset(
        key=naming.key(recipe, "gallery"),
        deps=[naming.key(recipe, "dataset")],
        group_name="preview",
        kinds={"html"},
        owners=[naming.OWNER],
        tags=naming.tags(recipe),
        code_version="1",
        description=(
            "Loss masks that you ask for: open the launchpad of this asset (the arrow beside Materialize), say which "
            "source, which sessions by name, which text they hold and how many, and open the page that is linked under "
            "`page`. Shows the published build."
        ),
    )
    def gallery(
        context: dg.AssetExecutionContext, config: GalleryConfig, settings: Settings
    ) -> dg.MaterializeResult[None]:
        from tokenization.build.gallery import gallery_of
        from tokenization.preview.page import html_page

        with explained():
            workspace = settings.workspace(path, context.log.info)
            if published(workspace.out) is None:
                raise BuildError(f"{workspace.out} is no published build; materialise the dataset first")
            page = gallery_of(
                workspace.out.resolve(),
                source=config.source,
                items=config.sessions,
                text=config.text,
                count=config.count,
            )
            name = key_of(published(workspace.out), config.model_dump())
            folder = workspace.store.root / "galleries" / recipe.name
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{name[:16]}.html"
            file.write_text(html_page(page), encoding="utf-8")
            for old in sorted(folder.glob("*.html"), key=lambda each: each.stat().st_mtime)[:-KEPT]:
                old.unlink()
            return dg.MaterializeResult(
                metadata={"page": link(file), "shown": len(page.sequences), "found": page.facts[0][1]},
                data_version=dg.DataVersion(name),
            )

    return gallery
