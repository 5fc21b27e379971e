"""The stages from raw files to a published build, each a plain function over the store.

    documents/SOURCE ─┬─► selection ─┐ (texts: documents; chats: sessions)
                      ├─► tokenizer ─┼─► tokens/CHAT ─► draw ─► tokens/TEXT ─► windows ─► candidate ─► dataset
                      └──────────────┘                                                       └─► preview

The chats' tokens say how much text the share asks for; `draw` says which documents that is, and the others are not
encoded. Where nothing is mixed, or the recipe says `encode_all`, there is no draw.

A stage is a module with two things: `parts(workspace, name)` (everything its result depends on) and `run(workspace,
name, key)` (the work; what it returns is the stage's summary, with a `fingerprint` of what came out). `catalogue` knows
its version, `CODES[stage]`: raise it when the stage's output changes. `workspace.Workspace` does the rest: names the
result by its parts and that version, runs the stage where the store has none, remembers the summary.
"""
