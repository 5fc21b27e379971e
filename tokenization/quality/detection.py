"""The language of each document, by the optional library py3langid and its own model.

The library takes one text at a time in Python, so of each only the first `HEAD_BYTES` are looked at, and
only where a recipe has the rule `language`. The rule `script` is column-wise and often says enough.

Price: about 0.2 ms a document; the model takes 0.3 s to load, once.
"""

from __future__ import annotations

import functools
import importlib
import itertools
from typing import TYPE_CHECKING, Any

from tokenization.errors import RecipeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tokenization.quality.characters import Bytes, Places

HEAD_BYTES = 2000


@functools.lru_cache(maxsize=1)
def _identifier() -> Any:
    try:
        library = importlib.import_module("py3langid.langid")
    except ImportError:
        raise RecipeError(
            "the rule language needs the library py3langid, which isn't installed; pip install py3langid, "
            "or use the rule script, which needs nothing"
        ) from None
    return library.LanguageIdentifier.from_model_file(library.MODEL_FILE, norm_probs=True)


@functools.lru_cache(maxsize=1)
def languages() -> tuple[str, ...]:
    """The ISO 639 codes that can be told."""
    return tuple(_identifier().labels)


def detect_languages(data: Bytes, offsets: Places) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(index in `languages()`, how sure from 0 to 1) of each document."""
    import numpy as np

    classify = _identifier().classify
    number = {code: place for place, code in enumerate(languages())}
    view = memoryview(data.data)
    found = [
        classify(bytes(view[begin : min(end, begin + HEAD_BYTES)]).decode("utf-8", "ignore"))
        for begin, end in itertools.pairwise(offsets.tolist())
    ]
    indices = np.array([number[code] for code, _ in found], np.int64)
    return indices, np.array([sure for _, sure in found], np.float64)
