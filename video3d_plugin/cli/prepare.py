"""`video3d prepare SOURCE --output DATA`: convert scans and annotations to a data folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from video3d_plugin.cli.common import (
    add_align_argument,
    add_camera_arguments,
    add_classes_argument,
    add_poses_argument,
    camera_options,
    positive,
    source_with_classes,
)

EPILOG = """\
SOURCE is a folder in ScanNet's layout: any of scans/<id>/ (.sens, .ply, segments, aggregation, meta),
posed_images/<id>/, mask/<id>.mask.npz, embodiedscan/*.pkl, scannetv2-labels.combined.tsv, and the benchmarks'
official annotation files under their original names anywhere below. An interrupted run is continued.

On a cluster, with `pip install 'dask[distributed]'` or `pip install ray`:
  DASK_SCHEDULER_ADDRESS=tcp://host:8786 video3d prepare SOURCE -o DATA --backend dask --jobs -1
  RAY_ADDRESS=host:6379 video3d prepare SOURCE -o DATA --backend ray --jobs -1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EPILOG
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder of scans and annotations")
    parser.add_argument(
        "--output", "-o", type=Path, required=True, metavar="DATA", help="data folder to create or complete"
    )
    _add_scene_arguments(parser.add_argument_group("scans"))
    _add_store_arguments(parser.add_argument_group("stored inputs and other formats"))
    _add_process_arguments(parser.add_argument_group("processes"))


def _add_scene_arguments(group) -> None:
    group.add_argument(
        "--annotations",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="further folder or file of annotations (may be given several times)",
    )
    group.add_argument("--scenes", nargs="+", default=[], metavar="ID", help="scan ids or patterns (default: all)")
    group.add_argument(
        "--stages",
        default="scenes,frames,annotations",
        metavar="NAMES",
        help="what to do, separated by commas (default: %(default)s)",
    )
    group.add_argument(
        "--frame-step", type=positive, metavar="N", help="keep every N-th frame (default: 10 for a .sens, else 1)"
    )
    add_camera_arguments(group)
    add_poses_argument(group)
    group.add_argument(
        "--proposals",
        default="mask3d",
        metavar="SOURCE",
        help="mask3d (mask files), gt (annotated boxes), auto, detector:MODEL, NAME or NAME:ARGUMENT of another maker, "
        "or a .json of boxes (default: %(default)s)",
    )
    add_classes_argument(group)
    group.add_argument(
        "--max-proposals", type=int, default=50, metavar="N", help="proposals of a scan (default: %(default)s)"
    )
    add_align_argument(group)
    group.add_argument(
        "--check",
        choices=("full", "headers"),
        default="full",
        help="decode every image, or read its header only (default: %(default)s)",
    )
    group.add_argument(
        "--voxel-size",
        type=float,
        metavar="METRES",
        help="voxels of max-coverage sampling (default: 0.1, with which the reference released its frames)",
    )
    group.add_argument(
        "--threshold",
        type=float,
        default=0.5,
        metavar="IOU",
        help="scan2cap: smallest IoU at which a proposal stands for the object to describe (default: %(default)s)",
    )
    group.add_argument("--follow-links", action="store_true", help="use files that are links to outside of SOURCE")
    group.add_argument("--copy-frames", action="store_true", help="copy the frames, so that SOURCE can be deleted")


def _add_store_arguments(group) -> None:
    group.add_argument("--store", action="store_true", help="store the model's inputs of every scene")
    group.add_argument(
        "--image-size",
        type=int,
        default=384,
        metavar="PIXELS",
        help="input size of the vision tower, with --store (default: %(default)s)",
    )
    group.add_argument(
        "--sampler", default="uniform", metavar="NAME", help="frame sampler, with --store (default: %(default)s)"
    )
    group.add_argument(
        "--max-frames",
        type=int,
        default=32,
        metavar="N",
        help="largest number of frames, with --store (default: %(default)s)",
    )
    group.add_argument(
        "--format",
        choices=("video3d", "reference"),
        default="video3d",
        help="reference: write Video-3D LLM's own files as well (default: %(default)s)",
    )


def _add_process_arguments(group) -> None:
    group.add_argument(
        "--jobs", "-j", type=int, default=1, metavar="N", help="processes; -1: one a core (default: %(default)s)"
    )
    group.add_argument(
        "--backend",
        choices=("loky", "threading", "dask", "ray"),
        default="loky",
        help="joblib backend that runs them (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Prepare the data folder and print a table; return 0, also where the table lists omissions."""
    from video3d_plugin.data.prepare import PrepareOptions, prepare
    from video3d_plugin.data.prepare_scene import SceneOptions
    from video3d_plugin.inputs_spec import InputsSpec

    options = PrepareOptions(
        stages=tuple(stage for stage in args.stages.split(",") if stage),
        scenes=tuple(args.scenes),
        annotations=tuple(args.annotations),
        scene=SceneOptions(
            frame_step=args.frame_step,
            proposals=source_with_classes(args.proposals, args.classes),
            max_proposals=args.max_proposals,
            check=args.check,
            follow_links=args.follow_links,
            copy_frames=args.copy_frames,
            align=args.align,
            camera=camera_options(args),
            voxel_size_m=args.voxel_size,
        ),
        threshold=args.threshold,
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
