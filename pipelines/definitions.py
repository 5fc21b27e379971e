"""The code location: every recipe in `recipes/`, as assets, checks, jobs and schedules.

A recipe dropped into the folder appears after a reload, without code.
Price: a quarter of a second beside Dagster's own import, 45 ms of it a recipe; what only a run needs (Arrow, NumPy,
torch, the stages' code) stays out.
"""

from pipelines.code_location import of_folder
from pipelines.recipes import recipe_folder

defs = of_folder(recipe_folder())
