"""Six cameras that share no code with the generator's, to see what a network reads that it was not trained for.

`carry_over.py --camera other` looks at photographs through them. Each has its own order of lens, sensor, processing
and codec, and draws its settings once a track; H.264 and HEVC are real ones, of the package av. A frame shows a plate
34 to 57 px wide, most characters 6 to 9 px high.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lpr.plates.scene import MARGIN_MM, Scene
from lpr.types import InputError

Image = NDArray[np.uint8]
Linear = NDArray[np.float32]
Pose = NDArray[np.float64]
Size = tuple[int, int]

FRAMES = 5
#: The level of a scene that is looked at, 2**-1 px/mm: about as fine as the finest picture taken of it.
_LEVEL = 1
_DISTANCE_MM = 3000.0
_TO_LINEAR = ((np.arange(256, dtype=np.float32) / 255) ** 2.2).astype(np.float32)


def pose(width: float, centre: Sequence[float], roll: float, yaw: float, pitch: float, shear: float = 0.0) -> Pose:
    """The 3x3 homography from mm on the plate, its middle at 0, to px; angles in degrees, `width`: of the plate, px."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    turn = about_z @ about_x @ about_y
    outside = np.stack([turn[:, 0], turn[:, 1], np.array([0, 0, _DISTANCE_MM])], 1)
    focal = width / 400 * _DISTANCE_MM
    inside = np.array([[focal, focal * np.tan(np.radians(shear)), 0], [0, focal, 0], [0, 0, 1]])
    return np.asarray(np.array([[1, 0, centre[0]], [0, 1, centre[1]], [0, 0, 1.0]]) @ inside @ outside)


def approach(
    rng: np.random.Generator, frames: int, width: tuple[float, float], size: Size, speed: float = 1.5, roll: float = 4
) -> tuple[list[Pose], NDArray[np.float64]]:
    """Poses of a car that comes nearer and slides through the picture, and its way a frame, px (x, y)."""
    first, growth = rng.uniform(*width), rng.uniform(0.02, 0.11)
    tilt, yaw, pitch, shear = rng.normal(0, roll / 2), rng.uniform(-14, 14), rng.uniform(0, 18), rng.normal(0, 1.5)
    way = rng.normal((0, speed * 0.6), speed)
    start = np.array(size) / 2 - way * (frames - 1) / 2 + rng.uniform(-0.5, 0.5, 2)
    poses = []
    for i in range(frames):
        t, centre = i / (frames - 1), start + way * i + rng.normal(0, 0.25, 2)
        turned = tilt + rng.normal(0, 0.5), yaw + rng.normal(0, 0.8) + 2 * t, pitch
        poses.append(pose(first * (1 + growth * t), centre, *turned, shear))
    return poses, way


def look(scene: Scene, at: Pose, size: Size, fine: int) -> Linear:
    """The scene in linear light, float32 (h, w, 3) RGB, `fine` times as large as `size` (w, h)."""
    (w, h), (mx, my), step = scene.plate_mm, MARGIN_MM, 2**_LEVEL
    to_plate = np.array([[step, 0, (step - 1) / 2 - mx - w / 2], [0, step, (step - 1) / 2 - my - h / 2], [0, 0, 1]])
    zoom = np.array([[fine, 0, (fine - 1) / 2], [0, fine, (fine - 1) / 2], [0, 0, 1]])
    whole = (size[0] * fine, size[1] * fine)
    seen = cv2.warpPerspective(scene.levels[_LEVEL], zoom @ at @ to_plate, whole, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.LUT(seen, _TO_LINEAR), np.float32)


def box(
    scene: Scene, at: Pose, loose: Sequence[float], jitter: float, rng: np.random.Generator, size: Size
) -> list[int]:
    """Left, top, right, bottom of a crop; `loose`: its margins there, as shares of the plate's width and height."""
    w, h = scene.plate_mm
    points = at @ np.array([[-w, w, w, -w], [-h, -h, h, h], [2, 2, 2, 2]]) / 2
    (x0, y0), (x1, y1) = (edge(points[:2] / points[2], axis=1) for edge in (np.min, np.max))
    left, top, right, bottom = loose * np.array([x1 - x0, y1 - y0] * 2) + rng.normal(0, jitter, 4) * (-1, -1, 1, 1)
    return [
        max(round(x0 - left), 0), max(round(y0 - top), 0),
        min(round(x1 + right), size[0]), min(round(y1 + bottom), size[1]),
    ]  # fmt: skip


