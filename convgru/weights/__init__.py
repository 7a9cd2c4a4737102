"""Packaged weights: safetensors files, and their SHA-256 digests in SHA256SUMS.

Holds no code: `squall.convgru.pretrained` finds and checks a file. `squall export CKPT
NAME.safetensors` writes one; start reading at `docs/model_card.md`.
"""
