"""Trained weights as safetensors, with their digests in SHA256SUMS; see `convgru.pretrained`."""
