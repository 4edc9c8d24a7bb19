"""What the documents tell people to type: settings that fit the shipped weights, files and options that are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from lpr.config import load_config
from lpr.model.checkpoint import load
from lpr.model.recogniser import build_recogniser
from lpr.training.setup import GROWING, initialise

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHIPPED = "lpr/weights/"


def commands(page: Path) -> list[list[str]]:
    """Every `python -m lpr.x` or `python scripts/x.py` of a page's code blocks, in words."""
    blocks = re.findall(r"```(?:bash|python)\n(.*?)```", page.read_text(), re.DOTALL)
    lines = re.sub(r"\\\n\s*", " ", "\n".join(blocks)).splitlines()
    found = [
        line.split("#")[0] if "'" not in line else line for line in lines if re.search(r"python (-m lpr|scripts)", line)
    ]
    return [shlex.split(line[line.index("python ") :], comments=True) for line in found]


def values(words: list[str], option: str) -> list[str]:
    """What stands behind an option that takes several."""
    if option not in words:
        return []
    rest = words[words.index(option) + 1 :]
    ends = [at for at, word in enumerate(rest) if word.startswith("--")]
    return rest[: ends[0]] if ends else rest


def test_a_start_from_shipped_weights_has_their_architecture():
    """Neither less than them, which is refused, nor more, which would be another network than the page speaks of."""
    starts = [
        words for page in PAGES for words in commands(page) if any(f"init_from={SHIPPED}" in word for word in words)
    ]
    assert starts
    for words in starts:
        settings = [
            word.replace(f"init_from={SHIPPED}", f"init_from={ROOT / SHIPPED}/") for word in values(words, "--set")
        ]
        config = load_config(values(words, "--preset"), settings)
        initialise(build_recogniser(config), config)
        theirs = load(config.train.init_from).config.model
        assert [getattr(config.model, name) for _, name in GROWING] == [getattr(theirs, name) for _, name in GROWING]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_scripts_and_presets_are_there(page: Path):
    for words in commands(page):
        if words[1] == "-m":
            assert (ROOT / f"{words[2].replace('.', '/')}.py").is_file() or words[2] == "lpr", words
        else:
            assert (ROOT / words[1]).is_file(), words
        load_config(values(words, "--preset"))
