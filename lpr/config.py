"""Every setting once: its type, default, unit and reason.

A configuration is built in layers, later ones winning: the defaults here, then preset files
(`configs/NAME.yaml`, only what differs), then `--set train.lr=3e-4`. An unknown key is an error that names the
nearest one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from . import yaml
from .types import ALPHABET, InputError

CONFIGS_DIR = Path(__file__).resolve().parent.parent / "configs"


#: What torch takes on every platform; negative seeds are as good as others.
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]


class Section(BaseModel):
    """A group of settings: frozen, and closed to unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic takes true for 1."""
        usual = cls.model_fields[info.field_name or ""].default
        if isinstance(value, bool) and isinstance(usual, (int, float)) and not isinstance(usual, bool):
            raise PydanticCustomError("number", "Input should be a number")
        return value


class InputConfig(Section):
    """The picture the network sees; the same in training, reading and export."""

    height: int = Field(32, ge=16, le=512, description="px")
    width: int = Field(128, ge=32, le=2048, description="px; T = width / 4 steps, and T = 16 is tight for 7 characters")
    channels: Literal[1, 3] = Field(3, description="1 grey, 3 RGB")
    equalize: bool = Field(False, description="histogram equalisation of the luminance before resizing")
    two_rows_below: float = Field(
        0, ge=0, le=4, description="a crop of a smaller width / height shows two rows, the upper read first; 0: off"
    )


class ModelConfig(Section):
    """The recogniser."""

    name: Literal["seed-crnn", "cpu", "se-resnet", "svtr", "timm"] = "seed-crnn"
    alphabet: str = Field(ALPHABET, min_length=1, description="class i + 1 is character i; 0 is the blank")
    sequence: Literal["lstm", "attention"] = Field("lstm", description="what reads along the steps, both ways")
    hidden: int = Field(256, ge=8, description="LSTM units a direction; attention is as wide as both together")
    layers: int = Field(2, ge=1, le=4, description="of the LSTM or of attention")
    dropout: float = Field(0.3, ge=0, lt=1)
    timm_name: str = Field("resnet18", description="for name: timm; any CNN that supports features_only")
    residual: int = Field(0, ge=0, le=4, description="for name: cpu; residual blocks behind each of two stages")
    residual_fine: int = Field(0, ge=0, le=4, description="for name: cpu; residual blocks at a quarter of the height")
    stn: bool = Field(False, description="spatial transformer: an affine transform of the picture, learned, before all")
    mixing: int = Field(0, ge=0, le=8, description="blocks of local and global mixing (SVTR) before the sequence model")
    temporal: int = Field(
        0, ge=0, le=4, description="blocks in which the frames of a track look at each other; trains on whole tracks"
    )
    super_resolution: bool = Field(False, description="train a super-resolution head jointly, on degraded HR")
    slot_head: bool = Field(False, description="training only, one slot a character: it breaks the CTC plateau")

    @field_validator("alphabet")
    @classmethod
    def _each_character_once(cls, value: str) -> str:
        """A character that stands twice would be two classes, one of which nothing is ever trained on."""
        for position, character in enumerate(value):
            if character in value[:position]:
                raise PydanticCustomError(
                    "alphabet", "Input should hold {character} only once", {"character": repr(character)}
                )
        return value


class DataConfig(Section):
    """Which frames an epoch sees, and how labels are judged."""

    scenarios: tuple[str, ...] = Field((), description="train on these only; empty: all, and tracks without one")
    mix: dict[str, float] = Field(
        {},
        description="share of an epoch's samples by source, as {synthetic: 0.8, real: 0.2} for --data synthetic=DIR "
        "real=DIR; 0: scanned only, say for validation; empty: all sources together, each frame once an epoch",
    )
    epoch_samples: int = Field(0, ge=0, description="samples (frames) of an epoch; 0: as many as there are")
    hr_frames: Literal["none", "as_is", "degraded", "both"] = Field(
        "both", description="HR frames in training: as they are, degraded to LR, both (chosen per sample), or none"
    )
    hr_share: float = Field(0.3, ge=0, le=1, description="share of a training epoch's samples drawn from HR frames")
    spoiled: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of tracks shown in an epoch without a whole plate (cut, covered, blank), to "
        "spell nothing in; teaches what is no plate",
    )
    merged: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of LR samples that show a picture merged from two or more frames of the track, see "
        "data/merge.py; none with model.temporal, whose frames look at each other",
    )
    strict: bool = Field(False, description="stop at the first problem")
    max_bad_labels: float = Field(0.05, ge=0, le=1, description="stop when a larger share of labels is unusable")
    workers: int = Field(1, ge=0, le=1024, description="loader processes; the samples do not depend on it")

    @field_validator("mix")
    @classmethod
    def _shares(cls, value: dict[str, float]) -> dict[str, float]:
        """Shares are normalised where they are used, so 80 and 20 are as good as 0.8 and 0.2."""
        if value and (min(value.values()) < 0 or not sum(value.values())):
            raise PydanticCustomError("mix", "Input should hold shares of 0 or more, and one above 0")
        return value


class SplitConfig(Section):
    """Held-out plates, by text: two folds to validate on and, where asked for, a test set of one's own."""

    val_share: float = Field(0.05, gt=0, lt=1, description="of all tracks, or of those of validate_on")
    test_share: float = Field(0, ge=0, lt=1, description="held out completely, listed in the run's test_tracks.txt")
    validate_on: str = Field(
        "", description="source that the held-out tracks come from; empty: Scenario B (the test's domain), else all"
    )
    stratify: bool = Field(False, description="by length, first character and background colour (white or yellow)")
    seed: Seed = 0
    train_on_all: bool = Field(False, description="the last run before a submission: nothing is held out of training")


