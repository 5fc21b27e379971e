"""Which model is trained: a named configuration made for the build, or a Hugging Face directory.

Named ones take the build's vocabulary size and window and start from random weights that follow from the
seed. A directory is opened as it is; where the build's tokenizer has more ids than the model has
embedding rows (tokens were added) the rows are added, and where the two vocabularies disagree on an id it
is refused: such a model would read other words than were written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenization.errors import RecipeError
from training.dataset import Build


@dataclass(frozen=True)
class Shape:
    """A named configuration."""

    family: str  # "qwen3" | "llama", as transformers calls them
    width: int  # hidden size
    layers: int
    heads: int
    key_value_heads: int
    feed_forward: int  # SwiGLU's inner width
    learning_rate: float  # peak; a good start for pretraining from random weights
    batch_windows: int  # windows a micro-batch
    head_dim: int | None = None  # width / heads where None
    rope_theta: float = 1e6
    embedding_std: float = 0.02  # of the first embeddings, which are the output projection, too


SHAPES = {
    # Two layers: the output projection is most of a step's work on a CPU, and narrower beat wider and deeper
    # at equal time. Held-out loss after 70 steps varies by about 0.1 nats between neighbouring settings.
    "demo": Shape(
        "qwen3",
        128,
        2,
        2,
        2,
        384,
        learning_rate=5e-3,
        batch_windows=1,
        rope_theta=1e4,
        embedding_std=0.1,
    ),
    "qwen3-tiny": Shape("qwen3", 384, 8, 6, 2, 1024, learning_rate=1e-3, batch_windows=4),
    "llama-tiny": Shape("llama", 384, 8, 6, 2, 1024, learning_rate=1e-3, batch_windows=4, rope_theta=5e5),
    "minimind-26m": Shape("qwen3", 512, 8, 8, 2, 1408, learning_rate=5e-4, batch_windows=8),
    "minimind-64m": Shape("qwen3", 768, 8, 8, 4, 2432, learning_rate=5e-4, batch_windows=8),
    "qwen3-0.6b": Shape("qwen3", 1024, 28, 16, 8, 3072, learning_rate=3e-4, batch_windows=2, head_dim=128),
}
DIRECTORY_LEARNING_RATE = 2e-5  # for a model that has been trained before


def shape_of(name: str) -> Shape | None:
    """The named configuration, or None for a directory; anything else is an error that lists the names."""
    if name in SHAPES:
        return SHAPES[name]
    if (Path(name) / "config.json").is_file():
        return None
    raise RecipeError(
        f"model {name!r} is neither a named one ({', '.join(SHAPES)}) nor a directory with a config.json"
    )


def load_model(name: str, build: Build, seed: int) -> Any:
    """A float32 model on the CPU, its attention keeping segments apart, with a row for every token id."""
    import torch
    from transformers import AutoModelForCausalLM

    from training import attention

    attention.register()
    shape = shape_of(name)
    torch.manual_seed(seed)
    if shape is None:
        _check_same_vocabulary(Path(name), build)
        model = AutoModelForCausalLM.from_pretrained(
            name, dtype=torch.float32, attn_implementation=attention.NAME, local_files_only=True
        )
        _add_missing_rows(model, build.vocab_size)
    else:
        model = AutoModelForCausalLM.from_config(
            configuration(shape, build), dtype=torch.float32, attn_implementation=attention.NAME
        )
        torch.nn.init.normal_(model.get_input_embeddings().weight, std=shape.embedding_std)
    return prepare(model)


def reload_model(checkpoint: Path) -> Any:
    """The model of a checkpoint, as it was."""
    import torch
    from transformers import AutoModelForCausalLM

    from training import attention

    attention.register()
    return prepare(
        AutoModelForCausalLM.from_pretrained(
            checkpoint, dtype=torch.float32, attn_implementation=attention.NAME, local_files_only=True
        )
    )


def prepare(model: Any) -> Any:
    """Let every embedding row learn, then try that segments are kept apart.

    A configuration's pad_token_id makes torch freeze that row. Padding never meets a loss here, and
    where padding shares its id with the document end, the frozen row would be the document end's.
    """
    from training import attention

    model.get_input_embeddings().padding_idx = None
    attention.check_model(model)
    return model


def configuration(shape: Shape, build: Build) -> Any:
    """The transformers configuration of a named shape for this build's vocabulary and window."""
    from transformers import LlamaConfig, Qwen3Config

    kind = {"qwen3": Qwen3Config, "llama": LlamaConfig}[shape.family]
    return kind(
        vocab_size=build.vocab_size,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.head_dim or shape.width // shape.heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=build.window,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        # Ends and padding belong to the generation config: here they would freeze or zero embedding rows.
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )


def _add_missing_rows(model: Any, vocab_size: int) -> None:
    """Rows for added tokens, drawn around the mean of the old ones; spare rows are left as they are."""
    if model.get_input_embeddings().weight.shape[0] < vocab_size:
        model.resize_token_embeddings(vocab_size)


def _check_same_vocabulary(directory: Path, build: Build) -> None:
    """Each token that the model's own tokenizer knows must have the same id in the build's."""
    theirs, ours = _vocabulary(directory), _vocabulary(build.tokenizer_dir)
    if theirs is None or ours is None:
        return
    for token, number in theirs.items():
        if ours.get(token) != number:
            raise RecipeError(
                f"the model in {directory} knows {token!r} as id {number} and the build's tokenizer as "
                f"{ours.get(token, 'nothing')}: build the dataset with the model's own tokenizer "
                "(tokenizer.path), or train a named model"
            )


def _vocabulary(directory: Path) -> dict[str, int] | None:
    """Token to id, added tokens included, or None where there is no tokenizer.json to compare."""
    file = directory / "tokenizer.json"
    if not file.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        found: dict[str, int] = Tokenizer.from_file(str(file)).get_vocab(with_added_tokens=True)
    except Exception as error:
        raise RecipeError(f"{file} does not load as a tokenizer ({error})") from None
    return found


def describe(model: Any) -> dict[str, Any]:
    """The facts of a model that reports show."""
    weight = model.get_input_embeddings().weight
    return {
        "architecture": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "embedding_rows": int(weight.shape[0]),
    }
