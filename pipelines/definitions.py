"""The code location: every recipe in `recipes/`, as assets, checks, jobs and schedules.

A recipe dropped into the folder appears after a reload, without code.
Price: a quarter of a second beside Dagster's own import, 45 ms of it a recipe; what only a run needs (Arrow, NumPy,
torch, the stages' code) stays out.
"""

import gc

import dagster  # noqa: F401  (before the line below)

gc.freeze()  # what Dagster made lives as long as the process: the collector need not look at it again, 0.07 s

from pipelines.code_location import of_folder  # noqa: E402
from pipelines.recipes import recipe_folder  # noqa: E402
from tokenization.memory import end_at_once  # noqa: E402

end_at_once()

defs = of_folder(recipe_folder())
