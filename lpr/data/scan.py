"""From folders on disk to tracks: one walk that knows every layout and never opens an image."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count, pairwise
from pathlib import Path

from ..formats import layout_names
from ..types import Corners, Frame, FrameKind, InputError, Problem, Track, printable
from .annotations import ANNOTATIONS, read_annotation
from .labels import normalise_label
from .lists import Row, is_label_list, read_label_list
from .names import FRAME_NAME, SCRIPT_NAME, label_in_name, natural, stem

#: How the problem of a track begins whose id another one has: it goes by its path instead.
SAME_ID = "a track with the id"

_READ = (".png", ".jpg", ".jpeg", ".jpe", ".jfif")
# Images that a person may take for part of the data; they are named, not silently passed over.
_NOT_READ = (".bmp", ".gif", ".heic", ".tif", ".tiff", ".webp")
_TRACK_FOLDER = re.compile(r"track[-_ ]?\d+$", re.IGNORECASE)
_KIND_FOLDER = re.compile(r"(lr|hr)$", re.IGNORECASE)
_SCENARIO = re.compile(r"scenario[-_ ]?([AB])$", re.IGNORECASE)


@dataclass(frozen=True)
class Scan:
    """All tracks below `root`, in the order of their paths, and what is wrong with them.

    `normalised` counts the labels that normalisation changed (blanks, hyphens, dots, lower case).
    """

    tracks: tuple[Track, ...]
    problems: tuple[Problem, ...]
    root: Path
    normalised: int


@dataclass(slots=True)
class _Folder:
    """One folder as the walk found it; names are sorted. `annotations`: name of that file, in its own case. `named`: a
    label list names the folder, not its images.
    """

    path: str
    images: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    annotations: str = ""
    named: bool = False
    has_folders: bool = False

    @property
    def is_track(self) -> bool:
        """Whether its images are frames of one track (else each image is a track of its own)."""
        if self.has_folders and not self.images:
            return False
        return (
            bool(self.annotations)
            or self.named
            or _TRACK_FOLDER.match(os.path.basename(self.path)) is not None
            # HR34 is a plate of Haryana too: among pictures named by their label it stays one.
            or 0 < len(self.images) <= 2 * sum(bool(FRAME_NAME.match(stem(name))) for name in self.images)
        )


def scan(root: Path | str) -> Scan:
    """Find the tracks below a folder, or those that one label list (`rec_train.txt`, `labels.csv`) names.

    Understands the competition's training tree (png and jpg, annotations.json), flat test folders, folders of images
    named by their label, and label lists; any of them may lie side by side. Hidden files, `__MACOSX` and other files
    are passed over; links are followed once. Raises InputError if `root` does not exist or holds no track.
    """
    root = Path(root)
    rows: dict[str, Row] = {}
    if root.is_dir():
        folders, problems = _walk(str(root))
        folders = _join_kinds(folders)
        _read_lists(folders, rows, problems)
    elif root.is_file() and root.suffix.lower() in (".txt", ".csv"):
        folders = []
        listed, problems = read_label_list(os.path.join(root.parent, root.name))
        _add_rows(rows, listed, problems, _Spelling([]))
        root = root.parent
    elif root.is_file() and root.suffix.lower() in _READ:
        # One picture by its name; what else lies beside it is not meant.
        folders, problems = [_Folder(str(root.parent), [root.name])], []
        root = root.parent
    elif root.exists():
        fix = "name a folder, an image, or a .txt or .csv list"
        raise InputError("is neither a folder nor an image nor a label list", where=root, fix=fix)
    else:
        raise InputError("no such folder", where=root, fix="check the path")
    _add_listed_files(folders, rows, problems)

    builder = _Builder(root, folders, rows, problems)
    for folder in folders:
        builder.add(folder)
    builder.report_unlisted()
    if not builder.tracks:
        first = f"; the first problem: {problems[0]}" if problems else ""
        hint = "expected track folders with lr-001.png ..., images named by their label, or a label list"
        raise InputError(f"holds no track{first}", where=root, fix=hint)
    return Scan(tuple(builder.tracks), tuple(problems), root, builder.normalised)


def _walk(root: str) -> tuple[list[_Folder], list[Problem]]:
    """List all folders below `root`, sorted by path, each once however many links lead to it."""
    folders: list[_Folder] = []
    problems: list[Problem] = []
    visited: set[tuple[int, int]] = set()
    pending = [root]
    links: list[str] = []
    while pending or links:
        # Links come last, so that a folder is listed under its own path and a link to it is the one passed over.
        is_link = not pending
        path = links.pop() if is_link else pending.pop()
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in visited:
                problems.append(Problem(path, "links to a folder that was read already: not followed"))
                continue
            visited.add((status.st_dev, status.st_ino))
            folder = _Folder(path)
            foreign: list[str] = []
            with os.scandir(path) as entries:
                for entry in entries:
                    name = entry.name
                    if name.startswith("."):
                        continue
                    if entry.is_dir():
                        if name != "__MACOSX":
                            folder.has_folders = True
                            (links if entry.is_symlink() else pending).append(entry.path)
                        continue
                    lower = name.lower()
                    if lower.endswith(_READ):
                        folder.images.append(name)
                    elif lower == ANNOTATIONS:
                        folder.annotations = name
                    elif is_label_list(lower):
                        folder.lists.append(name)
                    elif lower.endswith(_NOT_READ):
                        foreign.append(name)
        except OSError as error:
            problems.append(Problem(path, f"cannot be read: {error.strerror}", "check its permissions", "error"))
            continue
        folder.images.sort()
        folder.lists.sort()
        folders.append(folder)
        if foreign:
            what = f"{len(foreign)} images are neither PNG nor JPEG and are not read, such as {min(foreign)}"
            problems.append(Problem(path, what, "convert them to PNG"))
    folders.sort(key=lambda f: f.path)
    return folders, problems


def _join_kinds(folders: Sequence[_Folder]) -> list[_Folder]:
    """Put the images of `lr` and `hr` inside a track's folder among its own, named by both: `hr/001.png`."""
    walked = {folder.path: folder for folder in folders}
    kept = []
    for folder in folders:
        above, name = os.path.split(folder.path)
        track = walked.get(above)
        if (
            track is not None
            and _KIND_FOLDER.match(name)
            and (track.annotations or _TRACK_FOLDER.match(os.path.basename(above)))
        ):
            track.images += [f"{name}/{image}" for image in folder.images]
        else:
            kept.append(folder)
    return kept


