"""Says how far weights carry over to real plates: labelled photographs as they are and through the generator's cameras.

python scripts/carry_over.py PHOTOS ARGENTINE=argentina TRACKS --out DIR --checkpoint before.safetensors runs/new

A photograph becomes the scene that a camera of `lpr.synth --hardness` looks at (--camera hard wide): real paint, dirt
and light, the generator's optics, sensor and codec; or those of other_cameras.py, in turn (--camera other). The plate
is taken to fill the crop but for a margin, and is made as bright as a drawn one, since the camera draws its own
exposure. The tracks lie in DIR/NAME-hard afterwards, to be looked at with sheet.py; DIR/table.md holds the table and
DIR/readings.csv every reading. Folders of tracks are read as they are.

--reader rapidocr adds an off-the-shelf reader (see gauge.py), its frames joined by a vote that its scores weigh.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lpr.data.scan import scan
from lpr.files import write_text
from lpr.formats import load_formats
from lpr.plates.camera import photograph
from lpr.plates.hardness import LEVELS, draw_track, level
from lpr.plates.scene import MARGIN_MM, Scene, scene_of
from lpr.report.metrics import Estimate, character_accuracy, wilson
from lpr.types import InputError, Track, UsageError

Image = NDArray[np.uint8]
ReadTracks = Callable[[Sequence[Track]], Iterable[str]]

DEFAULT_FORMATS = ("brazilian", "mercosur")
#: What of a crop's width and height lies outside the plate on each side; judged on photographs cut out by detectors.
MARGIN = (0.06, 0.12)
PLATE_WIDTH_MM = 400
#: 90th percentile of a drawn plate's brightness, grey levels: the median over plates of `hard`, both formats.
BRIGHT = 200
#: The six cameras of other_cameras.py, in turn.
OTHER = "other"
#: Quality of a test set's files (plates/write.py).
QUALITY = 92


@dataclass(frozen=True, slots=True)
class Group:
    """What one row of the table reads: labelled tracks, and the formats that they may show."""

    name: str
    seen: str
    tracks: tuple[Track, ...]
    formats: tuple[str, ...]


def scene_from(photo: Image) -> Scene:
    """The scene that a crop, uint8 (H, W, 3) RGB, shows: its plate PLATE_WIDTH_MM wide and as bright as a drawn one."""
    h, w = photo.shape[:2]
    x, y = round(MARGIN[0] * w), round(MARGIN[1] * h)
    plate = photo[y : h - y, x : w - x]
    bright = float(np.percentile(cv2.cvtColor(plate, cv2.COLOR_RGB2GRAY), 90))
    # Both the scene's tone curve and its inverse are powers, so a gain of the light is one of the grey levels.
    lit = np.clip(photo.astype(np.float32) * (BRIGHT / max(bright, 1)), 0, 255).astype(np.uint8)
    per_px = PLATE_WIDTH_MM / plate.shape[1]
    plate_mm = (PLATE_WIDTH_MM, round(plate.shape[0] * per_px))
    inside = (plate_mm[0] + 2 * round(x * per_px), plate_mm[1] + 2 * round(y * per_px))
    method = cv2.INTER_CUBIC if per_px > 1 else cv2.INTER_AREA
    lit = cv2.resize(lit, inside, interpolation=method)
    mx, my = MARGIN_MM[0] - (inside[0] - plate_mm[0]) // 2, MARGIN_MM[1] - (inside[1] - plate_mm[1]) // 2
    wide = cv2.copyMakeBorder(lit, my, my, mx, mx, cv2.BORDER_REPLICATE)
    # Repeated border pixels are streaks, which no car has.
    wide = cv2.GaussianBlur(wide, (0, 0), 12)
    wide[my : my + inside[1], mx : mx + inside[0]] = lit
    return scene_of(np.asarray(wide, np.uint8), plate_mm)


def seen_by(camera: str, scene: Scene, number: int, rng: np.random.Generator) -> tuple[str, list[Image]]:
    """Five frames; of the other cameras that whose turn it is at `number` takes them (its name behind a hyphen)."""
    if camera != OTHER:
        track, frames = draw_track(rng, "B", level(camera), hr=False)
        return "", [image for image, _ in photograph(scene, track, frames)]
    from other_cameras import CAMERAS

    name = list(CAMERAS)[number % len(CAMERAS)]
    return f"-{name}", CAMERAS[name](scene, rng)


def through_camera(tracks: Sequence[Track], camera: str, out: Path, draws: int, seed: int) -> Path:
    """Write `draws` tracks of each photograph below `out`: ID_N/lr-00i.jpg and labels.csv; returns `out`.

    What an earlier call left there goes first: tracks that it alone made would count as misread.
    """
    if (out / "labels.csv").is_file():
        shutil.rmtree(out)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("path", "text"))
    for turn, track in enumerate(tracks):
        photo = cv2.imread(str(track.lr[0].path), cv2.IMREAD_COLOR)
        if photo is None:
            raise InputError("cannot be read", where=track.lr[0].path)
        scene = scene_from(np.asarray(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB), np.uint8))
        for number in range(1, draws + 1):
            rng = np.random.default_rng([seed, number, zlib.crc32(track.id.encode())])
            name, images = seen_by(camera, scene, turn + number, rng)
            folder = out / f"{track.id}_{number}{name}"
            folder.mkdir(parents=True, exist_ok=True)
            for i, image in enumerate(images, 1):
                path = folder / f"lr-{i:03d}.jpg"
                cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
                writer.writerow((f"{folder.name}/{path.name}", track.text))
    write_text(out / "labels.csv", table.getvalue())
    return out


def groups(given: str, out: Path, cameras: Sequence[str], draws: int, seed: int) -> list[Group]:
    """The rows that FOLDER or FOLDER=FORMAT,FORMAT stands for; tracks whose text obeys no format are left out."""
    path, _, names = given.partition("=")
    formats = tuple(names.split(",")) if names else DEFAULT_FORMATS
    templates = load_formats(formats)
    name = Path(path).resolve().name
    found = [track for track in scan(Path(path)).tracks if track.text and track.lr]
    kept = [track for track in found if any(one.matches(track.text or "") for one in templates)]
    if not kept:
        raise InputError(f"holds no labelled plate of {' or '.join(formats)}", where=path, fix="name it: FOLDER=FORMAT")
    if len(found) > len(kept):
        print(f"{name}: {len(found) - len(kept)} plates left out, their texts obey no format", file=sys.stderr)
    rows = [Group(name, "as they are", tuple(kept), formats)]
    if all(len(track.lr) == 1 for track in kept):
        for camera in cameras:
            made = through_camera(kept, camera, out / f"{name}-{camera}", draws, seed)
            seen = "through other cameras" if camera == OTHER else f"through the camera of `{camera}`"
            seen += f", {draws} draws"
            rows.append(Group(name, seen, tuple(scan(made).tracks), formats))
    return rows


def checkpoint_reader(checkpoint: Path, formats: Sequence[str]) -> ReadTracks:
    """Reads with a checkpoint, its alphabet held to the templates of `formats`."""
    from lpr.reader import Reader

    reader = Reader(checkpoint, format=formats)
    return lambda tracks: (prediction.text for prediction in reader.read_tracks(tracks))


def off_the_shelf() -> ReadTracks:
    """Reads every LR frame with gauge.py's reader; the text with the largest sum of scores wins."""
    from gauge import load_reader

    read = load_reader()

    def vote(track: Track) -> str:
        scores: dict[str, float] = defaultdict(float)
        for frame in track.lr:
            text, score = read(np.asarray(cv2.imread(str(frame.path), cv2.IMREAD_COLOR), np.uint8))
            if text:
                scores[text] += score
        return max(scores, key=lambda text: scores[text], default="")

    return lambda tracks: map(vote, tracks)


