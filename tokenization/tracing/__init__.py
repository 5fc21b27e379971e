"""From one token of a dataset back to where it came from: source, item, file, line, character, and why it is trained.

    token      the whole answer for one token: `trace` opens the build, finds the segment, asks one of the next two
    sessions   a chat's token: its message, the part of the turn that it is, the reason for its mask
    documents  a text's token: its characters in the document, counted from the source or from the build's own tokens
    sources    a document's text read again from its source, if what is there is still the text that was built
    spelling   bytes that tokens spell beside the text that they spell, and whole characters out of both

Guarantees: nothing is guessed; where something cannot be told any more, the answer says so and why.
Price: one row, one item and, for documents, its source up to the row are read.
"""
