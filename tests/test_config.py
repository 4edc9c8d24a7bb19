"""Configuration layers and YAML scalars."""

from __future__ import annotations

from pathlib import Path

import pytest

from lpr import yaml
from lpr.config import Config, load_config, parse_config
from lpr.formats import ctc_steps, load_format, load_formats, template_mask, worst_case_steps
from lpr.types import InputError


def test_yaml_reads_scalars_as_people_mean_them() -> None:
    text = "a: 1e-4\nb: no\nc: 00420\nd: 1E10\ne: true\nf: 3\ng: NA\nh: null\ni: -0.5\nj: on\nk: 2.5e+3"
    assert yaml.parse(text, "x") == {
        "a": 1e-4, "b": "no", "c": "00420", "d": "1E10", "e": True, "f": 3, "g": "NA", "h": None, "i": -0.5, "j": "on",
        "k": 2500.0,
    }  # fmt: skip


def test_broken_yaml_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("train:\n  lr: [1\n")
    with pytest.raises(InputError, match=r"mine\.yaml:\d"):
        load_config([str(path)])
    path.write_text("train:\n  lr: 1e-3\n  lr: 1e-4\n")
    with pytest.raises(InputError, match=r"mine\.yaml:3.*stands twice"):
        load_config([str(path)])


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("trian.lr=1e-3", "did you mean train?"),
        ("train.lerning_rate=1", "unknown setting 'train.lerning_rate'"),
        ("train.batch_sise=8", "did you mean train.batch_size?"),
        ("train.lr=fast", "valid number, .* not 'fast'"),
        ("train.epochs=2.5", "valid integer"),
        ("train.epochs=0", "greater than or equal to 1"),
        ("train.lr", "expected section.key=value"),
        ("model.name=resnet", "not 'resnet'"),
        ("read.formats=[]", "at least 1 item"),
        ("train.seed=99999999999999999999", "train.seed: Input should be less than or equal to 9223372036854775807"),
        ("split.seed=-99999999999999999999", "split.seed: Input should be greater"),
        ("train.epochs=true", "train.epochs: Input should be a number, not True"),
        ("train.lr=true", "train.lr: Input should be a number, not True"),
        ("input.channels=true", "input.channels: Input should be a number, not True"),
        ("train.lr=.inf", "train.lr: Input should be a finite number"),
        ("train.lr=1e400", "train.lr: Input should be a finite number"),
        ("train.max_minutes=.nan", "train.max_minutes: Input should be"),
        ("train.epochs=1e400", "train.epochs: Input should be a finite number"),
        ("model.alphabet=ABCA", "model.alphabet: Input should hold 'A' only once, not 'ABCA'"),
    ],
)
def test_wrong_settings_are_named(setting: str, expected: str) -> None:
    with pytest.raises(InputError, match=f"(?s){expected}"):
        load_config([], [setting])


def test_every_number_refuses_a_switch_and_every_seed_serves_torch() -> None:
    numbers = 0
    for section, settings in Config().model_dump().items():
        for name, usual in settings.items():
            if isinstance(usual, (int, float)) and not isinstance(usual, bool):
                numbers += 1
                with pytest.raises(InputError, match="should be a number"):
                    parse_config({section: {name: True}}, "here")
    assert numbers > 20
    for seed in (-(2**63), 2**63 - 1):
        assert load_config([], [f"train.seed={seed}"]).train.seed == seed


def test_layers_win_from_left_to_right_and_numbers_and_switches_parse(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("train: {lr: 1e-4, epochs: 3}\nmodel: {super_resolution: yes}\n")
    (tmp_path / "b.yaml").write_text("train: {epochs: 4}\nmodel: {super_resolution: no}\n")
    config = load_config([str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")], ["train.seed=7"])
    assert (config.train.lr, config.train.epochs, config.train.seed) == (1e-4, 4, 7)
    assert config.model.super_resolution is False


def test_a_configuration_survives_its_own_file() -> None:
    config = load_config([], ["model.alphabet=0123456789", "read.formats=[mercosur]"])
    assert config.model.alphabet == "0123456789"
    assert parse_config(config.model_dump(mode="json"), "here") == config
    assert parse_config({}, "here") == Config()


def test_an_unknown_preset_or_format_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'phase1'"):
        load_config(["fase1"])
    with pytest.raises(InputError, match="did you mean 'brazilian'"):
        load_format("brasilian")


def test_formats_match_count_steps_and_mask() -> None:
    old, new = load_formats(["brazilian", "mercosur"])
    assert old.matches("ABC1234") and not old.matches("ABC1D23") and new.matches("ABC1D23")
    assert not old.matches("ABC123") and not old.matches("AB12345") and not old.matches("abc1234")
    assert ctc_steps("AAA1111") == 12 and ctc_steps("ABC1234") == 7 and ctc_steps("") == 0
    # Letters never equal digits: LLLDDDD needs 2 + 3 blanks, LLLDLDD 2 + 1.
    assert worst_case_steps([old]) == 12 and worst_case_steps([new]) == 10
    mask = template_mask("LD")
    assert mask.shape == (2, 37) and mask[0].sum() == 26 and mask[1].sum() == 10 and not mask[:, 0].any()
    with pytest.raises(InputError, match="alphabet"):
        template_mask("LD", "0123456789")
