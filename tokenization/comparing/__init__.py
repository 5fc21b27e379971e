"""Two builds beside each other: which items, masks and tokens changed, and why.

    compare     the whole comparison: what changed, how often, with samples and reasons
    manifests   what the manifests say: recipe keys, versions, totals, and which key can have caused which change
    items       one row an item of a build, with a digest of its tokens and its targets
    segments    those digests, taken from the dataset in one pass
    aside       what was set aside, by item
    places      where in both datasets two samples part

Guarantees: an item's digest depends on its tokens and their places in it, not on how windows cut it; texts are known
again by their content, so an item that only moved or was renamed is not taken for another. Builds are read, never
written. Price: one pass over each dataset, about 30 ns a token; in memory about 200 bytes an item and 100 a segment.
"""
