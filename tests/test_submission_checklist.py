"""The checklist before a submission: each of its lines can fail, and says why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lpr.checklist import main
from lpr.submission import read_submission, write_submission
from lpr.types import Prediction, UsageError

cv2 = pytest.importorskip("cv2")

NAMES = (
    "zip created correctly",
    "size within limits",
    "format validation passing",
    "all predictions generated",
    "checkpoint loads",
    "inference tested on samples",
)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four tracks (test/), an untrained checkpoint and a submission that has their lines."""
    from lpr.config import load_config
    from lpr.model.checkpoint import save
    from lpr.model.recogniser import build_recogniser

    root = tmp_path_factory.mktemp("checklist")
    config = load_config(["phase1", "cpu"], ["input.width=64", "model.hidden=8"])
    save(root / "tiny.safetensors", build_recogniser(config), config, {})
    rng = np.random.default_rng(0)
    for number in range(4):
        (root / "test" / f"track_{number}").mkdir(parents=True)
        noise = rng.integers(0, 255, (18, 44, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "test" / f"track_{number}" / "lr-001.png"), noise)
    from lpr.data.scan import scan
    from lpr.reader import Reader

    own = Reader(root / "tiny.safetensors", device="cpu").read_tracks(scan(root / "test").tracks)
    write_submission(own, root / "good.zip")
    return root


def lines(count: int, text: str = "ABC1D23") -> list[Prediction]:
    return [Prediction(f"track_{number}", text, 0.5) for number in range(count)]


def marks(root: Path, path: Path, capsys: pytest.CaptureFixture[str], checkpoint: str = "") -> tuple[int, str, str]:
    """Exit code, the marks of the six checks in the order of NAMES, and everything said."""
    code = main([
        str(path), "--tracks", str(root / "test"),
        "--checkpoint", checkpoint or str(root / "tiny.safetensors"), "--device", "cpu",
    ])  # fmt: skip
    said = capsys.readouterr().out
    shown = said.splitlines()
    assert [line[4:].split(":")[0] for line in shown] == list(NAMES)
    return code, "".join(line[1] for line in shown), said


def test_a_good_submission_passes_every_check(ready, capsys):
    code, found, said = marks(ready, ready / "good.zip", capsys)
    assert (code, found) == (0, "xxxxxx")
    assert "a line for each of 4 tracks" in said and "track_0 " in said and "track_3 " in said
    assert "3 of 3 as in the zip" in said


def test_a_zip_that_another_checkpoint_made_fails(ready, tmp_path, capsys):
    other = write_submission(lines(4, "ZZZ9Z99"), tmp_path / "predictions.zip")
    code, found, said = marks(ready, other, capsys)
    assert (code, found) == (1, "xxxxx ") and "0 of 3 as in the zip: another checkpoint made it" in said
    # What lies beside a zip says whose readings they are, however alike.
    good = tmp_path / "good.zip"
    good.write_bytes((ready / "good.zip").read_bytes())
    record = {"audit": {"model_hash": "ab" * 32, "checkpoint": "runs/other/best/model.safetensors"}}
    (tmp_path / "predictions.jsonl").write_text(json.dumps(record) + "\n")
    code, found, said = marks(ready, good, capsys)
    assert (code, found) == (1, "xxxxx ") and "says that runs/other/best/model.safetensors made it" in said
    (tmp_path / "predictions.jsonl").write_text("[]\n")
    assert marks(ready, good, capsys)[:2] == (0, "xxxxxx")
    # The same network with another fusion may read otherwise.
    from lpr.reader import Reader

    record["audit"]["model_hash"] = Reader(ready / "tiny.safetensors", device="cpu").decoder.model_hash
    (tmp_path / "predictions.jsonl").write_text(json.dumps(record) + "\n")
    assert marks(ready, other, capsys)[:2] == (0, "xxxxxx")


