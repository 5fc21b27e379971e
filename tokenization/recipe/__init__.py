"""Recipes: one YAML file is one dataset, and everything wrong with it is said before anything runs.

`model` is what a recipe may say, with every default and limit (its parts are in `sources`, `chat` and
`parts`; `section` is what all of them share, `cron` checks the schedule). `load` makes a checked `Recipe` of
a file and its `--set` overrides: `document` reads the YAML, `overrides` changes it, `problems` words what is
wrong. `schema` and `starter` help the people who write recipes.

Guarantees: a `Recipe` that exists is whole (defaults filled, limits kept) and cannot change; whatever is
wrong with a file, its reader sees one `RecipeError` that lists every problem, and never a traceback.
"""
