from __future__ import annotations

import os
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_samples import picture, write_image, write_track
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

import lpr.data.images as images
from lpr.config import InputConfig
from lpr.data.images import decode_image, preprocess, read_frames, read_image, side_by_side
from lpr.data.scan import scan
from lpr.types import InputError

LEFT, RIGHT = (200, 30, 60), (10, 180, 90)


@pytest.fixture
def two_colours() -> np.ndarray:
    image = np.empty((20, 40, 3), np.uint8)
    image[:, :20], image[:, 20:] = LEFT, RIGHT
    return image


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes, bits: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["rgb.png", "rgb.jpg", "progressive.jpg", "cmyk.jpg", "rgb16.png", "palette.png"])
def test_colours_survive_every_way_of_storing_them(tmp_path: Path, two_colours: np.ndarray, name: str) -> None:
    path, picture = tmp_path / name, Pillow.fromarray(two_colours)
    if name == "rgb16.png":
        cv2.imwrite(str(path), two_colours[..., ::-1].astype(np.uint16) * 256 + 77)
    elif name == "palette.png":
        picture.quantize(4).save(path)
    elif name == "cmyk.jpg":
        picture.convert("CMYK").save(path, quality=95)
    else:
        picture.save(path, **({"quality": 95, "progressive": "prog" in name} if name.endswith("jpg") else {}))
    image = read_image(path)
    assert image.shape == (20, 40, 3) and image.dtype == np.uint8
    np.testing.assert_allclose(image[10, 5], LEFT, atol=3)
    np.testing.assert_allclose(image[10, 35], RIGHT, atol=3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_is_repeated_and_16_bits_are_scaled_not_wrapped(tmp_path: Path, dtype: type) -> None:
    ramp = np.tile(np.linspace(0, np.iinfo(dtype).max, 64).astype(dtype), (8, 1))
    cv2.imwrite(str(tmp_path / "g.png"), ramp)
    image = read_image(tmp_path / "g.png")
    assert (image == image[..., :1]).all()
    assert (np.diff(image[0, :, 0].astype(int)) >= 0).all() and image[0, 0, 0] == 0 and image[0, -1, 0] == 255


@pytest.mark.parametrize(("bits", "brightest"), [(10, 255), (12, 255), (8, 255), (14, 63)])
def test_values_of_a_sensor_stored_in_16_bits_keep_their_upper_8(tmp_path: Path, bits: int, brightest: int) -> None:
    ramp = np.tile(np.linspace(0, 2**bits - 1, 64).astype(np.uint16), (8, 1))
    cv2.imwrite(str(tmp_path / "g.png"), ramp)
    row = read_image(tmp_path / "g.png")[0, :, 0].astype(int)
    assert row[0] == 0 and row[-1] == brightest and (np.diff(row) >= 0).all()


def test_a_sensor_s_values_with_one_that_is_transparent_keep_their_upper_8(tmp_path: Path) -> None:
    grey = np.tile(np.linspace(0, 1023, 64).astype(np.uint16), (8, 1))
    Pillow.fromarray(grey).save(tmp_path / "g.png", transparency=0)
    row = read_image(tmp_path / "g.png")[0, :, 0].astype(int)
    assert row[0] == 255 and row[-1] == 255 and (np.diff(row[1:]) >= 0).all() and row[1] < 10


def test_black_in_16_bits_stays_black(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "g.png"), np.zeros((8, 16), np.uint16))
    assert not read_image(tmp_path / "g.png").any()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(tmp_path: Path, two_colours: np.ndarray, mode: str) -> None:
    picture = Pillow.fromarray(two_colours).convert("L" if mode == "LA" else "RGB")
    picture.putalpha(Pillow.fromarray(np.repeat([[0], [255]], 10, axis=0).repeat(40, axis=1).astype(np.uint8)))
    picture.save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert (image[:10] == 255).all()
    assert (image[10:, :20] == (LEFT if mode == "RGBA" else image[15, 5])).all() and image[15, 5, 1] < 100


def test_a_transparent_palette_colour_is_white(tmp_path: Path, two_colours: np.ndarray) -> None:
    palette = Pillow.fromarray(two_colours).quantize(4)
    palette.save(tmp_path / "p.png", transparency=palette.getpixel((5, 5)))
    image = read_image(tmp_path / "p.png")
    assert (image[:, :20] == 255).all() and (image[:, 20:] == RIGHT).all()