class _Spelling:
    """How the walk spells a path that a list names otherwise (absolute, with `..`, through a link).

    As two paths it would be two tracks.
    """

    def __init__(self, folders: Iterable[_Folder]) -> None:
        self._walked = {os.path.realpath(folder.path): folder.path for folder in folders}
        self._known: dict[str, str] = {}

    def __call__(self, path: str) -> str:
        folder, name = os.path.split(os.path.normpath(path))
        if folder not in self._known:
            self._known[folder] = self._walked.get(os.path.realpath(folder), folder)
        return os.path.join(self._known[folder], name)


def _read_lists(folders: Sequence[_Folder], rows: dict[str, Row], problems: list[Problem]) -> None:
    spelling = _Spelling(folders if any(folder.lists for folder in folders) else [])
    for folder in folders:
        for name in folder.lists:
            listed, found = read_label_list(os.path.join(folder.path, name))
            problems.extend(found)
            _add_rows(rows, listed, problems, spelling)
        if len(folder.lists) > 1:
            what = f"holds {len(folder.lists)} label lists ({', '.join(folder.lists)}): all are read together"
            problems.append(Problem(folder.path, what, "name one list instead of the folder to read that one only"))


def _add_rows(rows: dict[str, Row], listed: Iterable[Row], problems: list[Problem], spelling: _Spelling) -> None:
    for row in listed:
        first = rows.setdefault(spelling(row.path), row)
        if first is not row:
            same = normalise_label(first.text) == normalise_label(row.text)
            what = f"{row.path} was listed before, at {first.at}" + ("" if same else f", as {first.text!r}")
            problems.append(Problem(row.at, what, "keep one line", "warning" if same else "error"))


