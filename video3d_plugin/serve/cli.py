"""`video3d serve [SCENE ...]`."""

from __future__ import annotations

import argparse
import ipaddress
import signal
import socket
import sys
import threading
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from video3d_plugin.errors import DataError

if TYPE_CHECKING:
    from video3d_plugin.scene import Scene

EPILOG = """\
Only this machine can reach the page, unless --host says otherwise. There is no password: whoever reaches it may ask and
upload. Uploads are checked, seen by nobody but their owner, and deleted when the server stops.
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


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    from video3d_plugin.pipeline import load_model
    from video3d_plugin.serve.app import build
    from video3d_plugin.serve.desk import Desk, Limits

    if args.max_upload_mb < 1:
        raise DataError(f"--max-upload-mb is {args.max_upload_mb}", remedy="give 1 or more, or --no-upload")
    limits = Limits(bytes=args.max_upload_mb << 20, unpacked_bytes=4 * args.max_upload_mb << 20)
    scenes = scene_loaders(args.scenes, args.data)
    if not scenes and args.no_upload:
        raise DataError("there is no scene to serve", remedy="name one, or --data, or allow uploads")
    with _listening(args.host, args.port) as listener:  # before the model is read, which takes longer than to say no
        _end_by_exit()
        desk = Desk(load_model(args.model, device=args.device), scenes, uploads=not args.no_upload, limits=limits)
        try:
            _serve(build(desk, allowed_hosts(args.host, listener.getsockname()[0])), listener, args.host)
        finally:
            desk.close()
    return 0


def scene_loaders(paths: list[Path], data: Path | None) -> dict[str, Callable[[], Scene]]:
    """{name: function that loads the scene}. Same names are told apart by their folders; a path given twice counts
    once; a missing file is an error."""
    from video3d_plugin.data.folder import DataFolder
    from video3d_plugin.data.readers import load_scene
    from video3d_plugin.errors import MissingError

    loaders: dict[str, Callable[[], Scene]] = {}
    for path in paths:
        if not path.exists():
            raise MissingError("no such file or folder", where=path)
    for place, path in {path.resolve(): path for path in paths}.items():
        name = place.stem if place.is_file() else place.name
        loaders[_unused(name, place, loaders)] = partial(load_scene, path)
    if data is not None:
        folder = DataFolder.open(data)
        for scene_id in folder.scene_ids:
            loaders[_unused(scene_id, data.resolve() / scene_id, loaders)] = partial(folder.scene, scene_id)
    return loaders


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


def _end_by_exit() -> None:
    """Let SIGTERM, and the SIGHUP of a terminal that closes, end the process as Ctrl-C does: what stands in `finally`
    is run. By themselves they would leave uploads behind. A SIGHUP that is ignored (nohup) stays so."""
    if threading.current_thread() is not threading.main_thread():
        return  # Python sets handlers in no other
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))  # which uvicorn knows


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise DataError(
            f"cannot listen on {host}, port {port}: {error}", remedy="choose another --port; 0 takes any free one"
        ) from error


def _serve(app: object, listener: socket.socket, host: str) -> None:
    import uvicorn

    shown = f"[{host}]" if ":" in host else host
    print(f"open http://{shown}:{listener.getsockname()[1]}   (Ctrl-C stops)", flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    server.run(sockets=[listener])