def test_content_counts_not_the_suffix_and_any_path_works(tmp_path: Path) -> None:
    path = write_image(tmp_path / "placa é 車.jpg")
    renamed = path.rename(tmp_path / "ünï.PNG")
    assert np.abs(read_image(renamed).astype(int) - picture()).mean() < 6


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"just some text\n", "is not a PNG or JPEG"),
        (b"BM" + bytes(60), "is not a PNG or JPEG"),
        (b"\x89PNG\r\n\x1a\n", "cut short"),
        (b"\xff\xd8\xff", "cut short"),
        (png(1, 1, bytes(4)), r"too small \(1x1 px\)"),
        (png(40, 3, bytes(121 * 3)), "too small"),
        (png(10_001, 4, b""), "too large"),
        (png(8000, 8000, b""), "too large"),
        (png(40, 20, bytes(121)), "damaged"),  # one row of twenty
        (png(40, 20, bytes(121 * 20), bits=5), "damaged"),
        (png(0, 0, b""), "damaged"),
    ],
)
def test_broken_files_are_input_errors_that_name_the_file(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "lr-001.png"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read_image(path)
    assert caught.value.problem.where == str(path)


def test_missing_files_folders_and_pipes_are_input_errors(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name, message in (("no.png", "no such file"), ("folder.png", "is not a file"), ("pipe.png", "is not a file")):
        with pytest.raises(InputError, match=message):
            read_image(tmp_path / name)


def test_size_limits_hold_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(images.cv2, "imdecode", explode)
    monkeypatch.setattr(images, "_decode_over_white", explode)
    for colour in (2, 6):
        with pytest.raises(InputError, match="too large"):
            decode_image(png(60_000, 60_000, b"", colour=colour), "bomb.png")


def test_the_largest_allowed_side_is_read() -> None:
    assert decode_image(png(10_000, 4, bytes(4 * (1 + 30_000))), "wide.png").shape == (4, 10_000, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_every_truncation_is_noticed(tmp_path: Path, suffix: str) -> None:
    data = write_image(tmp_path / f"a{suffix}").read_bytes()
    for end in range(len(data)):
        with pytest.raises(InputError):
            decode_image(data[:end], "cut")
    assert decode_image(data, "whole").shape == (17, 48, 3)


def test_a_thumbnails_end_marker_does_not_hide_a_truncation(tmp_path: Path) -> None:
    data = write_image(tmp_path / "a.jpg").read_bytes()
    thumbnail = b"\xff\xe1" + struct.pack(">H", 2 + len(data)) + data
    assert decode_image(data[:2] + thumbnail + data[2:], "whole").shape == (17, 48, 3)
    with pytest.raises(InputError, match="cut short"):
        decode_image(data[:2] + thumbnail + data[2:-40], "cut")


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_flipped_bytes_never_crash(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([".png", ".jpg"]))
    raw = bytearray(cv2.imencode(kind, picture(16, 8))[1].tobytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode_image(bytes(raw), "x")
    except InputError:
        return
    assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8


def test_a_flipped_bit_in_a_png_is_noticed() -> None:
    raw = bytearray(cv2.imencode(".png", picture())[1].tobytes())
    raw[len(raw) // 2] ^= 1
    with pytest.raises(InputError, match="wrong checksum"):
        decode_image(bytes(raw), "x")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(48, 17), (130, 46), (4, 4), (900, 20)])
def test_preprocess_shapes(size: tuple[int, int], channels: int) -> None:
    out = preprocess(picture(*size), InputConfig(height=32, width=96, channels=channels))
    assert out.shape == (channels, 32, 96) and out.dtype == np.uint8 and out.flags["C_CONTIGUOUS"]


def test_preprocess_keeps_channel_order_and_place() -> None:
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, :30, 0] = 250  # red, left
    out = preprocess(image, InputConfig())
    assert out[0, :, :50].min() > 200 and out[0, :, 80:].max() < 20 and out[1:].max() == 0


def test_shrinking_averages_instead_of_skipping_pixels() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 1024, 1), dtype=np.uint8).repeat(3, axis=2)
    out = preprocess(noise, InputConfig(channels=1))
    # 64 pixels become one: the deviation of 74 grey levels falls to an eighth.
    assert out.std() == pytest.approx(74 / 8, rel=0.1)