def _add_listed_files(folders: list[_Folder], rows: Mapping[str, Row], problems: list[Problem]) -> None:
    """Add to `folders` what the lists name and the walk did not meet; report paths that do not exist."""
    if not rows:
        return
    walked = {folder.path: folder for folder in folders}
    known = {os.path.join(folder.path, name) for folder in folders for name in folder.images}
    extra: dict[str, list[str]] = defaultdict(list)
    for path, row in rows.items():
        if path in walked:
            walked[path].named = bool(walked[path].images)
        if path in known or path in walked:
            continue
        if os.path.isdir(path):
            # The folder of a track, as review.csv and pseudo_labels.csv name it.
            try:
                listed = os.listdir(path)
            except OSError as error:
                problems.append(Problem(row.at, f"{path} cannot be read: {error.strerror}", severity="error"))
                continue
            names = sorted(name for name in listed if name.lower().endswith(_READ))
            annotations = next((name for name in listed if name.lower() == ANNOTATIONS), "")
            folders.append(_Folder(path, names, annotations=annotations, named=True))
        elif os.path.isfile(path):
            extra[os.path.dirname(path)].append(os.path.basename(path))
        else:
            problems.append(Problem(row.at, f"no such file: {path}", "correct the path or remove the line", "error"))
    for path, names in extra.items():
        if path in walked:
            walked[path].images = sorted(walked[path].images + names)
        else:
            folders.append(_Folder(path, sorted(names)))
    folders.sort(key=lambda f: f.path)


