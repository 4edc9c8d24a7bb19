from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpr.data.labels import check_labels, encode_label, label_problem, normalise_label
from lpr.types import ALPHABET, Frame, InputError, Track


def track(text: str | None, number: int = 1) -> Track:
    return Track(f"track_{number}", (Frame(Path(f"t{number}/lr-001.png"), 1),), text, label_at=f"t{number}.json")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("ARO3383 ", "ARO3383"),
        (" abc-1d23\r\n", "ABC1D23"),
        ("ABC·1234", "ABC1234"),
        ("ABC • 12.34", "ABC1234"),
        ("AB\u2013123\u00a0CD", "AB123CD"),
        ("\ufeff00420", "00420"),
        ("na", "NA"),
        ("1e10", "1E10"),
        ("   ", ""),
        # Not mended: a person has to see these.
        ("ÉBC1234", "ÉBC1234"),
        ("straße1", "STRAßE1"),
        ("ＡＢＣ１２３", "ＡＢＣ１２３"),
    ],
)
def test_normalise(raw: str, text: str) -> None:
    assert normalise_label(raw) == text


@given(st.text(max_size=20))
def test_normalising_twice_is_normalising_once_and_keeps_every_letter_and_digit(raw: str) -> None:
    text = normalise_label(raw)
    assert normalise_label(text) == text
    assert [c for c in raw.upper() if c in ALPHABET and c.isascii()] == [
        c for c in text.upper() if c in ALPHABET and c.isascii()
    ]


def test_label_problem_names_the_character_and_its_place() -> None:
    assert label_problem("ABC1234", ALPHABET) is None
    assert label_problem("", ALPHABET) == "empty label"
    problem = label_problem("ABÉ1234", ALPHABET)
    assert problem is not None and "'É'" in problem and "position 3" in problem
    problem = label_problem("ABC1234", "0123456789")
    assert problem is not None and "'A'" in problem


def test_encode_label_counts_classes_from_one() -> None:
    assert encode_label("09AZ", ALPHABET) == [1, 10, 11, 36]
    with pytest.raises(InputError, match="'Ç'"):
        encode_label("Ç", ALPHABET)


def test_check_labels_keeps_good_tracks_and_lists_the_others_with_file_and_character() -> None:
    tracks = [track("ABC1D23", i) for i in range(97)] + [track("", 97), track("AB?1D23", 98), track(None, 99)]
    usable, report = check_labels(tracks, ALPHABET, max_bad=0.05, strict=False)
    assert [t.id for t in usable] == [f"track_{i}" for i in range(97)]
    assert (report.total, report.usable, report.normalised) == (100, 97, 0)
    assert [p.where for p in report.problems] == ["t97.json", "t98.json", "t99.json"]
    assert ["empty label" in report.problems[0].what, "'?'" in report.problems[1].what] == [True, True]


def test_check_labels_stops_above_the_allowed_share_not_at_it() -> None:
    tracks = [track("ABC1D23", i) for i in range(95)] + [track("", i) for i in range(95, 100)]
    assert len(check_labels(tracks, ALPHABET, max_bad=0.05, strict=False)[0]) == 95
    with pytest.raises(InputError, match="6 of 101 labels cannot be used") as caught:
        check_labels([*tracks, track("x!", 200)], ALPHABET, max_bad=0.05, strict=False)
    assert "t95.json: empty label" in str(caught.value)


def test_strict_stops_at_the_first() -> None:
    with pytest.raises(InputError, match="'!'") as caught:
        check_labels([*(track("ABC1D23", i) for i in range(99)), track("A!", 99)], ALPHABET, max_bad=1, strict=True)
    assert caught.value.problem.where == "t99.json"


def test_nothing_usable_is_an_error_however_much_is_allowed() -> None:
    for tracks in ([], [track("")]):
        with pytest.raises(InputError):
            check_labels(tracks, ALPHABET, max_bad=1.0, strict=False)


def test_a_label_that_needs_more_steps_than_the_network_has_is_bad() -> None:
    # AAAAAAA needs 7 + 6 blanks.
    tracks = [track("AAAAAAA", 1), track("ABABABA", 2)]
    assert len(check_labels(tracks, ALPHABET, max_bad=0, strict=False, steps=13)[0]) == 2
    usable, report = check_labels(tracks, ALPHABET, max_bad=1, strict=False, steps=12)
    assert [t.text for t in usable] == ["ABABABA"] and "13 CTC steps" in report.problems[0].what


def test_check_labels_normalises_tracks_that_did_not_come_from_a_scan() -> None:
    usable, report = check_labels([track("abc-1d23"), track("00420", 2)], ALPHABET, max_bad=0, strict=True)
    assert [t.text for t in usable] == ["ABC1D23", "00420"] and report.normalised == 1
