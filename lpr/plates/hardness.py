"""How hard a track is: the levels as one table, and the draws made from them.

What is fixed for a track (the car, the light, the camera) stands in `TrackDraws`, what varies by frame (hand of
the annotator, vibration, exposure control) in `FrameDraws`. Both are stored with the track.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np

from ..types import InputError
from .glyphs import LATEST

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Hardness:
    """One level. Pairs are ranges of a uniform draw; `_px` are pixels of the frame as written; stops are powers of 2.

    blur_px: sigma of the lens, per track. motion_px: length of the smear, per frame. noise: standard deviation
    of the sensor at full well / 1 (linear light), per track. sharpen: amount of the unsharp mask, halo_px: its sigma.
    quality: JPEG quality of the codec. native: camera pixels per written pixel before the final resize.
    dark, blown, night, rain, glare: shares of tracks (night and rain in Scenario B only). jump_stops: standard
    deviation of a frame's exposure. tilt_deg: standard deviation of a frame's own tilt. shift_px: of its crop.
    ghost: largest weight of a displaced copy (double edges), ghost_px its largest distance.
    exposure: mean and standard deviation of the stops of ordinary tracks. near_jump multiplies the exposure jumps of
    HR frames, near_lift is the share of their darkness that very dark tracks lose on the way to the camera, near_blur
    and near_sharpen (None: not at all) multiply blur and unsharp mask of HR frames. dark_noise multiplies the noise
    of very dark tracks, which cameras smooth. black: share of the tone curve that is crushed. fill: share of the
    crop's width that the plate takes: mean, standard deviation, least and most. cast: standard deviation of the light's
    warmth by day. worn: plates get bolts, frames, stickers, wear and reflections (wear.py) and
    the car its details (body.py). veil: range of the white that glare lays over everything. most_stops: exposure
    above the right one at which black characters still leave a grey trace.
    luma_sharpen: the unsharp mask leaves colours alone, as in cameras that work on brightness and colour apart.
    mosaic, analogue, nearest: shares of tracks whose camera has one chip under a colour mosaic, sends interlaced
    lines of narrow band, or whose last resize takes the nearest pixel. tall: the crops' height against the usual one,
    per track.
    edition: of the typefaces (glyphs.Face); from 2 on small prints are fainter too, and tracks show the car close by.
    generator: raised when a change makes other pictures from the same seed, so that a half-made set is not mixed.
    """

    generator: int
    edition: int
    worn: bool

    blur_px: Range
    motion_px: Range
    noise: Range
    sharpen: Range
    halo_px: Range
    quality: Range
    native: Range
    dark: float
    blown: float
    night: float
    rain: float
    glare: float
    jump_stops: float
    jump_share: float
    tilt_deg: float
    shift_px: float
    ghost: float
    ghost_px: float
    yaw_deg: float
    roll_deg: float
    exposure: Range
    near_jump: float
    near_lift: float
    near_blur: Range
    near_sharpen: float | None
    dark_noise: float
    black: Range
    fill: tuple[float, float, float, float]
    cast: float
    veil: Range
    most_stops: float
    luma_sharpen: bool = False
    mosaic: float = 0.0
    analogue: float = 0.0
    nearest: float = 0.0
    tall: Range = (1.0, 1.0)


LEVELS = {
    # A person reads most LR frames. Demo and tests keep this level for ever.
    "easy": Hardness(
        generator=1, edition=0, worn=False,
        blur_px=(0.25, 0.5), motion_px=(0.0, 0.6), noise=(0.002, 0.010), sharpen=(0.2, 0.9), halo_px=(0.7, 1.1),
        quality=(70, 92), native=(1.0, 1.2), dark=0.03, blown=0.03, night=0.15, rain=0.1, glare=0.05,
        jump_stops=0.05, jump_share=0.02, tilt_deg=0.4, shift_px=0.4, ghost=0.0, ghost_px=0.0, yaw_deg=8, roll_deg=3,
        exposure=(0.0, 0.35), near_jump=1.0, near_lift=0.0, near_blur=(1.0, 2.2), near_sharpen=None, dark_noise=1.0,
        black=(0.0, 0.12), fill=(0.83, 0.03, 0.75, 0.90), cast=0.06,
        veil=(0.03, 0.2), most_stops=1.35,
    ),
    # The look of the nine real tracks in figures of the competition: one frame alone is often unreadable.
    "hard": Hardness(
        generator=2, edition=1, worn=True,
        blur_px=(0.60, 1.10), motion_px=(0.2, 1.6), noise=(0.002, 0.012), sharpen=(3.0, 8.0), halo_px=(0.8, 1.5),
        quality=(25, 65), native=(0.75, 1.15), dark=0.15, blown=0.12, night=0.3, rain=0.2, glare=0.06,
        jump_stops=0.045, jump_share=0.05, tilt_deg=1.1, shift_px=0.58, ghost=0.35, ghost_px=1.6, yaw_deg=20,
        roll_deg=6, exposure=(-0.5, 0.55), near_jump=0.2, near_lift=0.45, near_blur=(0.75, 1.5), near_sharpen=0.6,
        dark_noise=0.5, black=(0.06, 0.24), fill=(0.845, 0.03, 0.75, 0.90),
        cast=0.06, veil=(0.02, 0.12), most_stops=1.1,
    ),
    # Photographs by phone or gate camera, as in the folders of single plates: near, but at any angle.
    "photo": Hardness(
        generator=9, edition=LATEST, worn=True,
        blur_px=(0.3, 1.8), motion_px=(0.0, 2.0), noise=(0.001, 0.015), sharpen=(0.0, 1.5), halo_px=(0.8, 1.5),
        quality=(45, 95), native=(0.35, 1.1), dark=0.16, blown=0.05, night=0.0, rain=0.0, glare=0.05,
        jump_stops=0.0, jump_share=0.0, tilt_deg=1.0, shift_px=2.0, ghost=0.0, ghost_px=0.0, yaw_deg=40, roll_deg=8,
        near_jump=1.0, near_lift=0.0, near_blur=(1.0, 1.0), near_sharpen=None, dark_noise=1.0,
        exposure=(-0.3, 0.5), black=(0.0, 0.08), fill=(0.87, 0.06, 0.72, 0.98),
        cast=0.14, veil=(0.02, 0.15), most_stops=1.2,
    ),
}  # fmt: skip
# The competition's camera as we know it today; `hard` is frozen, typefaces included.
LEVELS["road"] = replace(
    LEVELS["hard"], generator=6, edition=LATEST, noise=(0.001, 0.005), tilt_deg=0.45, shift_px=0.55, roll_deg=2.5,
    blur_px=(0.4, 0.9), exposure=(-0.8, 0.6), near_blur=(0.7, 1.8), sharpen=(2.0, 6.0), luma_sharpen=True,
)  # fmt: skip
# Cameras of other makes beside it, for training: less or no sharpening, more noise, coarser and finer files, tighter
# and wider crops, steeper mounts, haze, sensors with a colour mosaic, interlaced lines.
LEVELS["wide"] = replace(
    LEVELS["hard"], generator=5, edition=LATEST,
    blur_px=(0.35, 1.1), noise=(0.002, 0.025), sharpen=(0.0, 4.0), quality=(12, 80), native=(0.65, 1.35),
    black=(0.0, 0.2), fill=(0.84, 0.07, 0.60, 1.04), tall=(0.85, 1.6), shift_px=1.0, roll_deg=10, glare=0.12,
    veil=(0.02, 0.3), mosaic=0.2, analogue=0.15, nearest=0.1,
)  # fmt: skip


def level(name: str) -> Hardness:
    """The level called `name`; an unknown name is an InputError that lists the known ones."""
    if name not in LEVELS:
        near = get_close_matches(name, LEVELS, 1)
        raise InputError(
            f"unknown hardness {name!r}" + (f", did you mean {near[0]!r}?" if near else ""),
            fix=f"known: {', '.join(LEVELS)}",
        )
    return LEVELS[name]


@dataclass(frozen=True, slots=True)
class TrackDraws:
    """What is fixed for a track.

    `light` multiplies linear light per channel, `stops` is the exposure beside the right one, `veil` the share of
    white that glare lays over everything, `shade` what a shadow takes away. `yaw_deg`, `pitch_deg`, `roll_deg`:
    the plate towards the camera when far. `near_blur` multiplies blur and smear of the near (HR) frames, which are
    out of the focus set for the far ones and move faster, `near_sharpen` their unsharp mask; `luma_sharpen`: it leaves
    colours alone. `mono` takes colour away, `gamma` bends and `black` crushes the tone curve; `toe` is the colour of
    the deepest black. `inv_step`: change of 1 / width per frame of the approaching car. `mosaic`: one chip under a
    colour mosaic. `analogue`: sigma of a line's blur, and how far odd lines, exposed half a frame later, show the plate
    beside the even ones, px. `nearest`: the last resize takes the nearest pixel.
    """

    scenario: str
    night: bool
    rain: bool
    light: tuple[float, float, float]
    stops: float
    veil: float
    shade: float
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    blur_px: float
    near_blur: float
    noise: float
    sharpen: float
    halo_px: float
    quality: int
    native: float
    mono: float
    gamma: float
    black: float
    toe: tuple[float, float, float]
    inv_step: float
    near_sharpen: float | None = None
    luma_sharpen: bool | None = None
    mosaic: bool | None = None
    analogue: tuple[float, float] | None = None
    nearest: bool | None = None


@dataclass(frozen=True, slots=True)
class FrameDraws:
    """What varies by frame.

    `width_px`, `height_px`: the crop as written. `plate_px`: projected width of the plate. `nearness` 0 at the
    first LR frame, 1 at hr-001. `shift_px`: centre of the plate beside the centre of the crop (x, y).
    `ghost`: weight and displacement (x, y px) of a second exposure. `grid`: offset of the codec's blocks, px.
    `seed` feeds noise and rain.
    """

    name: str
    width_px: int
    height_px: int
    plate_px: float
    nearness: float
    shift_px: tuple[float, float]
    tilt_deg: float
    stops: float
    motion_px: float
    motion_deg: float
    ghost: tuple[float, float, float]
    grid: tuple[int, int]
    seed: int


#: Degrees from which a plate is too foreshortened to be labelled.
_MOST_YAW = 45
#: Exposure below which a track counts as very dark.
_DARK = -2.0
#: Analogue cameras: sigma of the blur along a line, and the way between its two fields, px.
_BAND_PX, _COMB_PX = (0.3, 1.0), (-0.9, 0.9)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Crop widths in px of lr-005 and hr-001: median and sigma of the natural logarithm, smallest and largest.

    Aspect ratios are mean and standard deviation; `growth_px` is the mean from lr-001 to lr-005.
    """

    lr: tuple[float, float, float, float]
    hr: tuple[float, float, float, float]
    lr_aspect: tuple[float, float]
    hr_aspect: tuple[float, float]
    growth_px: float


