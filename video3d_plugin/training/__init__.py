"""Training without a host: the package's dataset and collator under `transformers.Trainer` as it is.

    video3d train --preset mini --data DATA --output runs/mini

Users of LLaVA-NeXT train with its own scripts instead (`--model video3d`); both feed the same model class.
"""
