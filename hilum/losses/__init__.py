"""Losses: plain functions on tensors, one file each. Logits go in; sums are taken in float32 or better."""