#: Chosen so that the means over all frames are those of LRLPR-26 (a test compares them). The ends of a
#: track lie above its mean.
_SIZES = {
    "A": Sizes((46.0, 0.16, 24, 68), (86.0, 0.17, 50, 148), (2.25, 0.17), (2.35, 0.18), 3.7),
    "B": Sizes((48.5, 0.10, 35, 60), (138.0, 0.15, 55, 163), (2.85, 0.15), (2.85, 0.17), 2.4),
}


def draw_track(
    rng: np.random.Generator, scenario: str, hard: Hardness, *, hr: bool = True, sizes: Sizes | None = None
) -> tuple[TrackDraws, tuple[FrameDraws, ...]]:
    """Draw one track of `scenario` ("A" daylight, "B" day, night and rain): five LR frames, then five HR if wanted.

    `sizes` are the scenario's own unless given.
    """
    sizes = sizes or _SIZES[scenario]
    night = scenario == "B" and rng.random() < hard.night
    rain = scenario == "B" and rng.random() < hard.rain
    kind = rng.random()
    stops = rng.normal(*hard.exposure)
    if kind < hard.dark * (2 if night else 0.5):
        stops = rng.uniform(-4.2, -2.2)
    elif kind > 1 - hard.blown:
        stops = rng.uniform(0.8, hard.most_stops)
    warmth = rng.normal(0, 0.12 if night else hard.cast)
    # Dim light is skylight or a blue street lamp: dark frames of the competition lean to blue.
    blue = -float(rng.uniform(0.0, 0.35)) if night or stops < -1.0 else -float(rng.uniform(0.0, 0.08))
    # Widths at lr-005 and hr-001; 1 / width falls linearly with time for a car at constant speed.
    last = _lognormal(rng, sizes.lr)
    growth = max(0.4, rng.normal(sizes.growth_px, 0.45 * sizes.growth_px))
    step = (1 / max(last - growth, 8.0) - 1 / last) / 4
    near = max(_lognormal(rng, sizes.hr), last * 1.15)
    track = TrackDraws(
        scenario=scenario,
        night=night,
        rain=rain,
        light=_colour((1 + warmth + blue, 1 + 0.4 * blue, 1 - warmth - blue)),
        stops=round(float(stops), 3),
        veil=round(float(rng.uniform(*hard.veil)) if rng.random() < hard.glare else 0.0, 3),
        shade=round(float(rng.uniform(0.0, 0.5)) if rng.random() < 0.3 else 0.0, 3),
        yaw_deg=round(float(np.clip(rng.normal(0, hard.yaw_deg / 2), -_MOST_YAW, _MOST_YAW)), 2),
        pitch_deg=round(float(rng.uniform(2, 22)), 2),
        roll_deg=round(float(rng.normal(0, hard.roll_deg / 2)), 2),
        blur_px=_pick(rng, hard.blur_px),
        near_blur=_pick(rng, hard.near_blur),
        noise=round(_pick(rng, hard.noise) * (1.6 if night else 1.0) * (hard.dark_noise if stops < _DARK else 1.0), 4),
        sharpen=_pick(rng, hard.sharpen),
        halo_px=_pick(rng, hard.halo_px),
        quality=round(_pick(rng, hard.quality)),
        native=_pick(rng, hard.native),
        mono=round(float(rng.uniform(0.6, 1.0) if night else rng.uniform(0.0, 0.6)), 3),
        gamma=round(float(rng.uniform(0.9, 1.15)), 3),
        black=round(float(rng.uniform(*hard.black)) * min(1.0, 2.0**stops), 3),
        toe=_colour(rng.uniform(0, 1, 3) * (0.03, 0.035, 0.10)),
        inv_step=float(step),
        near_sharpen=hard.near_sharpen,
        luma_sharpen=hard.luma_sharpen or None,
        mosaic=_happens(rng, hard.mosaic) or None,
        analogue=(_pick(rng, _BAND_PX), _pick(rng, _COMB_PX)) if _happens(rng, hard.analogue) else None,
        nearest=_happens(rng, hard.nearest) or None,
    )  # fmt: skip
    if hard.tall != (1.0, 1.0):
        # A box around a tilted plate is taller, and so is a careless one.
        tall = _pick(rng, hard.tall)
        (lr_mean, lr_sd), (hr_mean, hr_sd) = sizes.lr_aspect, sizes.hr_aspect
        sizes = replace(sizes, lr_aspect=(lr_mean / tall, lr_sd), hr_aspect=(hr_mean / tall, hr_sd))
    frames = [_frame(rng, hard, sizes, "lr", i, 1 / (1 / last + step * (5 - i)), stops) for i in range(1, 6)]
    if hr:
        frames += [_frame(rng, hard, sizes, "hr", i, 1 / (1 / near + step * (i - 1)), stops) for i in range(1, 6)]
    return track, tuple(frames)


