"""Which texts say the same: near duplicates across sources, and overlap with evaluation sets.

`characters` sorts code points, `words` finds and hashes words, `ngrams` hashes runs of them. On n-grams stand both
uses: `signatures` → `near` (with `bands` and `components`) → `clusters` for near duplicates, and `overlap` for
decontamination and leaks. Everything is columns of integers; no Python runs per word.
"""
