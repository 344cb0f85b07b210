"""`video3d serve [SCENE ...]`: serve a web page where scans can be asked about."""

from __future__ import annotations

import argparse
import ipaddress
import socket
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from video3d_plugin.cli.common import (
    add_align_argument,
    add_camera_arguments,
    add_device_argument,
    add_model_argument,
    add_poses_argument,
    add_proposals_argument,
    camera_options,
    checked_proposals,
    status,
)
from video3d_plugin.errors import DataError

if TYPE_CHECKING:
    from video3d_plugin.data.camera_options import CameraOptions
    from video3d_plugin.serve.limits import Limits
    from video3d_plugin.serve.reading import SceneSource

SMALL_MODEL = "the small one that ships with the package; it was trained on made-up rooms and errs in real ones"
EPILOG = """\
Only this machine can reach the page, unless --host names another address. There is no password: anyone who can reach
the page can ask and upload. Uploads are checked, only their owner sees them, and their files are deleted once they are
read. docs/security.md lists the guarantees and explains how to put the page behind a proxy with a password.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EPILOG
    parser.add_argument(
        "scenes", nargs="*", type=Path, metavar="SCENE", help="scans to offer: folders, .zip or .sens files"
    )
    parser.add_argument("--data", type=Path, metavar="DATA", help="data folder whose scenes are offered as well")
    add_align_argument(parser)
    add_camera_arguments(parser)
    add_poses_argument(parser)
    add_model_argument(parser)
    add_proposals_argument(parser)
    add_device_argument(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=7860, help="port to listen on; 0 takes a free one (default: %(default)s)"
    )
    parser.add_argument("--no-upload", action="store_true", help="offer the scans named here only")
    parser.add_argument(
        "--max-upload-mb",
        type=int,
        default=500,
        metavar="MB",
        help="largest size of an uploaded .zip (default: %(default)s)",
    )
    parser.add_argument(
        "--read-timeout",
        type=float,
        default=600,
        metavar="S",
        help="seconds after which reading an uploaded scan is ended (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted; return the exit status."""
    from video3d_plugin.serve.app import build
    from video3d_plugin.serve.server import Ending
    from video3d_plugin.serve.server import run as run_server

    limits = _limits(args)
    proposals = checked_proposals(args)
    scenes = scene_sources(args.scenes, args.data, args.align, camera_options(args))
    if not scenes and args.no_upload:
        raise DataError("there is no scene to serve", remedy="give a SCENE or --data, or allow uploads")
    with (
        listening(args.host, args.port) as listener,
        Ending() as ending,
    ):  # before the model is read: that takes longer
        from video3d_plugin.model.checkpoint.folders import local_folder
        from video3d_plugin.pipeline import load_model
        from video3d_plugin.sampling.registry import check_without_question
        from video3d_plugin.serve.service import SceneService

        checkpoint = local_folder(args.model) if args.model else None  # the hub shows progress of its own
        with status("loading the model"):
            model = load_model(checkpoint, device=args.device, proposals=proposals)
        check_without_question(model.sampler, "video3d serve")
        service = SceneService(model, scenes, uploads=not args.no_upload, limits=limits)
        ending.clean_up = service.close
        if proposals is not None:
            service.scenes.check_model_view()
        # The name alone: a path of this machine is no business of visitors.
        name = Path(args.model).name if args.model else SMALL_MODEL
        app = build(service, allowed_hosts(args.host, listener.getsockname()[0]), name)
        shown = f"[{args.host}]" if ":" in args.host else args.host
        print(f"open http://{shown}:{listener.getsockname()[1]}   (Ctrl-C stops)", flush=True)
        run_server(app, listener, ending)
    return 0


def _limits(args: argparse.Namespace) -> Limits:
    from video3d_plugin.serve.limits import Limits

    if args.max_upload_mb < 1:
        raise DataError(f"--max-upload-mb is {args.max_upload_mb}", remedy="give 1 or more, or --no-upload")
    if not 1 <= args.read_timeout <= 86400:
        raise DataError(f"--read-timeout is {args.read_timeout:g}", remedy="give 1 to 86400 seconds")
    return Limits(bytes=args.max_upload_mb << 20, unpacked_bytes=4 * args.max_upload_mb << 20, read_s=args.read_timeout)


def scene_sources(
    paths: list[Path], data: Path | None, align: str = "auto", camera: CameraOptions | None = None
) -> dict[str, SceneSource]:
    """Name the scenes to serve.

    Scenes of the same name are distinguished by their folders. A path given twice counts once.

    Args:
        paths: Scans.
        data: Data folder whose scenes are added.
        align: How the scans are levelled: "auto", "none" or a file.
        camera: What the user says of the camera of the scans.

    Returns:
        {name: source of the scene}.

    Raises:
        MissingError: If a path does not exist.
    """
    from video3d_plugin.data.camera_options import CameraOptions
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.data.readers.alignment import check_align
    from video3d_plugin.errors import MissingError
    from video3d_plugin.serve.reading import SceneSource

    check_align(align)
    sources: dict[str, SceneSource] = {}
    for path in paths:
        if not path.exists():
            raise MissingError("no such file or folder", where=path)
    for place, path in {path.resolve(): path for path in paths}.items():
        name = place.stem if place.is_file() else place.name
        source = SceneSource(path, align=align, camera=camera or CameraOptions())
        sources[_unused(name, place, sources)] = source
    if data is not None:
        for scene_id in DataFolder.open(data).scene_ids:
            sources[_unused(scene_id, data.resolve() / scene_id, sources)] = SceneSource(data, scene_id)
    return sources


def _unused(name: str, place: Path, taken: Collection[str]) -> str:
    """Return the name or, where it is taken, the shortest ending of the path `place` that is free."""
    endings = ("/".join(place.parts[-length:]) for length in range(1, len(place.parts)))
    return next(candidate for candidate in (name, *endings, str(place)) if candidate not in taken)


def allowed_hosts(host: str, address: str) -> list[str]:
    """Return the host names that requests may have.

    Args:
        host: Value of --host.
        address: IP address that the server listens on.

    Returns:
        Both of them and the machine's names; "*" (any) where the server listens on all addresses, as its names are
        not known then.
    """
    listening = ipaddress.ip_address(address)
    if listening.is_loopback:
        return ["127.0.0.1", "localhost", "[::1]", "::1", host, address]
    print(f"video3d serve: anyone who can reach {host} can ask and upload; there is no password", file=sys.stderr)
    return ["*"] if listening.is_unspecified else [host, address, f"[{address}]", socket.gethostname()]


def listening(host: str, port: int) -> socket.socket:
    """Return a listening socket; Video3DError says why there is none."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise DataError(
            f"cannot listen on {host}, port {port}: {error}", remedy="choose another --port; 0 takes any free one"
        ) from error
