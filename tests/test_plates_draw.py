"""The plates themselves: 36 different glyphs, texts of the right kind, clear errors for a broken format."""

import dataclasses
import itertools

import numpy as np
import pytest

from lpr.formats import load_format
from lpr.plates.camera import _sharpen
from lpr.plates.draw import draw_plate, draw_plate_parameters
from lpr.plates.glyphs import FACES, LATEST, draw_glyph, face
from lpr.plates.hardness import LEVELS, draw_track
from lpr.plates.texts import bucket, plan_tracks, sample_text
from lpr.plates.write import write_tracks
from lpr.types import ALPHABET, InputError


@pytest.mark.parametrize("name", sorted(FACES))
def test_every_character_is_drawn_and_no_two_are_alike(name):
    boxes = {}
    for character in ALPHABET:
        ink = draw_glyph(character, face(name), 64)
        assert ink.shape[0] == 64
        assert ink.dtype == np.uint8
        assert 0.08 < (ink > 127).mean() <= 1.0
        box = np.zeros((64, 80), np.uint8)
        box[:, : ink.shape[1]] = ink
        boxes[character] = box > 127
    # O and 0 of the old face are nearly the same on real plates too.
    alike = {(a, b) for a, b in itertools.combinations(ALPHABET, 2) if (boxes[a] ^ boxes[b]).sum() < 60}
    assert alike <= {("0", "O")}
    assert not np.array_equal(boxes["0"], boxes["O"])


def test_a_heavier_stroke_paints_more():
    light, heavy = (draw_glyph("S", face("mandatory"), 64, stroke=s).mean() for s in (0.8, 1.2))
    assert heavy > light * 1.2


def test_later_editions_change_what_they_redraw_and_nothing_else():
    """Levels whose bytes are kept stay with their edition, so the newest one is the only one that may change."""
    for typeface in FACES.values():
        assert len(typeface.revised) == LATEST
        for edition in range(1, LATEST + 1):
            redrawn = {c for c in ALPHABET if typeface.glyph(c, edition) != typeface.glyph(c, edition - 1)}
            assert redrawn == set(typeface.revised[edition - 1])
    old, new = (draw_glyph("8", face("mandatory"), 63, edition=edition) for edition in (1, 2))
    assert old.shape != new.shape or (old != new).any()


def test_wide_has_kinds_of_camera_that_other_levels_lack():
    hard, wide = LEVELS["hard"], LEVELS["wide"]
    for name in ("blur_px", "quality", "native", "veil"):
        (a, b), (low, high) = getattr(hard, name), getattr(wide, name)
        assert low <= a and b <= high + 0.01 and (low, high) != (a, b), name
    kinds = ("mosaic", "analogue", "nearest")
    for name, level in LEVELS.items():
        rng = np.random.default_rng(3)
        tracks = [draw_track(rng, "B", level, hr=False)[0] for _ in range(600)]
        for kind in kinds:
            share = sum(getattr(track, kind) is not None for track in tracks) / len(tracks)
            assert abs(share - getattr(level, kind)) < 0.05, (name, kind)
            assert (share > 0) == (name == "wide"), (name, kind)


@pytest.mark.parametrize("level", ["road", "wide"])
def test_levels_for_training_draw_what_hard_draws_otherwise(tmp_path, level):
    assert LEVELS[level].edition == LATEST
    hard, other = (write_tracks(tmp_path / name, 2, name, 1, workers=1, progress=False) for name in ("hard", level))
    files = sorted(path.relative_to(hard) for path in hard.rglob("lr-*"))
    assert files == sorted(path.relative_to(other) for path in other.rglob("lr-*")) and len(files) == 10
    assert any((hard / file).read_bytes() != (other / file).read_bytes() for file in files)


def test_an_unknown_typeface_lists_the_known_ones():
    with pytest.raises(InputError, match="engschrift, light, mandatory, narrow"):
        face("arial")


@pytest.mark.parametrize(("name", "text"), [("brazilian", "AAE2838"), ("mercosur", "RHB6I06")])
def test_a_plate_has_its_size_and_shows_its_characters(name, text):
    plate_format = load_format(name)
    draws = draw_plate_parameters(np.random.default_rng(1), plate_format, text)
    draws = dataclasses.replace(draws, use="private", dirt=0.0)
    plate, outline = draw_plate(plate_format, text, draws)
    assert plate.shape == (130, 400, 3)
    assert outline.shape == (130, 400)
    assert outline[0, 0] == 0
    assert outline[65, 200] == 255
    for x in plate_format.drawing["centres_mm"]:
        cell = plate[50:110, round(x) - 16 : round(x) + 16].mean(2)
        assert cell.min() < 80 < 140 < cell.max()
    other, _ = draw_plate(plate_format, text[:-1] + "7", draws)
    changed = np.flatnonzero((plate != other).any((0, 2)))
    assert changed.min() > plate_format.drawing["centres_mm"][5]


