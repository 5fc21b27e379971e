"""A build's windows in the form that other trainers read.

    export        one export, atomically: both splits, the tokenizer, a note of what it is
    forms         the forms: who reads each, its columns, what it keeps and what it has no place for
    windows       a batch of windows with what trainers want beside: labels, positions
    huggingface   trl, axolotl: Arrow files that `datasets.load_from_disk` opens
    parquet       parquet: every column of the dataset, labels and positions beside them
    megatron      megatron: memory-mapped .bin/.idx pairs, and the packed Parquet of Megatron-Bridge
    mds           mds: shards of MosaicML's streaming

Guarantees: the same windows in the same order, no token and no target more or fewer (counted against the manifest);
OUT appears whole or not at all. Price: one pass, 20 ns a token for trl, 30 axolotl, 55 mds, 65 megatron, 110 parquet;
memory does not follow the tokens: 90 MB for trl, 240 for mds, of 17 million tokens as of 67 million.
"""
