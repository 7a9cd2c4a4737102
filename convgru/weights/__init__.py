"""Trained weights as safetensors, digests in SHA256SUMS; see `squall.convgru.pretrained`."""
