"""The small model that the package ships: the rooms it learns from, how it is trained, and the demo.

    rooms/        generates furnished rooms in ScanNet's layout, with questions in the five benchmarks' official formats
    curriculum/   the stages of training from scratch, for `video3d_plugin.training`
    train         trains the small model
    demo          `video3d demo`
    checkpoint/   the trained model, which `load_model()` loads by default

Only the command line imports this package; the rest of `video3d_plugin` works without it.
"""
