"""`video3d prepare SOURCE --output DATA`."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """\
SOURCE is a folder in ScanNet's layout: any of scans/<id>/ (.sens, .ply, segments, aggregation, meta),
posed_images/<id>/, mask/<id>.mask.npz, embodiedscan/*.pkl, scannetv2-labels.combined.tsv, and the benchmarks'
official annotation files under their own names anywhere below. An interrupted run continues where it was.

On a cluster, with `pip install 'dask[distributed]'` or `pip install ray`:
  DASK_SCHEDULER_ADDRESS=tcp://host:8786 video3d prepare SOURCE -o DATA --backend dask --jobs -1
  RAY_ADDRESS=host:6379 video3d prepare SOURCE -o DATA --backend ray --jobs -1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("source", type=Path, help="folder of scans and annotations")
    parser.add_argument("--output", "-o", type=Path, required=True, help="data folder to make or complete")
    parser.add_argument("--annotations", type=Path, action="append", default=[], help="also look here: folder or file")
    parser.add_argument("--scenes", nargs="+", default=[], metavar="ID", help="scan ids or patterns (default: all)")
    parser.add_argument("--stages", default="scenes,frames,annotations", help="default: %(default)s")
    parser.add_argument("--frame-step", type=int, help="keep every n-th frame (a .sens: every tenth by default)")
    sources = "mask3d (mask files), gt (annotated boxes), auto (clusters of the scan), or a .json of boxes"
    parser.add_argument("--proposals", default="mask3d", help=f"{sources}; default: %(default)s")
    parser.add_argument("--max-proposals", type=int, default=50, help="proposals a scan (default: %(default)s)")
    parser.add_argument("--check", choices=("full", "headers"), default="full", help="decode every image once, or not")
    parser.add_argument("--follow-links", action="store_true", help="use files that are links out of SOURCE")
    parser.add_argument("--copy-frames", action="store_true", help="make the data folder independent of SOURCE")
    parser.add_argument("--store", action="store_true", help="also store what the model sees of every scene")
    parser.add_argument("--image-size", type=int, default=384, help="with --store: the vision tower's input")
    parser.add_argument("--sampler", default="uniform", help="with --store: frame sampler")
    parser.add_argument("--max-frames", type=int, default=32, help="with --store: frames a scene")
    formats = ("video3d", "reference")
    parser.add_argument("--format", choices=formats, default="video3d", help="reference: also Video-3D LLM's own files")
    parser.add_argument("--jobs", "-j", type=int, default=1, help="processes; -1: one a core")
    parser.add_argument("--backend", default="loky", choices=("loky", "threading", "dask", "ray"), help="of joblib")


def run(args: argparse.Namespace) -> int:
    """Prepare and print the closing table; 0, also where something was left out and said so."""
    from video3d_plugin.data.prepare import PrepareOptions, prepare
    from video3d_plugin.data.prepare_scene import SceneOptions
    from video3d_plugin.inputs_spec import InputsSpec

    options = PrepareOptions(
        stages=tuple(stage for stage in args.stages.split(",") if stage),
        scenes=tuple(args.scenes),
        annotations=tuple(args.annotations),
        scene=SceneOptions(
            frame_step=args.frame_step,
            proposals=args.proposals,
            max_proposals=args.max_proposals,
            check=args.check,
            follow_links=args.follow_links,
            copy_frames=args.copy_frames,
        ),
        store=InputsSpec(image_size=args.image_size) if args.store else None,
        store_inputs={"sampler": args.sampler, "max_frames": args.max_frames},
        reference=args.format == "reference",
        jobs=args.jobs,
        backend=args.backend,
    )
    report = prepare(args.source, args.output, options)
    print(report.table())
    print(f"ready: {args.output}   (export VIDEO3D_DATA={args.output.resolve()})")
    return 0