def share(texts: Sequence[str], right: Sequence[float], of: Sequence[int]) -> Estimate:
    """right / of over all readings with Wilson's interval for as many as there are independent ones.

    Draws of one plate, and characters of one reading, are right or wrong together: the number is that at which
    independent readings would vary as the plates do (p (1 - p) / variance), between the plates and all readings.
    """
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for text, r, n in zip(texts, right, of, strict=True):
        sums[text][0] += r
        sums[text][1] += n
    total, plates = sum(of), len(sums)
    value = sum(right) / total
    spread = sum((r - value * n) ** 2 for r, n in sums.values()) / total**2 * plates / max(plates - 1, 1)
    independent = value * (1 - value) / spread if spread > 0 else plates
    n = min(max(independent, plates), total)
    # The formula takes fractions as it takes counts.
    return wilson(value * n, n)  # type: ignore[arg-type]


def misread(pairs: Sequence[tuple[str, str]], most: int = 3) -> str:
    """The characters misread most in (truth, reading) pairs of equal length, and as what: `8 (34 of 68: 9, 6)`."""
    seen: Counter[str] = Counter()
    wrong: dict[str, Counter[str]] = defaultdict(Counter)
    for truth, text in pairs:
        if len(truth) == len(text):
            seen.update(truth)
            for a, b in zip(truth, text, strict=True):
                if a != b:
                    wrong[a][b] += 1
    worst = sorted(wrong, key=lambda c: (-wrong[c].total(), c))[:most]
    return ", ".join(
        f"{c} ({wrong[c].total()} of {seen[c]}: {', '.join(b for b, _ in wrong[c].most_common(2))})" for c in worst
    )