#: Rows of the table in lpr/data/augment.py.
StrengthName = Literal["none", "light", "medium", "heavy", "aggressive"]


class AugmentConfig(Section):
    """Strength of augmentation; the tables behind the names are in lpr/data/augment.py."""

    strength: StrengthName = "aggressive"
    sources: dict[str, StrengthName] = Field({}, description="by source, where it differs: {real: heavy}")


class TrainConfig(Section):
    """The training loop."""

    epochs: int = Field(25, ge=1)
    batch_size: int = Field(64, ge=1, description="frames, of all processes together")
    lr: float = Field(1e-3, gt=0)
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw", description="muon: for matrices and convolutions, and AdamW for the rest, see training/muon.py"
    )
    weight_decay: float = Field(1e-5, ge=0)
    grad_clip: float = Field(5.0, gt=0, description="largest gradient norm")
    schedule: Literal["plateau", "onecycle", "cosine", "constant"] = "plateau"
    plateau_factor: float = Field(0.5, gt=0, lt=1)
    plateau_patience: int = Field(3, ge=0, description="epochs without a better exact match before lr falls")
    early_stop: int = Field(
        10, ge=1, description="epochs without a better exact match before it stops; not with train_on_all"
    )
    curriculum_steps: int = Field(
        0, ge=0, description="over the first so many steps the share of clean HR samples falls from 1 to data.hr_share"
    )
    focal: float = Field(
        0,
        ge=0,
        le=10,
        description="focal CTC: a label's loss times (1 - its probability) to this power, so that what is read already "
        "counts less; 0: off",
    )
    slot_weight: float = Field(1.0, ge=0, description="weight of the slot head's cross-entropy beside CTC")
    sr_weight: float = Field(0.5, ge=0, description="weight of the super-resolution head's L1 loss beside CTC")
    ema: float = Field(
        0,
        ge=0,
        lt=1,
        description="decay a step of a moving average of the weights, which is validated and kept as best; 0.999 "
        "averages about 1,000 steps; 0: off",
    )
    teacher_weight: float = Field(
        0,
        ge=0,
        description="weight of the divergence from what the averaged weights (ema) read in the clean HR crop of a "
        "degraded HR sample; 0: off",
    )
    init_from: str = Field("", description="checkpoint or run directory to start from; its split is kept")
    seed: Seed = 0
    threads: int = Field(
        0, ge=0, le=1024, description="torch CPU threads; 0: one a core. Bit-equal resume needs equal ones"
    )
    amp: bool = Field(True, description="mixed precision where a GPU, or a CPU with bfloat16 is used")
    checkpoint_minutes: float = Field(4.0, gt=0, le=5, description="a killed run loses at most this much")
    max_minutes: float = Field(0, ge=0, description="stop cleanly after so many minutes; 0: no limit")


class ReadConfig(Section):
    """From posteriors to a prediction."""

    formats: tuple[str, ...] = Field(("brazilian", "mercosur"), min_length=1, description="files in configs/formats")
    decoder: Literal["constrained", "greedy", "beam"] = Field(
        "constrained", description="exact under the formats; greedy and beam (prefix beam search) read free text"
    )
    fusion: Literal["log_prob_sum", "sequence", "confidence_vote", "majority_vote", "max_score", "position_vote"] = (
        Field("sequence", description="the text with the largest product of its likelihoods under all frames")
    )
    focus: float = Field(
        0.5,
        ge=0,
        le=10,
        description="sequence: how much more a sure frame counts, see fusion.frame_weights; 0: all alike. Larger ones "
        "trust a frame's sureness more, which pays only for the cameras that were trained for",
    )
    views: int = Field(
        3,
        ge=1,
        le=35,
        description="looks at a track: one of fewer frames is looked at again, each frame scaled, shifted or turned a "
        "little (test-time augmentation, at most 7 looks a frame), see model/inference.py; 1: every frame as it is",
    )
    merged: int = Field(
        0,
        ge=0,
        le=5,
        description="pictures made of all frames of a track, registered onto one of them and averaged, that are read "
        "beside the frames, see data/merge.py; for networks trained with data.merged. Votes count frames alone",
    )
    amp: bool = Field(
        True,
        description="compute in bfloat16 where a GPU or CPU has it: half the time, probabilities within about "
        "0.01; false: float32, the same on all machines but for rounding",
    )
    format_priors: bool = Field(
        False, description="weigh formats by the priors in their files; constrained, with log_prob_sum or sequence"
    )
    common_characters: bool = Field(
        True,
        description="weigh texts by how common their characters are at their positions, as far as the formats' files "
        "say so (`common`): softly, and only in the constrained decoder",
    )
    sharpen: float = Field(
        1.0,
        ge=1,
        le=100,
        description="log-odds of confidences times this: a larger gap for the competition's tie-break, "
        "but no probability any more; never changes a text",
    )
    review_below: float = Field(0.5, ge=0, le=1, description="tracks of lower confidence are listed in review.csv")
    batch_tracks: int = Field(32, ge=1, description="tracks read at once; bounds the memory")