def _frame(
    rng: np.random.Generator, hard: Hardness, sizes: Sizes, kind: str, index: int, crop: float, stops: float
) -> FrameDraws:
    low, high = (sizes.lr if kind == "lr" else sizes.hr)[2:]
    width = int(np.clip(round(crop + rng.normal(0, 0.35)), low, high))
    mean, sd = sizes.lr_aspect if kind == "lr" else sizes.hr_aspect
    aspect = float(np.clip(rng.normal(mean, sd * 0.35), min(1.8, mean), max(3.5, mean)))
    fill = float(np.clip(rng.normal(*hard.fill[:2]), *hard.fill[2:]))
    jump = rng.normal(0, hard.jump_stops)
    if rng.random() < hard.jump_share:
        jump += rng.choice([-1, 1]) * rng.uniform(0.5, 1.6)
    if kind == "hr":
        jump = jump * hard.near_jump - (hard.near_lift * stops if stops < _DARK else 0.0)
    # Beyond this nothing of the characters is left, which even the blown-out tracks never show.
    jump = min(jump, hard.most_stops - min(stops, hard.most_stops))
    ghost = rng.uniform(0, hard.ghost)
    angle = rng.uniform(0, 2 * math.pi)
    return FrameDraws(
        name=f"{kind}-{index:03d}",
        width_px=width,
        height_px=max(round(width / aspect), 11),
        plate_px=round(width * fill, 2),
        nearness=float(np.clip((kind == "hr") * (1 - (index - 1) * 0.05), 0, 1)),
        shift_px=tuple(round(float(x), 2) for x in rng.normal(0, hard.shift_px, 2) * (1.0, 0.6)),  # type: ignore[arg-type]
        tilt_deg=round(float(np.clip(rng.normal(0, hard.tilt_deg), -3, 3)), 2),
        stops=round(float(jump), 3),
        motion_px=_pick(rng, hard.motion_px),
        motion_deg=round(float(rng.normal(80, 30)), 1),
        ghost=(round(ghost, 3), round(math.cos(angle) * hard.ghost_px, 2), round(math.sin(angle) * hard.ghost_px, 2)),
        grid=(int(rng.integers(8)), int(rng.integers(8))),
        seed=int(rng.integers(2**31)),
    )  # fmt: skip


def _happens(rng: np.random.Generator, share: float) -> bool:
    # No draw where it never happens: the levels without such cameras keep their pictures.
    return share > 0 and bool(rng.random() < share)


def _pick(rng: np.random.Generator, bounds: Range) -> float:
    return round(float(rng.uniform(*bounds)), 3)


def _colour(channels: Iterable[float]) -> tuple[float, float, float]:
    r, g, b = (round(float(c), 3) for c in channels)
    return r, g, b


def _lognormal(rng: np.random.Generator, shape: tuple[float, float, float, float]) -> float:
    median, sigma, low, high = shape
    return float(np.clip(median * math.exp(rng.normal(0, sigma)), low, high))
