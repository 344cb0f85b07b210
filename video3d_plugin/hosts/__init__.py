"""Adapters to the host programs: lmms-eval for evaluation, LLaVA-NeXT for training."""
