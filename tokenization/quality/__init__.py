"""Quality rules and personal data: what a recipe's cleaning may reject or replace, column by column.

    rules = parse_rules(["gopher", {"min_length": {"min": 200}}])
    outcome = apply_rules(texts, rules)                   # texts: a pyarrow large_string column
    kept = texts.filter(pa.array(outcome.kept))

`rules` lists the rules; `gopher`, `c4`, `fineweb`, `length` and `language` define them in the words of `expressions`
and `scripts`; `measures`, `structure`, `repetition` and `characters` compute what they look at; `personal_data` stands
apart.
"""
