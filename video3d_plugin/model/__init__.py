"""The model: SigLIP tower, projector, pooled grid with 3D positions, Qwen2, grounding head; and its scene prefix.

Knows tensors and checkpoints; reads no scene files. Public names are in `video3d_plugin`.
"""
