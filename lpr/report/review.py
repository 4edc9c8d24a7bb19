"""The page beside review.csv: the frames of doubtful tracks, what they may show, and a field to say what they do.

It is one file without an address outside it. What is entered is saved as a review.csv by the browser.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from ..cli import track_progress
from ..decode.review import COLUMNS, Row, columns_of
from ..files import write_text
from ..types import Prediction, Track
from .html import MAX_FRAMES, Pixels, data_uri, merged_figure
from .pictures import read_lr_images

_HERE = Path(__file__).parent

#: Tracks shown, the least sure ones; with five frames each the page takes about 5 MB. review.csv holds them all.
SHOWN = 300


def write_review_page(
    target: Path, rows: Sequence[Row], tracks: Iterable[Track], predictions: Iterable[Prediction]
) -> None:
    """Write the page of `rows` in their order; `tracks` and `predictions` are all that were read."""
    wanted = {row.track_id for row in rows[:SHOWN]}
    by_id = {track.id: track for track in tracks if track.id in wanted}
    read = {prediction.track_id: prediction for prediction in predictions if prediction.track_id in wanted}
    cards = []
    for number, row in enumerate(track_progress(rows[:SHOWN], "review page", len(rows[:SHOWN]))):
        images = read_lr_images(by_id[row.track_id])[0] if row.track_id in by_id else {}
        cards.append(_card(number, row, images, read.get(row.track_id)))
    write_text(target, _page(rows, cards))


def _page(rows: Sequence[Row], cards: Sequence[str]) -> str:
    # "<" would end the element, whatever stands around it.
    data = json.dumps({"columns": COLUMNS, "rows": [columns_of(row) for row in rows]}).replace("<", "\\u003c")
    styles, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("review.css", "review.js"))
    page = (_HERE / "page.css").read_text(encoding="utf-8")
    more = f" The {len(cards)} least sure ones are shown." if len(cards) < len(rows) else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Plates to look at</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{page}{styles}</style></head>\n"
        f'<body data-made="{hashlib.sha256(data.encode()).hexdigest()[:12]}"><h1>{len(rows)} plates to look at</h1>\n'
        f'<p class="note">The least sure reading first.{more} Choose a candidate or write what you read, leave empty '
        "what nobody can read, and save: <code>lpr.train --data review.csv</code> and <code>lpr.evaluate --truth "
        "review.csv</code> take the lines that have a correction.</p>\n"
        '<div class="save"><button id="save">Save review.csv</button><span id="said"></span></div>\n'
        + "\n".join(cards)
        + f'\n<script type="application/json" id="rows">{data}</script>\n<script>\n{script}</script>\n</body></html>\n'
    )


def _card(number: int, row: Row, images: Mapping[str, Pixels], prediction: Prediction | None) -> str:
    readings = {reading.file: reading for reading in (prediction.per_frame if prediction else ())}
    frames = []
    for name in list(dict.fromkeys([*images, *readings]))[:MAX_FRAMES]:
        picture = f'<img alt="{escape(name)}" src="{data_uri(images[name])}">' if name in images else ""
        words = f'<span class="plate">{escape(readings[name].text)}</span>' if name in readings else "not read"
        frames.append(f'<figure title="{escape(name)}">{picture}<figcaption>{words}</figcaption></figure>')
    frames.append(merged_figure(images))
    choices = "".join(
        f'<button class="plate" data-text="{escape(text)}">{escape(text)} <small>{prob:.2f}</small></button>'
        for text, prob in row.candidates
    )
    return (
        f'<article data-row="{number}"><header><b>{escape(row.track_id)}</b>'
        f'<span class="tag">{escape(row.reason)}</span></header><div class="frames">{"".join(frames)}</div>'
        f'<div><div class="choices">{choices}</div><input class="plate" aria-label="plate of {escape(row.track_id)}" '
        f'placeholder="{escape(row.text)}?" spellcheck="false" autocomplete="off"></div></article>'
    )
