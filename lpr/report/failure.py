"""Why a track is hard, measured from its pictures alone, so that it works on real data without any annotation.

Each measure is one number a frame; a track's value is the median over its LR frames, so that one exposure jump or
one bad frame of five does not decide. A threshold then makes a group of tracks; a track may be in several groups.

The thresholds were set on three sources: nine real tracks from figures (`icpr_*`, `ufprsr_*`; enlarged, so they say
nothing of size and little of blocks), 87 sharp photographs of real plates shrunk to 48x17 px and then damaged by
known amounts, and the ranges of the competition's LR frames (35 to 60 px wide).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

#: Brightness and blur are judged at this width, so that they do not depend on the size of the crop: the mean width
#: of Scenario B's LR frames.
JUDGED_WIDTH_PX = 48

#: Tilt is judged at this size, about twice an LR frame: shearing by parts of a pixel then blurs little.
TILT_WIDTH_PX, TILT_HEIGHT_PX = 96, 40

#: Shears tried for the tilt, in pixels down per pixel across (at the size above): about -11 to 11 degrees.
SLOPES = np.arange(-8, 9) * 0.03

#: A column with less than this share of the detail of columns with strokes shows none: of half covered plates and 300
#: hard tracks 0.4 told most apart at a threshold that leaves the gaps of sound plates alone.
GAP_DETAIL = 0.4

#: Blocks are looked for in the middle of a frame only where it is larger than this; one codec made them all.
BLOCKY_SIDE_PX = 512


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure and the group it makes: a track belongs to it when its value lies on the `side` of `threshold`."""

    name: str
    group: str
    unit: str
    threshold: float
    side: Literal["below", "above"]
    reason: str

    def holds(self, value: float) -> bool:
        """Whether a track with this value belongs to the group."""
        return value < self.threshold if self.side == "below" else value > self.threshold


MEASURES = (
    Measure(
        "brightest", "dark", "of 255", 90, "below",
        "95th percentile of the character zone: the plate's white gives less than a tenth of the light (sRGB 90 = 0.10 "
        "linear). The dark figure track lies at 51, one at dusk at 105",
    ),
    Measure(
        "median", "blown out", "of 255", 220, "above",
        "more than half of the character zone is close to white, so that halos reach white and eat thin strokes. The "
        "blown-out figure track lies at 229, sound ones below 160",
    ),
    Measure(
        "contrast", "low contrast", "of 255", 64, "below",
        "95th - 5th percentile of the character zone: ink and ground use less than a quarter of the range. The dark "
        "and the blown-out figure track lie at 36 and 63, the others above 77",
    ),
    Measure(
        "sharpness", "blurred", "", 0.64, "below",
        "share of the frame's fine detail that a further 3 px blur destroys (after Crete et al. 2007): sharp "
        "photographs 0.75 to 0.89, blurred by sigma 1 px 0.42 to 0.63, moved by 5 px 0.37 to 0.65, figure "
        "tracks 0.68 to 0.80",
    ),
    Measure(
        "blockiness", "blocky", "", 0.13, "above",
        "excess of isolated steps on the strongest 8x8 grid of any offset (video crops start anywhere): without "
        "compression 95 % lie below 0.11, JPEG quality 20 gives about 0.15, quality 10 0.23",
    ),
    Measure(
        "width", "small", "px", 40, "below",
        "a plate fills about 82 % of the crop and has 8.7 character pitches (400 mm / 46 mm): under 3.8 px a character "
        "the two strokes and the gap of an H or M no longer have a pixel each. Scenario B has 35 to 60 px",
    ),
    Measure(
        "gap", "occluded", "of the width", 0.2, "above",
        "longest stretch of the character zone without strokes: of 500 drawn tracks 1 % lie above, of 405 photographs "
        "of plates of four countries and the figure tracks none; of drawn plates of which three tenths are covered "
        "63 %, four tenths 89 %. One covered character leaves no longer gap than plates have",
    ),
    Measure(
        "tilt", "tilted", "degrees", 2.5, "above",
        "angle of the shear that makes the rows most alike: over a plate of 40 px the line of text climbs by 1.7 px, a "
        "fifth of a character's height. The two tilted figure tracks lie at 3 to 4, the others below 1.2",
    ),
)  # fmt: skip

#: Names of the groups that pictures can put a track in.
GROUPS = tuple(measure.group for measure in MEASURES)


