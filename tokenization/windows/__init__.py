"""Lengths in, full windows out: which tokens stand in which window, and which windows make an epoch.

`plan` says what a plan of windows is; `concat` and `best_fit` make one; `packing` is the door to both and
holds what follows from a plan (rows, shuffling, targets); `mixture` puts windows of both kinds in order.
Only lengths and counts pass through here: tokens are moved later, once, by whoever holds the plan.
"""