def percent(estimate: Estimate) -> str:
    """`value (low-high)` in %."""
    return "{:.1f} ({:.1f}–{:.1f})".format(*(100 * x for x in (estimate.value, estimate.low, estimate.high)))


def main() -> None:
    """Make the tracks, read them with every reader, write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="FOLDER[=FORMAT,...]", help="default: brazilian,mercosur")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, nargs="+", help="default: the weights shipped for Brazil")
    parser.add_argument("--reader", choices=("rapidocr",), help="an off-the-shelf reader beside them")
    parser.add_argument("--camera", choices=(*LEVELS, OTHER), nargs="+", default=["hard"], help="default: hard")
    parser.add_argument("--draws", type=int, default=4, help="tracks of a photograph")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    names = [Path(given.partition("=")[0]).resolve().name for given in args.folders]
    if len(set(names)) < len(names):
        parser.error(f"two folders have one name: {', '.join(names)}")
    if args.draws < 1:
        parser.error(f"--draws must be at least 1, not {args.draws}")
    try:
        run(args)
    except (InputError, UsageError) as error:
        sys.exit(f"error: {error}")


def run(args: argparse.Namespace) -> None:
    """Print the table row by row, then store it and the readings."""
    from lpr.reader import SHIPPED_WEIGHTS

    checkpoints = args.checkpoint or [SHIPPED_WEIGHTS / "brazil.safetensors"]
    if OTHER in args.camera:
        from other_cameras import require_codecs

        require_codecs()
    vote = off_the_shelf() if args.reader else None
    names = [*map(label, checkpoints), *([args.reader] if args.reader else [])]
    # A row costs minutes where folders are large, so each is printed as it is done.
    columns = " | ".join(f"{name}: exact, % | characters, % | misread most" for name in names)
    lines = [f"| plates | seen | formats | n | {columns} |"]
    lines.append("|---|---|---|--:|" + "--:|--:|---|" * len(names))
    print("\n".join(lines), flush=True)
    readings = io.StringIO()
    writer = csv.writer(readings, lineterminator="\n")
    writer.writerow(("plates", "seen", "track_id", "truth", "reader", "text"))
    for group in (row for given in args.folders for row in groups(given, args.out, args.camera, args.draws, args.seed)):
        truth = [track.text or "" for track in group.tracks]
        readers = [checkpoint_reader(path, group.formats) for path in checkpoints] + ([vote] if vote else [])
        cells = []
        for name, read in zip(names, readers, strict=True):
            texts = list(read(group.tracks))
            for track, text in zip(group.tracks, texts, strict=True):
                writer.writerow((group.name, group.seen, track.id, track.text, name, text))
            pairs = list(zip(truth, texts, strict=True))
            cells.append(percent(share(truth, [float(a == b) for a, b in pairs], [1] * len(pairs))))
            letters = [len(a) for a in truth]
            right = [character_accuracy(a, b) * n for (a, b), n in zip(pairs, letters, strict=True)]
            cells.append(percent(share(truth, right, letters)))
            cells.append(misread(pairs))
        formats = ", ".join(group.formats)
        lines.append(f"| {group.name} | {group.seen} | {formats} | {len(truth)} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    write_text(args.out / "readings.csv", readings.getvalue())
    write_text(args.out / "table.md", "\n".join(lines) + "\n")


def label(checkpoint: Path) -> str:
    """The run's name, or the file's."""
    own = checkpoint.name in ("best", "model.safetensors", "last.pt")
    return label(checkpoint.parent) if own else checkpoint.stem


if __name__ == "__main__":
    main()