def test_equalisation_spreads_a_dark_crop() -> None:
    dark = (picture() // 10).astype(np.uint8)
    for channels in (1, 3):
        plain = preprocess(dark, InputConfig(channels=channels))
        assert preprocess(dark, InputConfig(channels=channels, equalize=True)).std() > 3 * plain.std()


def test_the_lower_row_is_laid_to_the_right_of_the_upper_one() -> None:
    rows = np.repeat(np.arange(20, dtype=np.uint8)[:, None], 4, axis=1)
    out = side_by_side(rows)
    # 11 of 20 rows each: those in the middle are seen twice.
    assert out.shape == (11, 8)
    assert out[:, 0].tolist() == list(range(11)) and out[:, -1].tolist() == list(range(9, 20))
    assert side_by_side(picture(9, 5)).shape == (3, 18, 3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("equalize", [False, True])
def test_two_rows_are_read_from_left_to_right(channels: int, equalize: bool) -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[20:] = 240  # the lower row
    out = preprocess(image, InputConfig(channels=channels, equalize=equalize, two_rows_below=2))
    assert out.shape == (channels, 32, 128) and out.flags["C_CONTIGUOUS"]
    assert out[:, :28, :60].max() < 30 and out[:, 4:, 68:].min() > 210


@given(width=st.integers(8, 120), height=st.integers(4, 60))
@settings(max_examples=40, deadline=None)
def test_only_crops_of_a_smaller_aspect_have_two_rows(width: int, height: int) -> None:
    image = picture(width, height)
    plain, rows = (preprocess(image, InputConfig(two_rows_below=limit)) for limit in (0, 2.5))
    as_two = preprocess(side_by_side(image), InputConfig())
    assert np.array_equal(rows, as_two if width < 2.5 * height else plain)


def test_read_frames_reads_lr_only_and_reports_the_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_track(tmp_path / "track_00001")
    (folder / "lr-003.png").write_bytes(b"not an image")
    (track,) = scan(folder).tracks
    opened: list[Path] = []
    original = images.read_bytes
    monkeypatch.setattr(images, "read_bytes", lambda path: opened.append(path) or original(path))
    stack, frames, problems = read_frames(track, InputConfig())
    assert stack.shape == (4, 3, 32, 128) and [f.index for f in frames] == [1, 2, 4, 5]
    assert [p.where for p in problems] == [str(folder / "lr-003.png")]
    assert {path.name[:3] for path in opened} == {"lr-"}


def test_no_file_but_the_lr_frames_is_opened_even_below_our_code(tmp_path: Path) -> None:
    folder = write_track(tmp_path / "track_00001")
    (track,) = scan(folder).tracks
    for frame in track.hr:
        frame.path.unlink()
        os.mkfifo(frame.path)  # opening one would block for ever
    opened: list[str] = []
    watching = True
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if watching and event == "open" else None)
    read_frames(track, InputConfig())
    watching = False
    assert sorted(Path(p).name for p in opened if str(folder) in p) == [f"lr-00{i}.png" for i in range(1, 6)]


def test_read_frames_without_a_readable_frame(tmp_path: Path) -> None:
    folder = write_track(tmp_path / "track_00001", lr=1)
    (track,) = scan(folder).tracks
    (folder / "lr-001.png").write_bytes(b"")
    stack, frames, problems = read_frames(track, InputConfig(channels=1))
    assert stack.shape == (0, 1, 32, 128) and frames == () and len(problems) == 1


def test_16_bit_grey_with_a_transparent_value_keeps_its_greys() -> None:
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (8, 1))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in ramp)
    data = png(64, 8, rows, bits=16, colour=0)
    # tRNS stands after IHDR, which ends at byte 33.
    data = data[:33] + chunk(b"tRNS", struct.pack(">H", int(ramp[0, 10]))) + data[33:]
    image = decode_image(data, "x")
    expected = (ramp >> 8).astype(np.uint8)
    expected[:, 10] = 255
    np.testing.assert_array_equal(image, np.repeat(expected[..., None], 3, axis=2))
