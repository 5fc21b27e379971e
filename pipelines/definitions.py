"""The code location: every recipe in `recipes/`, as assets, checks, jobs and schedules.

A recipe dropped into the folder appears after a reload, without code.
Price: about a second to load; torch, transformers, polars and datasets stay out.
"""

from pipelines.code_location import of_folder
from pipelines.recipes import recipe_folder

defs = of_folder(recipe_folder())
