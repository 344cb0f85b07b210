"""`video3d serve [SCENE ...]`."""

from __future__ import annotations

import argparse
import ipaddress
import socket
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from video3d_plugin.errors import DataError

if TYPE_CHECKING:
    from video3d_plugin.serve.limits import Limits
    from video3d_plugin.serve.reading import SceneSource

EPILOG = """\
Only this machine can reach the page, unless --host says otherwise. There is no password: whoever reaches it may ask and
upload. Uploads are checked and seen by nobody but their owner; their files are deleted as soon as they are read.
docs/security.md says what is promised, and how to put the page behind a proxy with a password.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument(
        "scenes", nargs="*", type=Path, metavar="SCENE", help="scans to choose from: folders, .zip, .sens"
    )
    parser.add_argument("--data", type=Path, help="also all scenes of a folder made by `video3d prepare`")
    parser.add_argument("--model", type=Path, metavar="CHECKPOINT", help="default: the small one that is shipped")
    parser.add_argument("--device", help="cuda or cpu; default: cuda where there is one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="0: any free one (default: %(default)s)")
    parser.add_argument("--no-upload", action="store_true", help="no scans but those named here")
    parser.add_argument("--max-upload-mb", type=int, default=500, help="size of an uploaded zip (default: %(default)s)")
    parser.add_argument(
        "--read-timeout",
        type=float,
        default=600,
        metavar="S",
        help="seconds that a scan may take (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    from video3d_plugin.serve.app import build
    from video3d_plugin.serve.server import Ending
    from video3d_plugin.serve.server import run as run_server

    limits = _limits(args)
    scenes = scene_sources(args.scenes, args.data)
    if not scenes and args.no_upload:
        raise DataError("there is no scene to serve", remedy="name one, or --data, or allow uploads")
    with (
        _listening(args.host, args.port) as listener,
        Ending() as ending,
    ):  # before the model is read: that takes longer
        from video3d_plugin.pipeline import load_model
        from video3d_plugin.serve.service import SceneService

        model = load_model(args.model, device=args.device)
        service = SceneService(model, scenes, uploads=not args.no_upload, limits=limits)
        ending.clean_up = service.close
        app = build(service, allowed_hosts(args.host, listener.getsockname()[0]))
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


def scene_sources(paths: list[Path], data: Path | None) -> dict[str, SceneSource]:
    """{name: where the scene lies}. Same names are told apart by their folders; a path given twice counts once; a
    missing file is an error."""
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.errors import MissingError
    from video3d_plugin.serve.reading import SceneSource

    sources: dict[str, SceneSource] = {}
    for path in paths:
        if not path.exists():
            raise MissingError("no such file or folder", where=path)
    for place, path in {path.resolve(): path for path in paths}.items():
        name = place.stem if place.is_file() else place.name
        sources[_unused(name, place, sources)] = SceneSource(path)
    if data is not None:
        for scene_id in DataFolder.open(data).scene_ids:
            sources[_unused(scene_id, data.resolve() / scene_id, sources)] = SceneSource(data, scene_id)
    return sources


def _unused(name: str, place: Path, taken: Collection[str]) -> str:
    """The name, or where it is taken the shortest ending of the whole path `place` that is not."""
    endings = ("/".join(place.parts[-length:]) for length in range(1, len(place.parts)))
    return next(candidate for candidate in (name, *endings, str(place)) if candidate not in taken)


def allowed_hosts(host: str, address: str) -> list[str]:
    """What a browser may call this server, which was started for `host` and listens on `address` (an IP address): these
    two, and the machine's own names. Only where it listens on all addresses any name will do: they cannot be known."""
    listening = ipaddress.ip_address(address)
    if listening.is_loopback:
        return ["127.0.0.1", "localhost", "[::1]", "::1", host, address]
    print(f"video3d serve: everyone who can reach {host} may ask and upload; there is no password", file=sys.stderr)
    return ["*"] if listening.is_unspecified else [host, address, f"[{address}]", socket.gethostname()]


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise DataError(
            f"cannot listen on {host}, port {port}: {error}", remedy="choose another --port; 0 takes any free one"
        ) from error
