"""From a build directory to a trained model: the only importer of torch.

    dataset  →  batches  →  model + attention  →  loss  →  loop  →  checkpoint  →  generate
    (rows)      (labels,     (segments kept        (sum over   (steps, held-out   (opens with
                 positions)   apart)                targets)    loss, resume)      transformers)

`train` and `generate` are the command lines. Nothing here knows what a chat is: a build's `loss_mask`
says what is trained, its `seq_lens` what may see what.
"""
