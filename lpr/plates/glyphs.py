"""The characters of the plates as our own stroke outlines, and how they are drawn.

A glyph is its width (outer width / character height) and strokes. A stroke is a list of `x,y` vertices on the box
of the stroke's centre line: x 0 left to 1 right, y 0 top to 1 bottom. A `*` rounds the vertex with the face's
corner radius, `*0.5` with half of it; a final `z` closes the stroke. Ends that run out of the box (`-.3`, `1.3`)
are cut off by the character's outer box, which makes the flat ends of stems and diagonals.

The faces were drawn by eye beside photographs of plates; nothing is traced from a font file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ..types import InputError

#: Curve points per rounded corner; 6 keep the error under 0.1 mm at a radius of 20 mm.
_CORNER_POINTS = 6
#: cv2 takes sub-pixel coordinates as integers with this many fractional bits.
_SHIFT = 4


Glyphs = dict[str, tuple[float, tuple[str, ...]]]

#: The newest edition of the faces.
LATEST = 2


@dataclass(frozen=True, slots=True)
class Face:
    """One typeface: glyphs by character, and its usual stroke width (by edition) and corner radius in
    units of the height.

    `revised`: glyphs drawn better later on, edition by edition. Plates whose bytes are kept stay with the edition that
    they were first drawn in (`Hardness.edition`).
    """

    stroke: tuple[float, ...]
    radius: float
    glyphs: Glyphs
    revised: tuple[Glyphs, ...] = ()

    def glyph(self, character: str, edition: int) -> tuple[float, tuple[str, ...]]:
        """Width and strokes of a character as of an edition, 0 the first."""
        for glyphs in reversed(self.revised[:edition]):
            if character in glyphs:
                return glyphs[character]
        return self.glyphs[character]


# Old Brazilian plates ("Mandatory"): rectangular with small corner radii, heavy, O and 0 nearly the same, B and D
# with spurs at the stem, plain I, 1 with a mere nib (plain in edition 2). Letters are about 40 mm wide and digits
# 38 mm, of 63 mm.
MANDATORY = Face(
    stroke=(0.158, 0.158, 0.165),
    radius=0.11,
    glyphs={
        "0": (0.61, ("0,.5 0,0*1.3 1,0*1.3 1,1*1.3 0,1*1.3 0,.5 z",)),
        "1": (0.22, ("1,-.3 1,1.3", "1,-.10 -1.5,.09")),
        "2": (0.61, ("0,.25 0,0*1.7 1,0*1.7 1,.36*1.2 .0,1 .5,1 1.3,1",)),
        "3": (0.60, ("0,.22 0,0*1.5 1,0*1.5 1,.46*1.5 .40,.46", ".40,.46 1,.46*1.5 1,1*1.5 0,1*1.5 0,.78")),
        "4": (0.62, (".80,1.3 .80,-.3", ".80,-.10 .0,.73 .4,.73 1.3,.73",)),
        "5": (0.60, ("1.3,0 .08,0 .0,.46 .2,.42*.5 1,.42*1.6 1,1*1.5 0,1*1.5 0,.78",)),
        "6": (0.61, ("1,.21 1,0*1.4 0,0*1.6 0,1*1.4 1,1*1.4 1,.43*1.5 0,.43*1.5 0,.60",)),
        "7": (0.60, ("-.3,0 1,0 .90,.22 .28,1.3",)),
        "8": (0.62, (".05,.22 .05,0*1.4 .95,0*1.4 .95,.46*1.5 .05,.46*1.5 .05,.22 z",
                     "0,.72 0,.46*1.5 1,.46*1.5 1,1*1.4 0,1*1.4 0,.72 z")),
        "9": (0.61, ("0,.79 0,1*1.4 1,1*1.6 1,0*1.4 0,0*1.4 0,.57*1.5 1,.57*1.5 1,.40",)),
        "A": (0.68, ("-.12,1.35 .5,-.10 1.12,1.35", ".15,.72 .85,.72")),
        "B": (0.64, (".10,-.3 .10,1.3", "-.3,0 .95,0*1.2 .95,.47*1.2 .1,.47", ".1,.47 1,.47*1.2 1,1*1.2 -.3,1")),
        "C": (0.63, ("1,.24 1,0*1.2 0,0*1.2 0,1*1.2 1,1*1.2 1,.76",)),
        "D": (0.64, (".10,-.3 .10,1.3", "-.3,0 1,0*1.3 1,1*1.3 -.3,1")),
        "E": (0.58, ("0,-.3 0,1.3", "-.3,0 1.3,0", "0,.48 .9,.48", "-.3,1 1.3,1")),
        "F": (0.57, ("0,-.3 0,1.3", "-.3,0 1.3,0", "0,.50 .9,.50")),
        "G": (0.64, ("1,.24 1,0*1.2 0,0*1.2 0,1*1.2 1,1*1.2 1,.55 .50,.55",)),
        "H": (0.63, ("0,-.3 0,1.3", "1,-.3 1,1.3", "0,.48 1,.48")),
        "I": (0.175, (".5,-.3 .5,1.3",)),
        "J": (0.62, ("1,-.3 1,1*1.5 .0,1*1.5 -.05,.80",)),
        "K": (0.64, ("0,-.3 0,1.3", "0,.68 1.12,-.22", ".34,.38 1.12,1.22")),
        "L": (0.58, ("0,-.3 0,1.3", "-.3,1 1.3,1")),
        "M": (0.70, ("0,1.3 0,-.3", "1,1.3 1,-.3", "-.10,-.2 .5,.62 1.10,-.2")),
        "N": (0.65, ("0,1.3 0,-.3", "1,1.3 1,-.3", "-.10,-.16 1.10,1.16")),
        "O": (0.64, ("0,.5 0,0*1.2 1,0*1.2 1,1*1.2 0,1*1.2 0,.5 z",)),
        "P": (0.63, ("0,-.3 0,1.3", "-.3,0 1,0*1.2 1,.56*1.2 0,.56")),
        "Q": (0.66, ("0,.5 0,0*1.2 1,0*1.2 1,1*1.2 0,1*1.2 0,.5 z", ".50,.62 1.25,1.20")),
        "R": (0.64, ("0,-.3 0,1.3", "-.3,0 1,0*1.2 1,.54*1.2 0,.54", ".48,.54 1.10,1.3")),
        "S": (0.63, ("1,.23 1,0*1.3 0,0*1.3 0,.46*1.4 1,.50*1.4 1,1*1.3 0,1*1.3 0,.77",)),
        "T": (0.59, (".5,-.3 .5,1.3", "-.3,0 1.3,0")),
        "U": (0.63, ("0,-.3 0,1*1.3 1,1*1.3 1,-.3",)),
        "V": (0.66, ("-.12,-.35 .5,1.10 1.12,-.35",)),
        "W": (0.74, ("-.05,-.4 .24,1.14 .5,.26 .76,1.14 1.05,-.4",)),
        "X": (0.64, ("-.12,-.2 1.12,1.2", "1.12,-.2 -.12,1.2")),
        "Y": (0.64, (".5,1.3 .5,.56", "-.16,-.3 .5,.58 1.16,-.3")),
        "Z": (0.59, ("-.3,0 1,0 0,1 1.3,1",)),
    },
    revised=(
        {},
        {   # Beside the means of characters cut out of 30 photographs: square counters, 8 with a high waist bar and a
            # notch, short terminals, plain 1, wider digits.
            "0": (0.64, ("0,.5 0,0*1.0 1,0*1.0 1,1*1.0 0,1*1.0 0,.5 z",)),
            "1": (0.20, (".5,-.3 .5,1.3",)),
            "2": (0.67, ("0,.20 0,0*1.5 1,0*1.5 1,.37*1.2 .0,.92 0,1.3", "-.3,1 1.3,1")),
            "3": (0.62, ("0,.18 0,0*1.3 1,0*1.3 1,.495*1.3 .45,.495", ".45,.495 1,.495*1.3 1,1*1.3 0,1*1.3 0,.82")),
            "4": (0.63, (".72,1.3 .72,-.3", ".72,-.10 .0,.73 .4,.73 1.3,.73",)),
            "5": (0.61, ("1.3,0 .06,0 .02,.515 .2,.465*.5 1,.465*1.4 1,1*1.4 0,1*1.4 0,.84",)),
            "6": (0.64, ("1,.14 1,0*1.2 0,0*1.4 0,1*1.2 1,1*1.2 1,.495*1.2 0,.495*1.2 0,.60",)),
            "7": (0.61, ("-.3,0 1,0 .85,.22 .15,1.3",)),
            "8": (0.66, (".04,.22 .04,0*1.1 .96,0*1.1 .96,.50*1.7 .04,.50*1.7 .04,.22 z",
                         "0,.72 0,.50*1.7 1,.50*1.7 1,.99*1.1 0,.99*1.1 0,.72 z")),
            "9": (0.66, ("0,.84 0,1*1.2 1,1*1.4 1,0*1.2 0,0*1.2 0,.505*1.2 1,.505*1.2 1,.40",)),
            "B": (0.66, (".10,-.3 .10,1.3", "-.3,0 .96,0*1.1 .96,.50*1.4 .1,.50", ".1,.51 1,.51*1.4 1,1*1.1 -.3,1")),
            "C": (0.64, ("1,.21 1,0*1.0 0,0*1.0 0,1*1.0 1,1*1.0 1,.79",)),
            "D": (0.66, (".10,-.3 .10,1.3", "-.3,0 1,0*1.0 1,1*1.0 -.3,1")),
            "G": (0.66, ("1,.20 1,0*1.0 0,0*1.0 0,1*1.0 1,1*1.0 1,.57 .50,.57",)),
            "H": (0.69, ("0,-.3 0,1.3", "1,-.3 1,1.3", "0,.52 1,.52")),
            "J": (0.65, ("1,-.3 1,1*1.3 .0,1*1.5 -.05,.82",)),
            "K": (0.69, ("0,-.3 0,1.3", "0,.72 1.12,-.17", ".32,.40 1.12,1.22")),
            "L": (0.66, ("0,-.3 0,1.3", "-.3,1 1.3,1")),
            "M": (0.67, ("0,1.3 0,-.3", "1,1.3 1,-.3", "-.10,-.2 .5,.70 1.10,-.2")),
            "O": (0.66, ("0,.5 0,0*.75 1,0*.75 1,1*.75 0,1*.75 0,.5 z",)),
            "P": (0.65, ("0,-.3 0,1.3", "-.3,0 1,0*1.1 1,.52*1.1 0,.52")),
            "Q": (0.66, ("0,.5 0,0*.75 1,0*.75 1,1*.75 0,1*.75 0,.5 z", ".44,.80 1.06,1.12")),
            "S": (0.63, ("1,.19 1,0*1.2 0,0*1.2 0,.445*1.2 1,.545*1.2 1,1*1.2 0,1*1.2 0,.81",)),
            "U": (0.67, ("0,-.3 0,1*1.0 1,1*1.0 1,-.3",)),
            "V": (0.64, ("-.12,-.35 .5,1.10 1.12,-.35",)),
            "W": (0.68, ("-.03,-.4 .24,1.14 .5,.30 .76,1.14 1.03,-.4",)),
            "Y": (0.62, (".5,1.3 .5,.60", "-.14,-.3 .5,.64 1.14,-.3")),
            "Z": (0.63, ("-.3,0 1,0 0,1 1.3,1",)),
        },
    ),
)  # fmt: skip

# A plain narrow sans serif, as on many plates of other countries. The Mercosur typeface was drawn like this at first.
NARROW = Face(
    stroke=(0.128, 0.128, 0.128),
    radius=0.20,
    glyphs={
        "0": (0.49, ("0,.5 0,0*1.5 1,0*1.5 1,1*1.5 0,1*1.5 0,.5 z",)),
        "1": (0.47, (".58,1 .58,-.3", ".60,.00 .02,.26", "-.3,1 1.3,1")),
        "2": (0.49, ("0,.24 0,0*1.3 1,0*1.3 1,.44*.8 .0,1 .5,1 1.3,1",)),
        "3": (0.49, ("0,.22 0,0*1.2 1,0*1.2 1,.46*1.2 .35,.46", ".35,.46 1,.46*1.2 1,1*1.3 0,1*1.3 0,.77")),
        "4": (0.53, (".62,-.3 -.02,.74 .4,.74 1.3,.74", ".74,.46 .74,1.3")),
        "5": (0.49, ("1.3,0 .04,0 .04,.42 .2,.40*.5 1,.40*1.2 1,1*1.3 0,1*1.3 0,.77",)),
        "6": (0.50, (".80,-.3 .0,.58*.8 0,1*1.3 1,1*1.3 1,.43*1.3 .3,.43*.6 .02,.60",)),
        "7": (0.49, ("-.3,0 1,0 .95,.18*.4 .35,1.3",)),
        "8": (0.51, (".06,.23 .06,0*1.3 .94,0*1.3 .94,.45*1.3 .06,.45*1.3 .06,.23 z",
                     "0,.72 0,.45*1.3 1,.45*1.3 1,1*1.3 0,1*1.3 0,.72 z")),
        "9": (0.50, (".20,1.3 1,.42*.8 1,0*1.3 0,0*1.3 0,.57*1.3 .7,.57*.6 .98,.40",)),
        "A": (0.58, ("-.10,1.35 .44,-.10 .56,-.10 1.10,1.35", ".14,.72 .86,.72")),
        "B": (0.53, (".08,-.3 .08,1.3", "-.3,0 .93,0*1.1 .93,.46*1.1 .1,.46", ".1,.46 1,.46*1.1 1,1*1.1 -.3,1")),
        "C": (0.51, ("1,.24 1,0*1.3 0,0*1.3 0,1*1.3 1,1*1.3 1,.76",)),
        "D": (0.53, (".08,-.3 .08,1.3", "-.3,0 1,0*1.1 1,1*1.1 -.3,1")),
        "E": (0.50, ("0,-.3 0,1.3", "-.3,0 1.3,0", "0,.46 .88,.46", "-.3,1 1.3,1")),
        "F": (0.49, ("0,-.3 0,1.3", "-.3,0 1.3,0", "0,.48 .88,.48")),
        "G": (0.52, ("1,.24 1,0*1.3 0,0*1.3 0,1*1.3 1,1*1.3 1,.55 .48,.55",)),
        "H": (0.53, ("0,-.3 0,1.3", "1,-.3 1,1.3", "0,.47 1,.47")),
        "I": (0.37, (".5,-.3 .5,1.3", "-.3,0 1.3,0", "-.3,1 1.3,1")),
        "J": (0.49, ("-.0,0 1,0 1,1*1.3 0,1*1.3 0,.74",)),
        "K": (0.56, ("0,-.3 0,1.3", "0,.68 1.10,-.25", ".32,.40 1.12,1.25")),
        "L": (0.48, ("0,-.3 0,1.3", "-.3,1 1.3,1")),
        "M": (0.58, ("0,1.3 0,-.3", "1,1.3 1,-.3", "-.05,-.2 .5,.56 1.05,-.2")),
        "N": (0.54, ("0,1.3 0,-.3", "1,1.3 1,-.3", "-.06,-.16 1.06,1.16")),
        "O": (0.53, ("0,.5 0,0*.9 1,0*.9 1,1*.9 0,1*.9 0,.5 z",)),
        "P": (0.52, ("0,-.3 0,1.3", "-.3,0 1,0*1.2 1,.56*1.2 0,.56")),
        "Q": (0.55, ("0,.5 0,0*.9 1,0*.9 1,1*.9 0,1*.9 0,.5 z", ".54,.70 1.2,1.16")),
        "R": (0.54, ("0,-.3 0,1.3", "-.3,0 1,0*1.2 1,.54*1.2 0,.54", ".46,.54 1.08,1.3")),
        "S": (0.51, ("1,.23 1,0*1.3 0,0*1.3 0,.45*1.2 1,.52*1.2 1,1*1.3 0,1*1.3 0,.77",)),
        "T": (0.52, (".5,-.3 .5,1.3", "-.3,0 1.3,0")),
        "U": (0.53, ("0,-.3 0,1*1.3 1,1*1.3 1,-.3",)),
        "V": (0.57, ("-.12,-.35 .5,1.10 1.12,-.35",)),
        "W": (0.61, ("-.05,-.4 .22,1.14 .5,.34 .78,1.14 1.05,-.4",)),
        "X": (0.56, ("-.10,-.2 1.10,1.2", "1.10,-.2 -.10,1.2")),
        "Y": (0.56, (".5,1.3 .5,.54", "-.14,-.3 .5,.58 1.14,-.3")),
        "Z": (0.50, ("-.3,0 1,0 0,1 1.3,1",)),
    },
    revised=(
        {
            "E": (0.50, ("0,-.3 0,1.3", "-.3,0 1.3,0", "0,.47 .80,.47", "-.3,1 1.3,1")),
            "J": (0.47, (".38,0 1,0 1,1*1.3 0,1*1.3 0,.74",)),
            "Q": (0.55, ("0,.5 0,0*.9 1,0*.9 1,1*.9 0,1*.9 0,.5 z", ".44,.64 1.16,1.22")),
        },
        {   # 3 with a flat top, 8 of two rounds.
            "3": (0.50, ("-.3,0 1,0*.3 .40,.40*.3 .62,.42*.4 1,.42*1.3 1,1*1.5 0,1*1.5 0,.77",)),
            "8": (0.51, (".10,.22 .10,0*1.8 .90,0*1.8 .90,.45*1.8 .10,.45*1.8 .10,.22 z",
                         "0,.72 0,.45*1.8 1,.45*1.8 1,1*1.8 0,1*1.8 0,.72 z")),
        },
    ),
)  # fmt: skip

# Thinner: black Argentine plates until 2016.
LIGHT = replace(NARROW, stroke=(0.112, 0.112, 0.112))

# Mercosur plates (FE-Engschrift): forms made hard to forge into one another, J with a bar, I and 1 with feet, open 4,
# slits in 0, 9 and R.
ENGSCHRIFT = Face(
    stroke=(0.128, 0.128, 0.110),
    radius=NARROW.radius,
    glyphs=NARROW.glyphs,
    revised=(
        NARROW.revised[0],
        {   # Beside characters cut out of 28 photographs of Argentine plates: thin strokes, slits in 0, 9 and R, flat
            # tops, a high waist bar, slanted 1, 6, 7 and 9.
            "0": (0.54, ("1,.25 1,1*.45 0,1*.45 0,0*.45 .66,0 .90,.05",)),
            "1": (0.51, (".12,.24 .55,.07 .98,-.03", ".96,-.05 .74,1.0", "-.3,1 1.3,1")),
            "2": (0.55, ("0,.20 0,0*1.2 1,0*1.5 .96,.40*1.6 .04,.93*.3 .2,1*.3 1.3,1",)),
            "3": (0.55, ("-.3,0 .98,0*.3 .92,.15*.3 .34,.40*.2 .70,.42*.5 1,.46*1.2 1,1*1.6 0,1*1.3 0,.80",)),
            "4": (0.53, (".68,-.25 .02,.62*.3 .02,.73*.3 1.3,.73", ".78,.40 .78,1.3")),
            "5": (0.55, ("1,0 .16,0*.2 .14,.43*.2 .40,.375*.5 1,.375*1.2 1,1*1.6 .02,1*1.2 .02,.80",)),
            "6": (0.51, ("1.05,-.05 .62,.10*.8 .08,.50*.8 0,.62*.6 0,1*1.6 1,1*1.6 1,.42*1.4 .45,.42 .12,.50",)),
            "7": (0.55, ("0,.20 0,0*.3 1,0*.4 .96,.12*.4 .55,.48*.8 .40,1.3",)),
            "8": (0.52, (".22,.20 .22,0*1.6 1,0*1.6 1,.43*1.6 .22,.43*1.6 .22,.20 z",
                         "0,.70 0,.43*1.8 .92,.43*1.8 .92,1*1.8 0,1*1.8 0,.70 z")),
            "9": (0.53, (".45,.56 0,.56*1.2 0,0*1.6 1,0*1.6 1,.38*.9 .02,1.12",)),
            "A": (0.55, ("-.04,1.2 .36,-.10 .64,-.10 1.04,1.2", ".14,.73 .86,.73")),
            "B": (0.55, ("0,-.3 0,1.3", "-.3,0 .85,0*1.6 .85,.455*1.4 .1,.455", ".1,.455 1,.455*1.5 1,1*1.6 -.3,1")),
            "C": (0.54, ("1,.20 .96,0*.6 0,0*.8 0,1*.8 .96,1*.7 1,.75",)),
            "D": (0.55, (".16,-.3 .16,1.3", "-.3,0 1,0*.45 1,1*.45 -.3,1")),
            "E": (0.55, ("0,-.2 .08,.85*.6 .2,1*.4 1,1", "-.3,0 .72,0", ".05,.405 .62,.405")),
            "F": (0.50, ("0,-.3 0,1.3", "-.3,0 .95,0", "0,.555 .90,.555")),
            "G": (0.54, (".95,.10 .75,0*.8 0,0*.7 0,1*.7 .85,1 .90,.92", ".90,1.2 .90,.52 .45,.52")),
            "H": (0.57, ("0,-.3 0,1.3", "1,-.3 1,1.3", "0,.42 1,.42")),
            "J": (0.52, (".30,0 1,0*.5 1,1*.7 0,1*.8 0,.72",)),
            "K": (0.57, ("0,-.3 0,1.3", "1.08,-.22 .55,.38*.5 0,.52", ".42,.46 .92,1.3")),
            "M": (0.58, ("0,1.3 0,-.3", "1,1.3 1,-.3", "-.05,-.2 .5,.40 1.05,-.2")),
            "O": (0.53, ("0,.5 0,0*1.3 1,0*1.3 1,1*.7 0,1*.7 0,.5 z",)),
            "P": (0.55, ("0,-.3 0,1.3", "-.3,0 1,0*1.0 1,.575*1.2 0,.575")),
            "R": (0.56, ("0,-.3 0,1.3", "-.3,0 1,0*.9 1,.44*.6 .62,.46 1.06,1.3")),
            "S": (0.55, ("1,.16 1,0*1.1 0,0*1.2 0,.34*.8 1,.62*.8 1,1*1.2 0,1*1.1 0,.80",)),
            "Z": (0.55, (".10,0 1,0*.2 .02,1*.2 .90,1",)),
        },
    ),
)  # fmt: skip

FACES = {"mandatory": MANDATORY, "engschrift": ENGSCHRIFT, "narrow": NARROW, "light": LIGHT}


def face(name: str, where: object = "") -> Face:
    """The typeface called `name`; an unknown name is an InputError that lists the known ones."""
    if name not in FACES:
        raise InputError(f"unknown typeface {name!r}", where=where, fix=f"known: {', '.join(sorted(FACES))}")
    return FACES[name]


@cache
def _parse(stroke: str) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Vertices (N, 2), their radius factors (N,) and whether the stroke is closed."""
    words = stroke.split()
    closed = words[-1] == "z"
    vertices, factors = [], []
    for word in words[: -1 if closed else None]:
        point, star, factor = word.partition("*")
        x, _, y = point.partition(",")
        vertices.append((float(x), float(y)))
        factors.append(float(factor or 1) if star else 0.0)
    return np.array(vertices), np.array(factors), closed


