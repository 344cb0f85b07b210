"""Exporting a .sens, against decoding and encoding every image again, and against the disk.

    python benchmarks/sens_export.py [--frames 60]

Colour is copied byte by byte; depth is unpacked and packed as PNG, which is what bounds the speed. The baseline is
ScanNet's and EmbodiedScan's exporter, written to be read. Prints CPU seconds of one thread.
"""

from __future__ import annotations

import struct
import tempfile
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import torch
from measure import Transcript, options
from PIL import Image
from room_scan import write_scan

from video3d_plugin import load_scene
from video3d_plugin.data.frames import read_depth
from video3d_plugin.data.readers.sens import iterate_frames, read_header, read_sens
from video3d_plugin.data.readers.sens_export import export_sens


def write_sens(path: Path, scene) -> None:
    """A .sens of the scene's frames."""
    height, width = scene.frames[0].depth_size
    with open(path, "wb") as file:
        file.write(struct.pack("<IQ4s", 4, 4, b"room"))
        for matrix in (scene.frames[0].depth_intrinsics, np.eye(4)) * 2:
            file.write(struct.pack("<16f", *matrix.ravel()))
        file.write(struct.pack("<ii4IfQ", 2, 1, width, height, width, height, 1000.0, len(scene.frames)))
        for frame in scene.frames:
            color, depth = frame.color.read(), zlib.compress(read_depth(frame).tobytes())
            file.write(struct.pack("<16f4Q", *frame.scan_from_camera.ravel(), 0, 0, len(color), len(depth)))
            file.write(color + depth)


def baseline(path: Path, folder: Path) -> None:
    """Decode and encode every image."""
    folder.mkdir()
    header = read_header(path)
    for entry in iterate_frames(path, header):
        name = folder / f"{entry.index:05d}"
        image = cv2.imdecode(np.frombuffer(entry.color.read(), np.uint8), cv2.IMREAD_COLOR)
        cv2.imwrite(f"{name}.jpg", image)
        depth = np.frombuffer(zlib.decompress(entry.depth.read()), np.uint16).reshape(header.depth_size)
        Image.fromarray(depth).save(f"{name}.png")
        np.savetxt(f"{name}.txt", entry.scan_from_camera, fmt="%f")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--frames", type=int, default=60)
    args = parser.parse_args()
    say = Transcript()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        scene = load_scene(write_scan(base, args.frames))
        path = base / "room.sens"
        write_sens(path, scene)
        frames = read_sens(path, frame_step=1)[0]
        times = {}
        for name, work in (
            ("baseline", lambda: baseline(path, base / "slow")),
            ("video3d", lambda: export_sens(path, base / "fast", frames, threads=1)),
            ("copying the file", lambda: (base / "copy").write_bytes(path.read_bytes())),
            ("unpacking depth", lambda: [read_depth(frame) for frame in frames]),
        ):
            start = time.process_time()
            work()
            times[name] = time.process_time() - start
        megabytes = path.stat().st_size / 1e6
    for name, took in times.items():
        say(f"{name:16} {took:7.3f} s  {megabytes / max(took, 1e-9):8.0f} MB/s")
    say(f"{times['baseline'] / times['video3d']:.1f}x the baseline")
    say.publish(args.page, "sens-export", "Exporting a .sens")


if __name__ == "__main__":
    main()
