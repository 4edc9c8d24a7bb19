"""Characters that are commoner at a position: search, best path and the probabilities of characters weigh them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from decode_cases import BRAZIL, by_brute_force, normalised, obeying
from hypothesis import given, settings
from hypothesis import strategies as st

from lpr import candidates
from lpr.config import Config, ReadConfig, load_config, stored_config
from lpr.decode.candidates import char_probs
from lpr.decode.confidence import method_name
from lpr.decode.constrained import best_paths
from lpr.decode.ctc import clean, text_log_prob
from lpr.decode.decode import COMMON, weigh_track
from lpr.decode.mass import frame_masses
from lpr.decode.nbest import LOWEST_LOG_PROB, n_best_tracks
from lpr.decode.stored import Decoder, writing
from lpr.decode.trie import commonness, spellings, weighed_spellings
from lpr.formats import PlateFormat, load_format, load_formats
from lpr.model import checkpoint
from lpr.model.recogniser import build_recogniser
from lpr.types import ALPHABET, InputError, Posteriors

LETTERS, DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"


def formats_of(*templates: str) -> tuple[PlateFormat, ...]:
    return (PlateFormat("f", templates, "f", common={1: {"A": 0.9, "B": 0.06}}),)


def share(text: str) -> float:
    """Of a plate of `XX` or `X`, by hand, against the commonest: 34 other characters have the rest."""
    return {"A": 1.0, "B": 0.06 / 0.9}.get(text[0], 0.04 / 34 / 0.9)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 4), st.sampled_from([0.5, 1.0]))
def test_the_search_equals_brute_force(seed: int, frames: int, n: int, power: float) -> None:
    rng = np.random.default_rng(seed)
    formats = formats_of("XX", "X")
    arrays = [normalised(np.log(rng.dirichlet(np.full(4, 0.6), size=4) + 1e-6)) for _ in range(frames)]
    totals = [obeying(by_brute_force(array, "0AB")[0], formats) for array in arrays]
    texts = set().union(*totals)
    probs = {t: np.prod([total.get(t, 0.0) for total in totals]) ** (1 / frames) for t in texts}
    wanted = {text: prob * share(text) ** power for text, prob in probs.items()}
    (found,) = n_best_tracks([arrays], formats, "0AB", n, common=power)
    assert found.exact
    best = sorted(wanted.values(), reverse=True)[:n]
    assert [np.exp(log) for _, log in found.texts] == pytest.approx(best, rel=1e-6)
    assert all(np.exp(log) == pytest.approx(wanted[text], rel=1e-6) for text, log in found.texts)
    (plain,) = n_best_tracks([arrays], formats, "0AB", n)
    best = sorted(probs.values(), reverse=True)[:n]
    assert [np.exp(log) for _, log in plain.texts] == pytest.approx(best, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_best_path_weighs_them_too(seed: int) -> None:
    rng = np.random.default_rng(seed)
    array = normalised(np.log(rng.dirichlet(np.full(4, 0.6), size=4) + 1e-6))
    _, paths = by_brute_force(array, "0AB")
    wanted = max(log + np.log(share(text)) for text, log in paths.items() if len(text) == 2)
    ((reading, _),) = best_paths([array], formats_of("XX"), "0AB", 1.0)
    assert reading.log_prob + np.log(share(reading.text)) == pytest.approx(wanted, rel=1e-6)
    assert reading.log_prob == pytest.approx(paths[reading.text], rel=1e-6), "the path's own probability"


def test_a_text_too_unlikely_for_floats_keeps_its_prior() -> None:
    array = np.full((13, 4), -400.0)
    array[:, 0] = 0.0
    (found,) = n_best_tracks([[array]], formats_of("XXXXXXX"), "0AB", 4, common=1.0)
    assert len(found.texts) == 4 and found.texts[0][0][0] == "A" and found.texts[0][1] < LOWEST_LOG_PROB
    rows = clean(array, "0AB")
    for text, log in found.texts:
        assert log == pytest.approx(text_log_prob(rows, text, "0AB") + np.log(share(text)), abs=1e-3)


def test_spellings_are_parted_by_how_common_they_are() -> None:
    found = dict(zip(*weighed_spellings(formats_of("XL", "LD"), common=1.0), strict=True))
    assert found["A", LETTERS] == 0.0
    assert found["B", LETTERS] == pytest.approx(np.log(0.06 / 0.9))
    assert found[DIGITS + LETTERS[2:], LETTERS] == pytest.approx(np.log(0.04 / 34 / 0.9))
    # Where a template allows letters alone fewer share the rest.
    assert found[LETTERS[2:], DIGITS] == pytest.approx(np.log(0.04 / 24 / 0.9))
    assert weighed_spellings(BRAZIL) == (spellings(BRAZIL), (0.0, 0.0))


def test_of_formats_that_share_a_text_the_larger_counts() -> None:
    both = (*formats_of("XL"), PlateFormat("g", ("XL",), "g"))
    assert commonness(["0A", "0AA"], both) == [0.0, 0.0] > commonness(["0A"], formats_of("XL"))
    array = normalised(np.random.default_rng(0).normal(size=(5, 4)))
    assert n_best_tracks([[array]], both, "0AB", 9, common=1.0) == n_best_tracks([[array]], both, "0AB", 9)


def test_priors_of_formats_and_characters_add_up() -> None:
    formats = (*formats_of("XD"), PlateFormat("g", ("DD",), "g", prior=0.25))
    found = dict(zip(*weighed_spellings(formats, priors=True, common=0.5), strict=True))
    assert found["A", DIGITS] == 0.0
    assert found["B", DIGITS] == pytest.approx(0.5 * np.log(0.06 / 0.9))
    assert found[DIGITS, DIGITS] == pytest.approx(np.log(0.25))


def test_the_fifth_letter_of_a_mercosur_plate_is_mostly_one_of_ten() -> None:
    mercosur = load_format("mercosur")
    rare = np.log((0.03 / 16) / (0.97 / 10))
    assert commonness(["ABC1J23", "ABC1K23", "ABC1234"], BRAZIL) == pytest.approx([0.0, rare, 0.0])
    assert mercosur.to_dict()["common"] == {"5": {"ABCDEFGHIJ": 0.97}}


def two_ways(sure: float) -> np.ndarray:
    """(32, 37) of ABC1?23, whose fifth character is V with the probability `sure`, else D."""
    array = np.full((32, 37), -30.0)
    array[:, 0] = 0.0
    for step, character in zip(range(2, 30, 4), "ABC1V23", strict=True):
        array[step, 0], array[step, ALPHABET.index(character) + 1] = -30.0, 0.0
    array[18, ALPHABET.index("V") + 1], array[18, ALPHABET.index("D") + 1] = np.log(sure), np.log(1 - sure)
    return clean(array, ALPHABET)


@pytest.mark.parametrize(("sure", "text"), [(0.6, "ABC1D23"), (0.999, "ABC1V23")])
@pytest.mark.parametrize("fusion", ["sequence", "log_prob_sum", "majority_vote"])
def test_a_rare_letter_is_read_where_it_is_clear(sure: float, text: str, fusion: str) -> None:
    posteriors = Posteriors("t", (two_ways(sure),) * 2, ALPHABET)
    found, evidence = weigh_track(posteriors, ReadConfig(fusion=fusion), BRAZIL)
    assert found.text == text and {one.text for one in found.per_frame} == {text}
    plain, _ = weigh_track(posteriors, ReadConfig(fusion=fusion, common_characters=False), BRAZIL)
    assert plain.text == "ABC1V23"
    if fusion != "majority_vote":
        assert {found.text, found.runners_up[0][0]} == {"ABC1D23", "ABC1V23"}
        assert evidence.mass == pytest.approx(1.0, abs=1e-3), "a plate with a rare letter is a plate"


def test_the_probabilities_of_characters_weigh_them() -> None:
    rare = np.exp(COMMON * commonness(["ABC1V23"], BRAZIL)[0])
    found = char_probs([two_ways(0.6)], "ABC1D23", BRAZIL, ALPHABET, None, COMMON)
    assert found[4] == pytest.approx(0.4 / (0.4 + 0.6 * rare), abs=1e-3)
    assert char_probs([two_ways(0.6)], "ABC1D23", BRAZIL, ALPHABET)[4] == pytest.approx(0.4, abs=1e-3)


def test_an_older_checkpoint_reads_as_it_did() -> None:
    assert ReadConfig().common_characters
    assert not stored_config({"read": {"focus": 0.5}}, "here").read.common_characters


@pytest.mark.parametrize(
    "common",
    ["5", "{5: 0.9}", "{0: {A: 0.9}}", "{8: {A: 0.9}}", "{5: {A: 1.0}}", "{5: {A: 0.5, AB: 0.2}}", "{5: {a: 0.5}}",
     "{5: {A: -0.1}}", "{x: {A: 0.5}}", "{5: {}}", "{5: {A: true}}",
     "{²: {A: 0.5}}", "{5: {'': 0.5}}"],
)  # fmt: skip
def test_what_cannot_be_weighed_is_refused(common: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"templates: [LLLDLDD]\ncommon: {common}\n")
    with pytest.raises(InputError, match="`common` must hold"):
        load_format(str(path))


@pytest.mark.parametrize("fusion", ["sequence", "log_prob_sum"])
def test_a_clear_plate_with_a_rare_letter_is_sure(fusion: str) -> None:
    array = clean(two_ways(1 - 1e-6), ALPHABET)
    read = ReadConfig(fusion=fusion)
    found = [
        weigh_track(Posteriors("t", (array,) * 5, ALPHABET), one, BRAZIL)[1].raw
        for one in (read, read.model_copy(update={"common_characters": False}))
    ]
    assert found == pytest.approx([1.0, 1.0], abs=1e-3)


def test_raw_values_follow_bayes_rule() -> None:
    rare = np.exp(COMMON * commonness(["ABC1V23"], BRAZIL)[0])
    found, evidence = weigh_track(Posteriors("t", (two_ways(0.6),), ALPHABET), ReadConfig(), BRAZIL)
    assert found.text == "ABC1D23"
    assert evidence.raw == pytest.approx(0.4 / (0.4 + 0.6 * rare), abs=1e-3)
    assert found.runners_up[0] == ("ABC1V23", pytest.approx(0.6 * rare / (0.4 + 0.6 * rare), abs=1e-3))


def test_the_mass_of_weighed_texts_is_their_sum() -> None:
    array = normalised(np.random.default_rng(1).normal(size=(5, 4)))
    totals = obeying(by_brute_force(array, "0AB")[0], formats_of("XX", "X"))
    powers = (0.0, 0.5, 1.0)
    for power, masses in zip(powers, frame_masses([array], formats_of("XX", "X"), "0AB", powers), strict=True):
        wanted = sum(prob * share(text) ** power for text, prob in totals.items())
        assert masses["f"] == pytest.approx([wanted])
        assert frame_masses([array], formats_of("XX", "X"), "0AB", (power,))[0]["f"] == pytest.approx([wanted])


def test_only_formats_that_weigh_characters_ask_for_another_calibration() -> None:
    read = ReadConfig()
    off = read.model_copy(update={"common_characters": False})
    assert method_name(read, BRAZIL) == method_name(off, BRAZIL).replace("/0.5", "/0.5/common")
    assert method_name(read, BRAZIL[:1]) == method_name(off, BRAZIL[:1])
    greedy = read.model_copy(update={"decoder": "greedy"})
    assert "common" not in method_name(greedy, BRAZIL)


def test_a_new_calibration_keeps_what_it_was_fitted_with_readable(tmp_path: Path) -> None:
    own, path = load_formats(["brazilian", "mercosur"]), tmp_path / "model.safetensors"
    config = load_config(["phase1", "cpu"], ["input.width=64", "model.hidden=8"])
    checkpoint.save(path, build_recogniser(config), config, {})
    mine = tmp_path / "mine.yaml"
    mine.write_text("templates: [LLDD]\n")
    mercosur = tmp_path / "mercosur.yaml"
    mercosur.write_text("templates: [LLLDLDD]\ncommon: {1: {A: 0.5}}\n")
    names = ["brazilian", str(mercosur), str(mine)]
    read = config.read.model_copy(update={"formats": tuple(names)}).model_dump(mode="json")
    checkpoint.recalibrate(path, {}, read, load_formats(names), path)
    found = checkpoint.load(path)
    # Its own formats travel with it, with the file's priors; another one stays where it is.
    assert found.config.read.formats == ("brazilian", "mercosur", str(mine))
    assert [one.name for one in found.formats] == [one.name for one in own]
    assert found.formats[1].common == {1: {"A": 0.5}} and not found.formats[0].common


def test_a_clear_plate_that_a_pattern_excludes_is_another_one_and_not_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(tmp_path / "posteriors.npz", Decoder(Config(), BRAZIL, None, "ab" * 32, "m"), ALPHABET) as kept:
        kept.add(Posteriors("t", (two_ways(1 - 1e-6).astype(np.float32),) * 2), ())
    words = ["--tracks", str(tmp_path / "posteriors.npz"), "--out", str(tmp_path / "out")]
    assert candidates.main([*words, "--pattern", "Z*"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "1 of 1 tracks: none of these is likely, such as t" in said and "look like a plate" not in said
    assert candidates.main([*words, "--pattern", "A*"]) == 0
    assert "is likely" not in capsys.readouterr().err
