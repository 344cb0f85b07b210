"""Training without a host: the package's dataset and collator under an unmodified `transformers.Trainer`.

    from video3d_plugin.training.trainer import train

`train` fine-tunes a checkpoint; `video3d train --model CHECKPOINT` is its command. Users of LLaVA-NeXT train with that
project's own scripts instead (`--model video3d`). Both feed the same model class.
"""
