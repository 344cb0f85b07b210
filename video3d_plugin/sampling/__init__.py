"""Frame samplers: which frames of a scan the model sees."""
