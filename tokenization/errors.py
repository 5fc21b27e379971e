"""What goes wrong, in the words of the person who can mend it.

A message gives the fact, the place, the limit and the way on, in one sentence or two. The command line
prints it without a traceback and exits with the class's `exit_code`: 2 where the recipe or the command
is wrong, 1 where a check failed or the run broke.
"""


class TokenmillError(Exception):
    """Something that tokenmill can explain; `str(error)` is the whole message."""

    exit_code = 1


class RecipeError(TokenmillError):
    """The recipe, an input it names or the command line is wrong: nothing was built."""

    exit_code = 2


class BuildError(TokenmillError):
    """The run broke or a check failed: the last good build stays in place."""