def test_old_plates_have_a_bead_that_may_be_the_only_part_in_the_light():
    plate_format = load_format("brazilian")
    ratios = []
    for seed in range(40):
        draws = draw_plate_parameters(np.random.default_rng(seed), plate_format, "AAE2838")
        draws = dataclasses.replace(draws, use="private", dirt=0.0, seal=False, spacing=1.0)
        plain, _ = draw_plate(plate_format, "AAE2838", draws, edition=1)
        plate, outline = draw_plate(plate_format, "AAE2838", draws)
        ratios.append(plate[40:110, 2:4].mean() / plate[60:100, 14:17].mean())
        # Neither is brighter than a plate in the light, and the plate keeps its outline.
        assert plate.mean() < 1.25 * plain.mean() and plate[3, 200].max() < 255
        assert outline[65, 0] == 255
    assert min(ratios) < 1 < 1.25 < max(ratios) < 2.2
    assert sum(ratio > 1.27 for ratio in ratios) in range(3, 16)


@pytest.mark.parametrize("tinted", [False, True])
def test_an_unsharp_mask_of_brightness_leaves_colours_alone(tinted):
    rng = np.random.default_rng(1)
    picture = np.repeat(rng.uniform(0.4, 0.6, (12, 30, 1)), 3, axis=2).astype(np.float32)
    if tinted:
        picture[:, 10:20] += np.array([0.05, 0.0, -0.05], np.float32)
    of_each, of_brightness = (_sharpen(picture, 0.5, 1.0, luma=luma) for luma in (False, True))
    assert np.abs(of_brightness - picture).max() > 0.02
    assert np.allclose(np.diff(of_brightness, axis=2), np.diff(picture, axis=2), atol=1e-6)
    assert np.allclose(of_each, of_brightness, atol=1e-6) != tinted


def test_a_broken_drawing_names_format_and_field():
    plate_format = load_format("mercosur")
    draws = draw_plate_parameters(np.random.default_rng(1), plate_format, "ABC1D23")
    drawing = {key: value for key, value in plate_format.drawing.items() if key != "top_mm"}
    with pytest.raises(InputError, match=r"mercosur\.yaml(.|\n)*top_mm"):
        draw_plate(dataclasses.replace(plate_format, drawing=drawing), "ABC1D23", draws)


def test_texts_follow_the_label_statistics():
    rng = np.random.default_rng(0)
    texts = [sample_text(rng, load_format("mercosur")) for _ in range(4000)]
    assert all(load_format("mercosur").matches(t) for t in texts)
    assert np.mean([t[0] in "AB" for t in texts]) > 0.65
    assert 0.9 < np.mean([t[4] in "ABCDEFGHIJ" for t in texts]) < 1.0
    assert set("".join(texts)) == set(ALPHABET)


def test_a_plan_keeps_shares_and_groups_apart():
    formats = [load_format("brazilian"), load_format("mercosur")]
    train, test = plan_tracks(2000, 1, "train", formats), plan_tracks(500, 1, "test", formats)
    in_a = [p for p in train if p.scenario == "A"]
    in_b = [p for p in train if p.scenario == "B"]
    assert len(in_a) == len(in_b) == 1000
    assert sum(p.format == "brazilian" for p in in_a) == 500
    assert sum(p.format == "brazilian" for p in in_b) == 200
    assert sum(p.format == "brazilian" for p in test) == 100
    texts_a, texts_b, texts_test = ({p.text for p in plans} for plans in (in_a, in_b, test))
    assert 0.64 < len(texts_a) / len(in_a) < 0.75
    assert len(texts_b) == len(in_b)
    assert len(texts_test) == len(test)
    assert not (texts_a & texts_b or texts_a & texts_test or texts_b & texts_test)
    assert {bucket(t) for t in texts_test} == {"test"}
    assert [p.index for p in train] == list(range(1, 2001))
    assert test[0].folder == "track_10001"
    # A test track's number must not tell its format.
    assert {p.format for p in test[:20]} == {"brazilian", "mercosur"}
