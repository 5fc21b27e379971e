"""Tokenizers: any published form in, one prepared directory out, exact ids as fast as the machine.

sources → (huggingface | sentencepiece_model | tiktoken_ranks | train) → prepare
→ a prepared directory (layout) → identity chooses its engine → encoder opens it → save writes it for serving.
"""