def test_each_fault_fails_its_own_check(ready, tmp_path, capsys):
    short = write_submission(read_submission(ready / "good.zip")[:3], tmp_path / "short.zip")
    assert marks(ready, short, capsys)[:2] == (1, "xxx xx")
    wrong = write_submission(lines(4, "ABCD"), tmp_path / "wrong.zip")
    assert marks(ready, wrong, capsys)[:2] == (1, "xx -xx")
    (tmp_path / "none.zip").write_bytes(b"PK no zip")
    assert marks(ready, tmp_path / "none.zip", capsys)[:2] == (1, " x -xx")
    assert marks(ready, tmp_path / "missing.zip", capsys)[:2] == (1, "   -xx")
    (tmp_path / "large.zip").write_bytes((ready / "good.zip").read_bytes() + b"\0" * 2**20)
    assert marks(ready, tmp_path / "large.zip", capsys)[1][1] == " "
    code, found, said = marks(ready, ready / "good.zip", capsys, str(tmp_path / "no.safetensors"))
    assert (code, found) == (1, "xxxx -") and "no.safetensors" in said


def test_one_text_for_every_track_fails(ready, tmp_path, capsys):
    test = tmp_path / "test"
    for number in range(20):
        shutil.copytree(ready / "test" / "track_0", test / f"track_{number}")
    for text, passes in ((lambda _: "ABC1D23", False), (lambda k: "ABC1D2" + "38"[k % 2], True)):
        sent = [Prediction(f"track_{number}", text(number), 0.5) for number in range(20)]
        write_submission(sent, tmp_path / "sent.zip")
        main([str(tmp_path / "sent.zip"), "--tracks", str(test), "--checkpoint", str(ready / "tiny.safetensors")])
        said = capsys.readouterr().out
        assert ("[x] all predictions generated" in said) is passes
        assert ("all 20 tracks are said to read ABC1D23" in said) is not passes


def test_samples_without_a_frame_fail(ready, tmp_path, capsys):
    for number in range(4):
        (tmp_path / "test" / f"track_{number}").mkdir(parents=True)
        (tmp_path / "test" / f"track_{number}" / "lr-001.png").write_bytes(b"no image")
    code = main([
        str(ready / "good.zip"), "--tracks", str(tmp_path / "test"),
        "--checkpoint", str(ready / "tiny.safetensors"),
    ])  # fmt: skip
    assert code == 1 and "[ ] inference tested on samples: track_0" in capsys.readouterr().out
    # One blind track is a track of the test set like any other: its line carries confidence 0.
    cv2.imwrite(str(tmp_path / "test" / "track_0" / "lr-001.png"), np.full((18, 44, 3), 90, np.uint8))
    main([str(ready / "good.zip"), "--tracks", str(tmp_path / "test"), "--checkpoint", str(ready / "tiny.safetensors")])
    said = capsys.readouterr().out
    assert "inference tested on samples: track_0" in said and "(no readable LR frame)" in said


def test_the_checklist_needs_the_test_set(ready):
    with pytest.raises(UsageError, match="--tracks"):
        main([str(ready / "good.zip")])


def test_an_ensemble_and_a_format_are_what_the_samples_are_read_with(ready, tmp_path, capsys):
    from lpr.config import load_config
    from lpr.data.scan import scan
    from lpr.decode.confidence import Calibration
    from lpr.ensemble import Ensemble
    from lpr.model.checkpoint import save
    from lpr.model.recogniser import build_recogniser

    config = load_config(["phase1", "cpu"], ["input.width=64", "model.hidden=8"])
    save(ready / "second.safetensors", build_recogniser(config), config, {})
    members = [str(ready / f"{name}.safetensors") for name in ("tiny", "second")]
    Ensemble(members, device="cpu").save(ready / "both.json", Calibration())
    ensemble = Ensemble([str(ready / "both.json")], device="cpu")
    own = [ensemble.decoder.decode(*one) for one in ensemble.posteriors(scan(ready / "test").tracks)]
    write_submission(own, tmp_path / "both.zip")
    code, found, said = marks(ready, tmp_path / "both.zip", capsys, str(ready / "both.json"))
    assert (code, found) == (0, "xxxxxx") and "second.safetensors" in said
    # Without --checkpoint the weights are those that serve the format.
    archive = write_submission(lines(4, "00420"), tmp_path / "digits.zip")
    assert main([str(archive), "--tracks", str(ready / "test"), "--format", "digits5", "--device", "cpu"]) == 1
    assert "digits5.safetensors" in capsys.readouterr().out
