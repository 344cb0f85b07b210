"""Adapters to the hosts: lmms-eval (evaluation) and LLaVA-NeXT (training). They translate; the work is done elsewhere."""
