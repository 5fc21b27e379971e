"""Loss masks to look at, in five sizes, from one kind of value.

`model` holds the values; `characters` and `runs` turn tokens into whole characters, turns and mask runs; then
`strip` (a window as a tiny picture), `markdown` (a diff fence and token boxes for the Dagster page), `svg`
(the boxes), `terminal` and `page` (one self-contained HTML file) each show them.

Guarantees: content is shown and never acts, in any of the five; no character is broken; limits on size hold
for any input. Nothing here opens a file or knows a tokenizer.
"""

SHEET, STRIPS = (
    "sessions.svg",
    "windows.svg",
)  # the pictures of the page: sessions as boxes, windows as strips
MOST_IN_A_GALLERY = 200  # items: a page of 3 MB holds about so many sessions