def measure_frame(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """All measures of one frame, uint8 (H, W, 3) RGB -> float (8,), in the order of `MEASURES`."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    judged = _resize(grey, JUDGED_WIDTH_PX, max(8, round(height * JUDGED_WIDTH_PX / width)))
    low, median, high = np.percentile(_character_zone(judged), [5, 50, 95])
    return np.array(
        [high, median, high - low, _sharpness(judged), _blockiness(grey), width, _gap(judged), _tilt_deg(grey)],
        dtype=float,
    )


def measure_track(images: Sequence[NDArray[np.uint8]]) -> dict[str, float]:
    """Median over the frames of a track, {name of the measure: value}; empty without frames."""
    if not images:
        return {}
    values = np.median([measure_frame(image) for image in images], axis=0)
    return {measure.name: float(value) for measure, value in zip(MEASURES, values, strict=True)}


def groups_of(values: Mapping[str, float]) -> tuple[str, ...]:
    """The groups that a track with these values belongs to, in the order of `MEASURES`."""
    return tuple(m.group for m in MEASURES if m.name in values and m.holds(values[m.name]))


def _resize(grey: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    shrinks = grey.shape[1] > width
    resized = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)


def _character_zone(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The part of a crop that holds characters: the plate fills 75 to 90 % of the width, its band lies on top."""
    height, width = grey.shape
    return grey[round(0.3 * height) : round(0.85 * height), round(0.12 * width) : round(0.88 * width)]


def _sharpness(grey: NDArray[np.uint8]) -> float:
    """Share of the energy of the steps between neighbours that a 3 px mean filter removes: 1 sharp, 0 blurred already.

    Across only: upright strokes tell most characters apart, and an LR plate has too few rows to judge the other way.
    Three pixels, because five would take the rhythm of the characters themselves (6 to 7 px) for detail.
    """
    inner = _character_zone(grey).astype(np.float32)
    energy = float((np.diff(inner, axis=1) ** 2).sum())
    left = float((np.diff(cv2.blur(inner, (3, 1)), axis=1) ** 2).sum())
    return max(0.0, 1 - left / energy) if energy else 0.0


def _gap(grey: NDArray[np.uint8]) -> float:
    """Longest stretch of columns with less than GAP_DETAIL of the detail that columns with strokes have, in [0, 1] of
    the width of the character zone. Detail is the sum of the steps between neighbours, down and across.
    """
    inner = _character_zone(grey).astype(np.float32)
    down = np.abs(np.diff(inner, axis=0)).sum(axis=0)
    across = np.abs(np.diff(inner, axis=1, append=inner[:, -1:])).sum(axis=0)
    detail = cv2.blur((down + across)[None], (3, 1))[0]
    bare = detail < GAP_DETAIL * np.percentile(detail, 80)
    # Between two columns with strokes, or the ends, lie the bare ones.
    ends = np.flatnonzero(np.concatenate([[True], ~bare, [True]]))
    return float(np.diff(ends).max() - 1) / len(bare)


def _blockiness(grey: NDArray[np.uint8]) -> float:
    """How much more often isolated steps stand on the strongest 8 px grid than elsewhere, mean of both directions.

    A step is isolated when it is larger than both its neighbours by more than 2 grey levels: flat, jump, flat is what
    a block edge looks like, while strokes of letters rise over several pixels. The strongest line of each grid does not
    count, since the plate's own edge is one line and blocks have many. In [0, 1]; 0 for frames under 17 px.
    """
    top, left = (max(0, (side - BLOCKY_SIDE_PX) // 2) for side in grey.shape)
    middle = grey[top : top + BLOCKY_SIDE_PX, left : left + BLOCKY_SIDE_PX].astype(np.int16)
    excess = []
    for pixels in (middle, middle.T):
        if pixels.shape[1] < 17:  # Fewer than two edges on every grid: one stroke would look like a block.
            continue
        steps = np.abs(np.diff(pixels, axis=1))
        isolated = (steps[:, 1:-1] > np.maximum(steps[:, :-2], steps[:, 2:]) + 2).mean(axis=0)
        padded = np.pad(isolated, (0, -len(isolated) % 8)).reshape(-1, 8)  # (lines of a grid, offsets of the grid)
        lines = np.bincount(np.arange(len(isolated)) % 8, minlength=8)
        on_grid = padded.sum(axis=0)
        elsewhere = (isolated.sum() - on_grid) / (len(isolated) - lines)
        share = (on_grid - padded.max(axis=0)) / np.maximum(lines - 1, 1)
        excess.append(float((share - elsewhere).max()))
    return max(0.0, float(np.mean(excess))) if excess else 0.0


def _shear_maps() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where each pixel of the sheared copies comes from, all slopes below one another: x and y, (S * H, W)."""
    x, y = np.meshgrid(np.arange(TILT_WIDTH_PX), np.arange(TILT_HEIGHT_PX))
    centred = x - (TILT_WIDTH_PX - 1) / 2
    rows = np.concatenate([y + slope * centred for slope in SLOPES])
    return np.tile(x, (len(SLOPES), 1)).astype(np.float32), rows.astype(np.float32)


_SHEAR_X, _SHEAR_Y = _shear_maps()


def _tilt_deg(grey: NDArray[np.uint8]) -> float:
    """Angle of the plate against the horizontal, 0 to about 11 degrees, without sign.

    The frame is sheared by each of `SLOPES`; where rows run along the plate's edges and the feet of its characters,
    the mean of the rows changes most sharply from row to row. A parabola through the best three refines the slope.
    """
    height, width = grey.shape
    fixed = cv2.resize(grey, (TILT_WIDTH_PX, TILT_HEIGHT_PX), interpolation=cv2.INTER_LINEAR)
    smooth = cv2.GaussianBlur(fixed.astype(np.float32), (0, 0), 1.2)  # Else the unsheared copy is the sharpest one.
    sheared = cv2.remap(smooth, _SHEAR_X, _SHEAR_Y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # (S * H, W) -> (S, H): mean of each row without the ends, where the border was repeated.
    profiles = sheared[:, 8:-8].mean(axis=1).reshape(len(SLOPES), TILT_HEIGHT_PX)
    score = (np.diff(profiles, axis=1) ** 2).sum(axis=1)
    best = int(score.argmax())
    slope = float(SLOPES[best])
    if 0 < best < len(SLOPES) - 1:
        before, at, after = score[best - 1 : best + 2]
        bend = before - 2 * at + after
        slope += float(SLOPES[1] - SLOPES[0]) * float((before - after) / (2 * bend)) if bend < 0 else 0.0
    # Back from the squeezed picture to the frame's own pixels.
    true_slope = slope * (height / TILT_HEIGHT_PX) / (width / TILT_WIDTH_PX)
    return abs(float(np.degrees(np.arctan(true_slope))))