class Config(Section):
    """The whole configuration; a run directory and a checkpoint carry it resolved."""

    input: InputConfig = InputConfig()
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    read: ReadConfig = ReadConfig()


def presets() -> tuple[str, ...]:
    """Names of the shipped presets."""
    return tuple(sorted(path.stem for path in CONFIGS_DIR.glob("*.yaml")))


def load_config(presets_: Sequence[str] = (), settings: Sequence[str] = (), base: Config | None = None) -> Config:
    """Layer presets (names, or paths ending in .yaml) and `section.key=value` settings over `base` or the defaults."""
    values: dict[str, Any] = (base or Config()).model_dump(mode="json")
    for name in presets_:
        path = Path(name) if name.endswith((".yaml", ".yml")) else CONFIGS_DIR / f"{name}.yaml"
        if not path.is_file():
            near = get_close_matches(name, presets(), 1)
            raise InputError(
                f"unknown preset {name!r}" + (f", did you mean {near[0]!r}?" if near else ""),
                fix=f"shipped presets: {', '.join(presets())}; your own: the path of a .yaml file",
            )
        _merge(values, yaml.load(path), str(path))
    for setting in settings:
        key, equals, raw = setting.partition("=")
        section, dot, name = key.strip().partition(".")
        if not (equals and dot and name):
            raise InputError(f"--set {setting}: expected section.key=value, such as train.lr=3e-4")
        _merge(values, {section: {name: yaml.parse(raw, f"--set {key}")}}, f"--set {setting}")
    return parse_config(values, "configuration")


#: What younger settings were before they could be set, by section.
BEFORE: dict[str, dict[str, Any]] = {"read": {"views": 1, "common_characters": False}}


def parse_config(values: Mapping[str, Any], where: str) -> Config:
    """Check plain values, such as those of a checkpoint or run directory, and freeze them."""
    _merge({}, values, where)
    try:
        found = Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][:2])
        raise InputError(f"{key}: {first['msg']}, not {first['input']!r}", where=where) from error
    if found.input.two_rows_below and (found.data.merged or found.read.merged):
        raise InputError(
            "merged pictures of two rows that were laid side by side would be torn (input.two_rows_below)",
            where=where,
            fix="--set data.merged=0 read.merged=0",
        )
    return found


def stored_config(values: Mapping[str, Any], where: str) -> Config:
    """`parse_config` of what a file holds: settings that are younger than it have the value that stood for its ways."""
    return parse_config(
        {name: {**BEFORE.get(name, {}), **settings} if isinstance(settings, Mapping) else settings
         for name, settings in values.items()},
        where,
    )  # fmt: skip


def _merge(values: dict[str, Any], layer: Mapping[str, Any], where: str) -> None:
    """Lay `layer` over `values` in place; every key must be a known setting and of the right type."""
    for section, settings in layer.items():
        field = Config.model_fields.get(section)
        if field is None:
            raise _unknown(section, section, Config, "", where)
        model: type[Section] = field.annotation  # type: ignore[assignment]
        if not isinstance(settings, Mapping):
            raise InputError(f"{section}: must hold `name: value` lines, not {settings!r}", where=where)
        for name in settings:
            if name not in model.model_fields:
                raise _unknown(f"{section}.{name}", name, model, f"{section}.", where)
        try:
            model.model_validate(settings)
        except ValidationError as error:
            first = error.errors()[0]
            key = f"{section}." + ".".join(map(str, first["loc"]))
            raise InputError(f"{key}: {first['msg']}, not {first['input']!r}", where=where) from error
        values.setdefault(section, {}).update(settings)


def _unknown(key: str, name: str, model: type[BaseModel], prefix: str, where: str) -> InputError:
    near = get_close_matches(name, model.model_fields, 1, cutoff=0.5)
    hint = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(prefix + k for k in model.model_fields)}"
    return InputError(f"unknown setting {key!r}", where=where, fix=hint)
