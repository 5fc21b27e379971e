"""What exists: one thin module a stage. An asset reads, calls a stage, writes through it and reports; nothing else.

`naming` has the keys, groups and owners; `settings` opens a recipe's workspace for a run; `reports` turns a stage's
summary into metadata. Whatever decides or computes is in `tokenization/` or `training/`.
"""