def crops(scene: Scene, pictures: Sequence[Image], poses: Sequence[Pose], rng: np.random.Generator) -> list[Image]:
    """The last FRAMES pictures, cut out with the margins of a usual detector."""
    loose, found = rng.uniform([0.03, 0.06] * 2, [0.14, 0.30] * 2), []
    for picture, at in zip(pictures[-FRAMES:], poses[-FRAMES:], strict=True):
        x0, y0, x1, y1 = box(scene, at, loose, 0.6, rng, picture.shape[1::-1])
        found.append(picture[y0:y1, x0:x1])
    return found


def shrink(light: Linear, fine: int) -> Linear:
    """What a sensor `fine` times as coarse collects."""
    size = (light.shape[1] // fine, light.shape[0] // fine)
    return np.asarray(cv2.resize(light, size, interpolation=cv2.INTER_AREA), np.float32)


def blur(light: Linear, sigma: float) -> Linear:
    """A round blur, sigma in px of `light`."""
    return np.asarray(cv2.GaussianBlur(light, (0, 0), sigma), np.float32)


def noise(light: Linear, shot: float, read: float, rng: np.random.Generator) -> Linear:
    """Photons (variance `shot` a unit of light) and electronics (deviation `read`)."""
    deviation = np.sqrt(np.clip(light, 0, None) * shot + read * read)
    return np.asarray(light + rng.standard_normal(light.shape, np.float32) * deviation, np.float32)


def coded(light: Linear) -> Linear:
    """Linear light as grey levels, 0 to 255."""
    return np.asarray(np.clip(light, 0, 1) ** (1 / 2.2) * 255, np.float32)


def rounded(picture: NDArray[Any]) -> Image:
    """Grey levels as uint8."""
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def unsharp(picture: Linear, sigma: float, amount: float) -> Linear:
    """The unsharp mask of each colour."""
    return np.asarray(picture + amount * (picture - cv2.GaussianBlur(picture, (0, 0), sigma)), np.float32)


def jpeg(picture: Image, quality: int) -> Image:
    """JPEG with halved colours, and back."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def video(pictures: Sequence[Image], codec: str, options: dict[str, str], bit_rate: int = 0) -> list[Image]:
    """One stream of all pictures, (H, W, 3) with even sides, and back."""
    import av

    data = io.BytesIO()
    with av.open(data, "w", format="matroska") as out:
        stream: Any = out.add_stream(codec, rate=15)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.options, stream.codec_context.thread_count = "yuv420p", options, 1
        if bit_rate:
            stream.bit_rate = bit_rate
        for picture in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    data.seek(0)
    with av.open(data) as source:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in source.decode(video=0)]


def h264(scene: Scene, rng: np.random.Generator) -> list[Image]:
    """Mild sharpening, then H.264 of the whole moving picture at a low rate."""
    size, fine = (160, 96), 3
    poses, _ = approach(rng, 8, (34, 47), size, speed=2.2)
    lens, exposure, sharpen = rng.uniform(0.35, 0.78), rng.uniform(0.5, 1.2), rng.uniform(0, 1.2)
    shot, read = rng.uniform(0.0005, 0.004), rng.uniform(0.002, 0.012)
    pictures = []
    for at in poses:
        light = shrink(blur(look(scene, at, size, fine), lens * fine), fine) * (exposure * rng.uniform(0.95, 1.05))
        pictures.append(rounded(unsharp(coded(noise(light, shot, read, rng)), 0.9, sharpen)))
    options = {"crf": f"{rng.uniform(28, 36):.1f}", "preset": str(rng.choice(["veryfast", "faster", "medium"]))}
    options |= {"tune": "zerolatency", "g": str(rng.integers(4, 30)), "x264-params": "log-level=none:sliced-threads=0"}
    return crops(scene, video(pictures, "libx264", options), poses, rng)


def bayer(scene: Scene, rng: np.random.Generator) -> list[Image]:
    """One chip: mosaic and demosaic at the final resolution, white balance, hard sharpening, JPEG."""
    size, fine = (96, 56), 3
    poses, _ = approach(rng, FRAMES, (34, 47), size)
    lens, exposure = rng.uniform(0.4, 0.85), rng.uniform(0.35, 1.15)
    balance, cast = (
        np.array([rng.uniform(a, b), 1, rng.uniform(a, b)], np.float32) for a, b in ((0.75, 1.3), (0.88, 1.15))
    )
    shot, read = rng.uniform(0.001, 0.006), rng.uniform(0.003, 0.015)
    method = int(rng.choice([cv2.COLOR_BayerBG2RGB, cv2.COLOR_BayerBG2RGB_EA, cv2.COLOR_BayerBG2RGB_VNG]))
    amount, sigma, quality = rng.uniform(0.8, 2.4), rng.uniform(0.7, 1.2), int(rng.integers(26, 60))
    pictures = []
    for at in poses:
        light = (
            shrink(blur(look(scene, at, size, fine), lens * fine), fine)
            * (exposure * rng.uniform(0.93, 1.07))
            / balance
        )
        seen = light[..., 1].copy()
        seen[0::2, 0::2], seen[1::2, 1::2] = light[0::2, 0::2, 0], light[1::2, 1::2, 2]
        # Eight bits on a square-root curve are what leaves the chip.
        raw = rounded(np.clip(noise(seen, shot, read, rng), 0, 1) ** 0.5 * 255)
        full = (cv2.cvtColor(raw, method).astype(np.float32) / 255) ** 2 * balance * cast
        pictures.append(jpeg(rounded(unsharp(coded(full), sigma, amount)), quality))
    return crops(scene, pictures, poses, rng)


def night(scene: Scene, rng: np.random.Generator) -> list[Image]:
    """Infra-red: headlight fall-off, smear, few photons, coarse steps then gain, crushed tones, ghosts, HEVC."""
    size, fine = (128, 80), 3
    poses, way = approach(rng, 7, (37, 50), size, speed=1.8)
    sees = rng.dirichlet([4, 6, 5]).astype(np.float32)
    lens, level, smear = rng.uniform(0.35, 0.65), rng.uniform(0.05, 0.22), rng.uniform(0.6, 2.6) * fine
    along = np.arctan2(way[1], way[0]) + rng.normal(0, 0.3) if rng.random() < 0.6 else rng.normal(0, 0.25)
    shot, read, steps = rng.uniform(0.0012, 0.0045), rng.uniform(0.003, 0.009), int(rng.integers(56, 150))
    keep = rng.uniform(0, 0.4) * (rng.random() < 0.6)
    black, gamma, white = rng.uniform(0, 0.16), rng.uniform(1.6, 2.6), rng.uniform(70, 190)
    x, y = (
        np.linspace(-1, 1, size[0] * fine)[None] - rng.uniform(-0.3, 0.3),
        np.linspace(-1, 1, size[1] * fine)[:, None],
    )
    lamp = np.exp(-(x**2 + y**2) * rng.uniform(0.2, 1.2)).astype(np.float32)
    last: Linear | None = None
    pictures = []
    for at in poses:
        length = smear * rng.uniform(0.85, 1.15)
        reach = int(np.ceil(length / 2)) + 1
        kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
        path = np.linspace(-length / 2, length / 2, 41)
        cells = tuple(np.rint(reach + path * part(along)).astype(int) for part in (np.sin, np.cos))
        np.add.at(kernel, cells, 1)
        light = cv2.filter2D(blur((look(scene, at, size, fine) @ sees) * lamp, lens * fine), -1, kernel / kernel.sum())
        light = light + 0.06 * cv2.GaussianBlur(light, (0, 0), 4 * fine)
        light = noise(shrink(light, fine) * (level * rng.uniform(0.9, 1.1)), shot * level, read * level**0.5, rng)
        light = np.rint(np.clip(light / level, 0, 1.6) * steps) / steps
        grey = (np.clip(light - black, 0, None) / (1 - black)) ** (1 / gamma) * white
        last = grey if last is None else grey * (1 - keep) + last * keep
        pictures.append(np.repeat(rounded(last)[..., None], 3, 2))
    options = {"crf": f"{rng.uniform(24, 31):.1f}", "preset": "ultrafast"}
    options["x265-params"] = "log-level=none:pools=none:frame-threads=1:bframes=0"
    return crops(scene, video(pictures, "libx265", options), poses, rng)


def haze(scene: Scene, rng: np.random.Generator) -> list[Image]:
    """Too much light: a veil, wide bloom, hunting exposure with a hard or soft shoulder, a spot of glare, JPEG."""
    size, fine = (96, 56), 3
    poses, _ = approach(rng, FRAMES, (37, 52), size)
    lens, bloom, veil = rng.uniform(0.45, 0.85), rng.uniform(0.05, 0.25), rng.uniform(0.25, 0.66)
    air = np.array([rng.uniform(0.8, 1.05), 0.95, rng.uniform(0.85, 1.1)], np.float32) * np.float32(0.55)
    exposure, hunting, soft = rng.uniform(0.9, 2.0), rng.uniform(0.03, 0.24), rng.random() < 0.5
    shot, quality, colour, sharpen = (
        rng.uniform(0.0003, 0.0015),
        int(rng.integers(52, 84)),
        rng.uniform(0.5, 1),
        rng.uniform(0, 0.9),
    )
    spot, start, drift = rng.random() < 0.45, rng.uniform((-160, -50), (160, 30)), rng.uniform(-60, 60)
    power, width = rng.uniform(0.3, 0.9), rng.uniform(25, 60) * 0.12 * fine
    pictures = []
    for i, at in enumerate(poses):
        light = look(scene, at, size, fine)
        if spot:
            x, y, depth = at @ (start[0] + drift * i, start[1], 1)
            across = np.exp(-((np.arange(light.shape[1]) - x / depth * fine) ** 2) / 8 / width**2)
            down = np.exp(-((np.arange(light.shape[0]) - y / depth * fine) ** 2) / 2 / width**2)
            light = light + (power * np.outer(down, across)).astype(np.float32)[..., None]
        light = shrink(blur(light, lens * fine), fine)
        light = (light * (1 - bloom) + blur(light, 4) * bloom) * (1 - veil) + veil * air
        light = noise(light * np.float32(exposure * np.exp(rng.normal(0, hunting))), shot, 0.003, rng)
        picture = coded(1 - np.exp(-1.25 * np.clip(light, 0, None)) if soft else light)
        picture = picture.mean(2, keepdims=True) * (1 - colour) + picture * colour
        pictures.append(jpeg(rounded(unsharp(picture, 1.0, sharpen)), quality))
    return crops(scene, pictures, poses, rng)


def analogue(scene: Scene, rng: np.random.Generator) -> list[Image]:
    """Composite video: two fields in time, a band limit that rings, smeared late colour, jitter, MPEG-4 or JPEG."""
    size, fine = (112, 72), 4
    mode = str(rng.choice(["woven", "turns", "doubled"], p=[0.4, 0.4, 0.2]))
    widths = {"woven": (36, 48), "turns": (41, 54), "doubled": (46, 57)}[mode]
    poses, _ = approach(rng, FRAMES, widths, size, speed=1.0, roll=3)
    comb = rng.uniform(0, 0.9) * (rng.random() < 0.7)
    band, peaking, smear, late = (
        rng.uniform(0.22, 0.38),
        rng.uniform(0, 0.8),
        rng.uniform(1.5, 3.5),
        rng.uniform(-1.5, 2.5),
    )
    sigma, streak, jitter, delay = (
        rng.uniform(1.5, 7),
        rng.uniform(0.4, 1.5),
        rng.uniform(0, 0.35),
        rng.uniform(1.5, 3.5),
    )
    setup, gain, exposure, colour = (
        rng.uniform(0, 28),
        rng.uniform(0.65, 1.02),
        rng.uniform(0.5, 1.1),
        rng.uniform(0.3, 1.1),
    )
    # A line has two samples a pixel; the filter is cut off where it still rings.
    t = np.arange(-14, 15) / 2
    low_pass = np.sinc(2 * band * t) * np.kaiser(len(t), 1.5)
    low_pass = (low_pass / low_pass.sum()).astype(np.float32)[None]
    pictures = []
    for i, at in enumerate(poses):
        fields = []
        for later in (0, 1):
            moved = np.array([[1, 0, comb * later], [0, 1, comb * 0.15 * later], [0, 0, 1.0]]) @ at
            light = blur(look(scene, moved, size, fine), 0.35 * fine) * np.float32(exposure)
            line = coded(cv2.resize(light, (2 * size[0], size[1]), interpolation=cv2.INTER_AREA))
            fields.append(cv2.cvtColor(line / 255, cv2.COLOR_RGB2YCrCb))
        both = fields[0].copy()
        both[1::2] = fields[1][1::2]
        for row in both:
            row[:] = np.roll(row, round(rng.normal(0, jitter * 2)), 0)
        grain = cv2.GaussianBlur(
            rng.standard_normal(both.shape[:2], np.float32), (0, 0), sigmaX=streak * 2, sigmaY=0.01
        )
        bright = cv2.filter2D(
            both[..., 0] * 255 + grain * (sigma / grain.std()), -1, low_pass, borderType=cv2.BORDER_REPLICATE
        )
        bright = bright + peaking * (bright - cv2.GaussianBlur(bright, (0, 0), sigmaX=delay, sigmaY=0.01))
        tint = np.roll(cv2.GaussianBlur(both[..., 1:], (0, 0), sigmaX=smear * 2, sigmaY=0.01), round(late * 2), 1)
        whole = np.dstack([np.clip(bright * gain + setup, 0, 255) / 255, (tint - 0.5) * colour + 0.5]).astype(
            np.float32
        )
        if mode == "doubled":
            whole = np.repeat(whole[::2], 2, 0)
        elif mode == "turns":
            parity = i % 2
            place = np.array([[1, 0, 0], [0, 2, parity]], float)
            whole = cv2.warpAffine(whole[parity::2], place, whole.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        picture = cv2.cvtColor(whole, cv2.COLOR_YCrCb2RGB) * 255
        pictures.append(rounded(cv2.resize(picture, size, interpolation=cv2.INTER_AREA)))
    if rng.random() < 0.5:
        options = {"g": "12", "qmin": "3", "qmax": str(rng.integers(5, 10))}
        pictures = video(pictures, "mpeg4", options, bit_rate=int(rng.uniform(250e3, 600e3)))
    else:
        quality = int(rng.integers(38, 72))
        pictures = [jpeg(picture, quality) for picture in pictures]
    return crops(scene, pictures, poses, rng)


def careless(scene: Scene, rng: np.random.Generator) -> list[Image]:
    """A camera mounted askew, boxes that are loose, cut the plate or miss it, a crude resize, a JPEG each."""
    size, zoom = (132, 104), rng.uniform(1.25, 2.3)
    large = (round(size[0] * zoom), round(size[1] * zoom))
    first, growth = rng.uniform(36, 51), rng.uniform(0.02, 0.12)
    roll, yaw, pitch, shear = rng.uniform((-12, -38, -10, -7), (12, 38, 28, 7))
    lens, nearest = rng.uniform(0.45, 0.85), rng.random() < 0.45
    exposure, contrast, sigma, quality = (
        rng.uniform(0.45, 1.15),
        rng.uniform(0.6, 1.1),
        rng.uniform(1, 6),
        int(rng.integers(38, 80)),
    )
    style = rng.choice(["loose", "cut", "missed"])
    loose = {
        "loose": rng.uniform(0.10, 0.28, 4) * (1, 2, 1, 2),
        "cut": rng.uniform(-0.045, 0.01, 4) * (1, 2.2, 1, 2),
        "missed": rng.uniform((-0.04, 0, 0.05, 0), (0.05, 0.5, 0.3, 0.5)),
    }[str(style)]
    if rng.random() < 0.5:
        loose = loose[[2, 1, 0, 3]]
    found = []
    for i in range(FRAMES):
        turned = roll + rng.normal(0, 1.0), yaw + rng.normal(0, 1.5), pitch
        at = pose(first * (1 + growth * i / 4), np.array(size) / 2 + rng.uniform(-2, 2, 2), *turned, shear)
        light = blur(look(scene, np.diag([zoom, zoom, 1]) @ at, large, 2), lens * zoom * (1.5 if nearest else 2))
        picture = coded(shrink(light, 2) * np.float32(exposure * rng.uniform(0.92, 1.08)))
        picture = (picture - 128) * np.float32(contrast) + 128 + rng.standard_normal(picture.shape, np.float32) * sigma
        x0, y0, x1, y1 = box(scene, at, loose, 0.5 if style == "cut" else 0.9, rng, size)
        cut = rounded(picture[round(y0 * zoom) : round(y1 * zoom), round(x0 * zoom) : round(x1 * zoom)])
        method = cv2.INTER_NEAREST if nearest else cv2.INTER_CUBIC
        found.append(jpeg(np.asarray(cv2.resize(cut, (x1 - x0, y1 - y0), interpolation=method), np.uint8), quality))
    return found


CAMERAS: dict[str, Callable[[Scene, np.random.Generator], list[Image]]] = {
    "h264": h264, "bayer": bayer, "night": night, "haze": haze, "analogue": analogue, "careless": careless,
}  # fmt: skip


def require_codecs() -> None:
    """InputError where the package that codes their videos is missing."""
    if find_spec("av") is None:
        raise InputError("the other cameras need the package av", fix="pip install av, or leave out --camera other")
