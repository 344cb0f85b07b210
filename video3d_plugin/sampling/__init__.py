"""Which frames of a scan enter the model."""