def _rounded(points: NDArray[np.float64], radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace each vertex with a radius by a curve; points (N, 2) px and radii (N,) px to a polyline (M, 2) px.

    A corner takes at most half of an edge it shares with another rounded corner, so curves never overlap.
    """
    out = [points[:1]]
    steps = np.linspace(0.0, 1.0, _CORNER_POINTS)[:, None]
    for i in range(1, len(points) - 1):
        corner = points[i]
        if radii[i] <= 0:
            out.append(points[i : i + 1])
            continue
        ends = []
        for j in (i - 1, i + 1):
            edge = points[j] - corner
            length = float(np.hypot(*edge))
            cut = min(radii[i], length * (0.5 if radii[j] > 0 else 1.0))
            ends.append(corner + edge / length * cut)
        a, b = ends
        # 0.5523 makes a cubic Bezier a quarter circle to within 0.03 %.
        c, d = a + 0.5523 * (corner - a), b + 0.5523 * (corner - b)
        t, s = steps, 1 - steps
        out.append(s**3 * a + 3 * s * s * t * c + 3 * s * t * t * d + t**3 * b)
    out.append(points[-1:])
    return np.concatenate(out)


def draw_glyph(
    character: str,
    typeface: Face,
    height_px: float,
    *,
    stroke: float = 1.0,
    width: float = 1.0,
    radius: float = 1.0,
    edition: int = LATEST,
) -> NDArray[np.uint8]:
    """Ink of one character, uint8 (H, W), 255 where painted, anti-aliased, cut tightly to its outer box.

    `stroke`, `width` and `radius` multiply the face's own values: no two plates are pressed alike. `edition`: see Face.
    """
    ratio, strokes = typeface.glyph(character, edition)
    pen = typeface.stroke[edition] * height_px * stroke
    box = np.array([max(ratio * height_px * (width if ratio > 0.3 else 1.0), pen), height_px])
    ink = np.zeros((round(box[1]), max(1, round(box[0]))), np.uint8)
    for text in strokes:
        vertices, factors, closed = _parse(text)
        points = pen / 2 + vertices * (box - pen)
        radii = factors * typeface.radius * radius * height_px
        if closed:
            points, radii = np.vstack([points, points[:1]]), np.append(radii, radii[0])
        _paint(ink, _rounded(points, radii), pen, closed)
    return ink


def _paint(ink: NDArray[np.uint8], line: NDArray[np.float64], pen: float, closed: bool) -> None:
    """Paint a polyline (N, 2) px of width `pen` px with flat ends and round joints."""
    scale = 1 << _SHIFT
    steps = np.diff(line, axis=0)
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    keep = lengths > 1e-6
    starts, ends, steps, lengths = line[:-1][keep], line[1:][keep], steps[keep], lengths[keep]
    side = np.stack([-steps[:, 1], steps[:, 0]], 1) / lengths[:, None] * (pen / 2)
    # Pixel centres lie at whole numbers in cv2, hence the half pixel.
    quads = np.stack([starts + side, ends + side, ends - side, starts - side], 1) - 0.5
    for quad in np.round(quads * scale).astype(np.int32):
        cv2.fillConvexPoly(ink, quad, 255, cv2.LINE_AA, _SHIFT)
    joints = starts
    if not closed:
        # A joint's disc this close to an open end would bulge out of its flat cut.
        gap = np.minimum(np.hypot(*(starts - starts[0]).T), np.hypot(*(starts - ends[-1]).T))
        joints = starts[gap >= pen / 2]
    for x, y in np.round(joints * scale - scale / 2).astype(int):
        cv2.circle(ink, (int(x), int(y)), round(pen / 2 * scale), 255, -1, cv2.LINE_AA, _SHIFT)
