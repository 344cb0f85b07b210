"""Adapters to the hosts: lmms-eval (evaluation) and LLaVA-NeXT (training). They translate; others do the work."""