class _Builder:
    """Turns folders into tracks, and collects problems and counts on the way."""

    def __init__(
        self, root: Path, folders: Sequence[_Folder], rows: Mapping[str, Row], problems: list[Problem]
    ) -> None:
        self.tracks: list[Track] = []
        self.normalised = 0
        self._root = root
        self._rows = rows
        self._problems = problems
        self._ids: set[str] = set()
        self._list_folders = {folder.path for folder in folders if folder.lists}
        self._unlisted: list[str] = []
        tracks = [folder for folder in folders if folder.is_track] + _hollow(folders)
        self._track_paths = {folder.path for folder in tracks}
        # What lies beside a track folder is one too, even if empty, and is expected to be annotated like it.
        self._track_parents = {os.path.dirname(path) for path in self._track_paths}
        self._annotated_parents = {os.path.dirname(folder.path) for folder in tracks if folder.annotations}
        self._by_part: dict[str, tuple[str | None, str | None]] = {}

    def add(self, folder: _Folder) -> None:
        """Add the track or tracks of one folder."""
        parent = os.path.dirname(folder.path)
        is_empty = not (folder.images or folder.has_folders or folder.lists)
        if folder.path in self._track_paths or (is_empty and parent in self._track_parents):
            self._add_track_folder(folder, parent)
        else:
            for name in folder.images:
                self._add_single_image(folder.path, name)
            self._report_frames(folder)
            if folder.annotations:
                what, fix = "lies beside no image: its label is not used", "put it into the folder of the frames"
                self._problems.append(Problem(os.path.join(folder.path, folder.annotations), what, fix, "error"))

    def report_unlisted(self) -> None:
        """One problem for all images below a label list that no list names."""
        if self._unlisted:
            what = f"{len(self._unlisted)} images or tracks are in no label list, such as {self._unlisted[0]}"
            self._problems.append(Problem(str(self._root), what, "add them to the list; they have no label"))

    def _add_track_folder(self, folder: _Folder, parent: str) -> None:
        frames = self._frames(folder)
        if not any(frame.kind == "lr" for frame in frames):
            what = "track folder without an LR frame" if frames else "track folder without an image"
            self._problems.append(Problem(folder.path, what, "copy the track again; it is read as unknown", "error"))
        scenario, layout = self._scenario_and_layout(parent)
        row = self._row_of_track(folder)
        if row is not None and row.layout:
            layout = row.layout
        raw, label_at = (row.text, row.at) if row is not None else (None, "")
        corners: Mapping[str, Corners] = {}
        if folder.annotations:
            at = os.path.join(folder.path, folder.annotations)
            annotation = read_annotation(at)
            self._problems.extend(annotation.problems)
            layout, corners = annotation.layout or layout, annotation.corners
            if annotation.text is not None:
                if raw is not None and normalise_label(raw) != normalise_label(annotation.text):
                    what = f"says {raw!r}, but annotations.json {annotation.text!r}, which is used"
                    self._problems.append(Problem(label_at, what, "correct one of them", "error"))
                raw, label_at = annotation.text, at
        elif raw is None and frames and parent in self._annotated_parents:
            what = "no annotations.json, though tracks beside it have one"
            self._problems.append(Problem(folder.path, what, "add it; the track is kept without a label", "error"))
        elif raw is None and frames and self._below_list(folder.path):
            self._unlisted.append(folder.path)
        track_id = self._unique_id(printable(os.path.basename(os.path.abspath(folder.path))), folder.path)
        self.tracks.append(Track(track_id, frames, self._normalised(raw), layout, scenario, corners, label_at))

    def _add_single_image(self, folder: str, name: str) -> None:
        path = os.path.join(folder, name)
        row = self._rows.get(path)
        scenario, layout = self._scenario_and_layout(folder)
        raw, label_at = None, ""
        if row is not None:
            raw, layout, label_at = row.text, row.layout or layout, row.at
        elif self._below_list(folder):
            self._unlisted.append(path)
        else:
            raw, label_at = label_in_name(stem(name)), path
        track_id = self._unique_id(printable(stem(name)), path)
        frames = (Frame(Path(path), 1),)
        self.tracks.append(Track(track_id, frames, self._normalised(raw), layout, scenario, {}, label_at))

    def _report_frames(self, folder: _Folder) -> None:
        """Images that are called and numbered as frames of one video may show one plate."""
        alike = [name for name in folder.images if SCRIPT_NAME.match(stem(name).lower().replace("_", ""))]
        names = folder.images
        if len(names) < 2 or any(os.path.join(folder.path, name) in self._rows for name in names):
            return
        fix = "if they are frames of one plate, call the folder track_00001, or the images lr-001, lr-002, ..."
        # Names that differ in digits alone are those of a camera or of a video, but for plates of digits alone.
        first, *others = {re.sub(r"\d+", "#", stem(name).lower()) for name in names}
        numbered = not others and re.search("[a-z]", first)
        if len(alike) == len(names) or (numbered and not any(label_in_name(stem(name)) for name in names)):
            what = f"{len(names)} images, such as {names[0]}, are read as {len(names)} plates"
            self._problems.append(Problem(folder.path, what, fix))
        elif numbered and len(names) > 3 and re.fullmatch("[a-z]+#", first):  # of so many plates no series is one
            what = f"{len(names)} images, such as {names[0]}, differ in digits alone; their names are taken for labels"
            self._problems.append(Problem(folder.path, what, f"rename them if these are no plates; {fix}"))

    def _frames(self, folder: _Folder) -> tuple[Frame, ...]:
        frames: list[Frame] = []
        others: list[str] = []
        # Those in a folder lr or hr need no number: they come last.
        for place, name in enumerate(folder.images, 1000):
            match = FRAME_NAME.match(stem(name))
            if match or "/" in name:
                kind: FrameKind = "lr" if name[:2].lower() == "lr" else "hr"
                frames.append(Frame(Path(f"{folder.path}/{name}"), int(match[2]) if match else place, kind))
            else:
                others.append(name)
        if not frames:
            # A track folder whose images are simply numbered holds LR frames in that order.
            others.sort(key=natural)
            return tuple(Frame(Path(f"{folder.path}/{name}"), i) for i, name in enumerate(others, 1))
        if others:
            what = f"{len(others)} images are neither lr-NNN nor hr-NNN and are not used, such as {others[0]}"
            self._problems.append(Problem(folder.path, what, "rename or remove them"))
        frames.sort(key=lambda frame: (frame.kind == "hr", frame.index))
        if any(a.kind == b.kind and a.index == b.index for a, b in pairwise(frames)):
            self._problems.append(Problem(folder.path, "two images with one frame number: both are used", "remove one"))
        return tuple(frames)

    def _row_of_track(self, folder: _Folder) -> Row | None:
        """The list's row for a track: that of its folder or of any frame, unless they contradict each other."""
        if not self._rows:
            return None
        paths = (folder.path, *(os.path.join(folder.path, name) for name in folder.images))
        rows = [self._rows[path] for path in paths if path in self._rows]
        texts = sorted({normalise_label(row.text) for row in rows})
        if len(texts) > 1:
            what = f"the frames of {folder.path} have different labels: {', '.join(texts)}"
            fix = "a track shows one plate; it is kept without a label"
            self._problems.append(Problem(rows[0].at, what, fix, "error"))
            return None
        return rows[0] if rows else None

    def _scenario_and_layout(self, folder: str) -> tuple[str | None, str | None]:
        """What the folder's path says; the innermost part wins."""
        if folder not in self._by_part:
            scenario = layout = None
            for part in Path(os.path.abspath(folder)).parts:
                match = _SCENARIO.match(part)
                scenario = match[1].upper() if match else scenario
                layout = layout_names().get(part.lower(), layout)
            self._by_part[folder] = scenario, layout
        return self._by_part[folder]

    def _below_list(self, folder: str) -> bool:
        """Whether a label list lies in the folder or above it."""
        while self._list_folders:
            if folder in self._list_folders:
                return True
            parent = os.path.dirname(folder)
            if parent == folder or not parent:
                break
            folder = parent
        return False

    def _normalised(self, raw: str | None) -> str | None:
        if raw is None:
            return None
        text = normalise_label(raw)
        self.normalised += text != raw
        return text

    def _unique_id(self, name: str, path: str) -> str:
        """The bare name; for one that another track has already, the path below the root with _ for / (an id with a
        slash is none in a submission).
        """
        found = name
        if name in self._ids:
            relative = printable(Path(os.path.relpath(path, self._root)).as_posix().replace("/", "_"))
            numbered = (f"{relative}_{number}" for number in count(2))
            found = next(one for one in chain([relative], numbered) if one not in self._ids)
            what = f"{SAME_ID} {name!r} was found before: this one is called {found!r}"
            self._problems.append(Problem(path, what, "a submission needs one folder name a track; rename it", "error"))
        self._ids.add(found)
        return found


def _hollow(folders: Sequence[_Folder]) -> list[_Folder]:
    """Folders called as tracks that hold folders, but no image and no track in any of them: tracks without frames."""
    occupied: set[str] = set()
    for folder in folders:
        if folder.images or folder.lists or _TRACK_FOLDER.match(os.path.basename(folder.path)):
            path = os.path.dirname(folder.path)
            while path and path not in occupied:
                occupied.add(path)
                path = os.path.dirname(path)
    return [
        folder
        for folder in folders
        if folder.has_folders
        and not (folder.images or folder.lists or folder.path in occupied)
        and _TRACK_FOLDER.match(os.path.basename(folder.path))
    ]
