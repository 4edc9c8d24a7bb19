"""Write, or check with line numbers, a competition submission (.zip with one .txt).

    python -m lpr.submission check predictions.zip --tracks test/

One line a track, LF, sorted by id, no header:  track_00001,ABC1234;0.9876
"""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from .cli import Parser, run
from .files import atomic_path
from .formats import PlateFormat, allowed, load_formats
from .types import InputError, Prediction, Problem

#: The name on the organisers' slides.
MEMBER = "predictions.txt"

#: Formats of the competition, for a check without --format.
COMPETITION = ("brazilian", "mercosur")

#: Largest text that is unpacked: 2 million lines. The blind test has 3,000.
MOST_BYTES = 64 * 2**20

#: Problems listed; the rest is counted.
MOST_PROBLEMS = 100

_ID = r"[^\s,;/\\\x00-\x20\x7f-\x9f]+"
_CONFIDENCE = r"(?:0(?:\.[0-9]+)?|1(?:\.0+)?)"
_TEXT = r"[0-9A-Z]+"
_HEADER = re.compile(r"\W*(track|id|image|file)[ _-]?(id|name)?\W*[,;]\W*[a-z_ -]+\W*([,;]|$)", re.IGNORECASE)


def _line_pattern(formats: Sequence[PlateFormat]) -> re.Pattern[str]:
    """A right line; texts are any A-Z and 0-9, or those of `formats`."""
    templates = ["".join(f"[{allowed(symbol)}]" for symbol in t) for f in formats for t in f.templates]
    return re.compile(f"{_ID},(?:{'|'.join(templates) or _TEXT});{_CONFIDENCE}")


def write_submission(predictions: Sequence[Prediction], zip_path: Path) -> Path:
    """Write the zip, sorted by id, confidence with 4 decimals; the same predictions give the same bytes.

    The text's format is not checked here: a decoder without formats may be wanted, and `validate` says so.

    Raises:
        InputError: no predictions, an id twice, or an id, text or confidence that the grammar does not allow.
    """
    pattern = _line_pattern(())
    lines: dict[str, str] = {}
    for prediction in predictions:
        line = f"{prediction.track_id},{prediction.text};{prediction.confidence:.4f}"
        if not pattern.fullmatch(line):
            raise InputError(_why(line, pattern), where=f"track {prediction.track_id!r}")
        if prediction.track_id in lines:
            raise InputError(
                "has two predictions", where=f"track {prediction.track_id!r}", fix="give each track its own id"
            )
        lines[prediction.track_id] = line
    if not lines:
        raise InputError("there are no predictions to submit", where=zip_path)
    # A fixed time, system and mode: the bytes depend on the predictions alone. 1980 is where zip's calendar begins.
    member = zipfile.ZipInfo(MEMBER, date_time=(1980, 1, 1, 0, 0, 0))
    member.compress_type, member.create_system, member.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
    with atomic_path(zip_path) as aside, zipfile.ZipFile(aside, "w") as archive:
        archive.writestr(member, "".join(f"{lines[key]}\n" for key in sorted(lines)), compresslevel=6)
    return Path(zip_path)


def id_problems(track_ids: Iterable[str]) -> list[Problem]:
    """The ids that cannot stand in a submission, by its grammar or because they stand there twice, each with why."""
    found, seen = [], set()
    for track_id in track_ids:
        if not re.fullmatch(_ID, track_id):
            found.append(Problem(repr(track_id), _bad_id(track_id), "rename its folder or file", "error"))
        elif track_id in seen:
            found.append(Problem(track_id, "stands there twice", "give each track its own id", "error"))
        seen.add(track_id)
    return found


def read_submission(path: Path | str) -> list[Prediction]:
    """The predictions of a submission (.zip, or the .txt alone); texts of any format, no readings of frames.

    Raises:
        InputError: the first problem that `validate` finds, with its line number.
    """
    if problems := validate(path, formats=()):
        raise InputError(problems[0].what, where=problems[0].where, fix=problems[0].fix)
    predictions = []
    for line in _read(Path(path))[1].decode("utf-8").splitlines():
        track_id, _, rest = line.partition(",")
        text, _, confidence = rest.partition(";")
        predictions.append(Prediction(track_id, text, float(confidence)))
    return predictions


def validate(
    path: Path | str,
    track_ids: Collection[str] | None = None,
    formats: Sequence[PlateFormat] | None = None,
    limit: int = MOST_PROBLEMS,
) -> list[Problem]:
    """Every problem of a submission (.zip, or the .txt alone), with its line number; empty if there is none.

    `track_ids`: the tracks of the test set, each of which must have its line. `formats`: texts must obey one of
    them; None takes the competition's. After `limit` problems one more says how many there are in all.
    """
    path = Path(path)
    formats = load_formats(COMPETITION) if formats is None else formats
    try:
        name, data = _read(path)
    except InputError as error:
        return [error.problem]
    where = str(path) if name == path.name else f"{path}/{name}"
    found = _Found(where, limit)
    _check_lines(data, found, _line_pattern(formats), formats, None if track_ids is None else set(track_ids))
    return found.problems()


class _Found:
    """The problems so far: the first `limit` in full, the others as a number."""

    def __init__(self, where: str, limit: int) -> None:
        self.where, self.limit, self.count = where, limit, 0
        self.listed: list[Problem] = []

    def add(self, what: str, line: int | None = None, fix: str = "") -> None:
        self.count += 1
        if self.count <= self.limit:
            where = self.where if line is None else f"{self.where}:{line}"
            self.listed.append(Problem(where, what, fix, "error"))

    @property
    def full(self) -> bool:
        """Whether further problems are only counted, so that nobody needs to find out what exactly is wrong."""
        return self.count >= self.limit

    def problems(self) -> list[Problem]:
        more = self.count - len(self.listed)
        rest = [Problem(self.where, f"{more} more problems, {self.count} in all", "", "error")] if more else []
        return self.listed + rest


def _check_lines(
    data: bytes, found: _Found, pattern: re.Pattern[str], formats: Sequence[PlateFormat], expected: set[str] | None
) -> None:
    if data.startswith(b"\xef\xbb\xbf"):
        found.add("begins with a byte order mark", 1, "save it as UTF-8 without BOM")
        data = data[3:]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = data.count(b"\n", 0, error.start) + 1
        found.add(f"byte 0x{data[error.start]:02x} is not UTF-8", at, "save it as UTF-8")
        return
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()  # what follows the last LF
    if not lines:
        found.add("holds no line")
    if carriage := [at for at, line in enumerate(lines, start=1) if line.endswith("\r")]:
        more = f" (so do {len(carriage) - 1} more lines)" if len(carriage) > 1 else ""
        found.add(f"ends in CR LF{more}", carriage[0], "save it with LF line ends")
        lines = [line.removesuffix("\r") for line in lines]

    first_line: dict[str, int] = {}
    previous = ""
    for number, line in enumerate(lines, start=1):
        track_id, comma, _ = line.partition(",")
        if not pattern.fullmatch(line):
            found.add("" if found.full else _why(line, pattern, formats, header=number == 1), number)
            # Whatever else is wrong with the line, it is there for its track, if it names one.
            if not (comma and re.fullmatch(_ID, track_id)) or (number == 1 and _is_header(line)):
                continue
        if (first := first_line.setdefault(track_id, number)) != number:
            found.add(f"track {track_id} stands on line {first} already", number)
        elif track_id < previous:
            found.add(f"track {track_id} stands after {previous}", number, "sort the lines by id, ascending")
        if expected is not None and track_id not in expected:
            found.add(f"track {track_id} is not in the test set", number)
        previous = track_id
    for missing in sorted((expected or set()) - first_line.keys()):
        found.add(f"track {missing} has no line", None, "every track counts; give it a line with confidence 0.0")


def _is_header(line: str) -> bool:
    # A header is short; what is not shall not be searched for one for seconds.
    return len(line) <= 100 and bool(_HEADER.match(line))


def _why(line: str, pattern: re.Pattern[str], formats: Sequence[PlateFormat] = (), header: bool = False) -> str:
    """What is wrong with a line that `pattern` refuses, in one sentence; the line itself is quoted, shortened."""
    shown = f"{line!r:.80}"
    track_id, comma, rest = line.partition(",")
    text, semicolon, confidence = rest.partition(";")
    if not line.strip():
        return "the line is blank"
    if header and _is_header(line):
        return f"a header is not allowed: {shown}"
    if not comma:
        return f"no comma after the track id: {shown}"
    if not re.fullmatch(_ID, track_id):
        return _bad_id(track_id)
    if not semicolon:
        if "," in rest:
            return f"a second comma stands where the semicolon belongs: {shown}"
        return f"no semicolon and confidence after the text: {shown}"
    if "," in rest:
        return f"a second comma: {shown}"
    if text != text.upper() and re.fullmatch(_TEXT, text.upper()):
        return f"text {text!r:.60} has lower-case letters"
    if not re.fullmatch(_TEXT, text):
        return f"text {text!r:.60} is empty or holds characters other than A-Z and 0-9"
    if not pattern.fullmatch(f"{track_id},{text};0"):
        obeyed = ", ".join(f"{t} ({f.name})" for f in formats for t in f.templates)
        return f"text {text!r:.60} of {len(text)} characters obeys no template: {obeyed}"
    if not confidence:
        return f"no confidence after the semicolon: {shown}"
    try:
        value = float(confidence)
    except ValueError:
        return f"confidence {confidence!r:.60} is not a number"
    if not 0 <= value <= 1:
        return f"confidence {confidence!r:.60} is not in [0, 1]"
    return f"confidence {confidence!r:.60} is not written as a plain decimal such as 0.9876"


def _bad_id(track_id: str) -> str:
    return f"track id {track_id!r:.60} is empty or holds a slash, comma, semicolon, blank or control character"


def _read(path: Path) -> tuple[str, bytes]:
    """Name and bytes of the lines: those of the .txt itself, or of the zip's only member."""
    return (path.name, _limited(path)) if path.suffix.lower() == ".txt" else unpack(path)


def _limited(path: Path) -> bytes:
    """The bytes of a .txt, refused before reading if it is too large."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"is larger than {MOST_BYTES >> 20} MiB", where=path)
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path) from error


def unpack(path: Path) -> tuple[str, bytes]:
    """Name and bytes of the only member; nothing is written to disk, and never more than MOST_BYTES is unpacked."""
    try:
        if path.stat().st_size > MOST_BYTES:  # a table of contents can be a bomb too
            raise InputError(f"is larger than {MOST_BYTES >> 20} MiB", where=path)
        with zipfile.ZipFile(path) as archive:
            member = _only_member(archive.infolist(), path)
            with archive.open(member) as stream:
                data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path) from error
    # What zipfile raises on damaged archives, by its source: bad structures, unknown compression, cut-short streams.
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, ValueError) as error:
        raise InputError(f"is not a readable zip: {error}", where=path, fix="write it with lpr.infer") from error
    if len(data) > MOST_BYTES:
        raise InputError(f"unpacks to more than {MOST_BYTES >> 20} MiB", where=path)
    return member.filename, data


def _only_member(members: Iterable[zipfile.ZipInfo], path: Path) -> zipfile.ZipInfo:
    """The one .txt at the root of the archive, fit to be unpacked; else an InputError that lists what is wrong."""
    members = list(members)
    wrong = []
    if len(members) != 1:
        names = ", ".join(repr(m.filename) for m in members[:5]) + (", ..." if len(members) > 5 else "")
        wrong.append(f"holds {len(members)} members instead of one .txt: {names}" if members else "is empty")
    for member in members[:5]:
        name = member.orig_filename
        if re.search(r"^[A-Za-z]:", name) or name.startswith(("/", "\\")):
            wrong.append(f"{name!r} is an absolute path")
        elif ".." in re.split(r"[/\\]", name):
            wrong.append(f"{name!r} points out of the archive")
        elif name.endswith("/"):
            wrong.append(f"{name!r} is a folder")
        elif "/" in name or "\\" in name:
            wrong.append(f"{name!r} lies in a folder")
        elif not name.endswith(".txt") or name.startswith(".") or not name.isprintable():
            wrong.append(f"{name!r} is no .txt file")
        if stat.S_ISLNK(member.external_attr >> 16):
            wrong.append(f"{name!r} is a link")
        if member.flag_bits & 0x1:
            wrong.append(f"{name!r} is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            wrong.append(f"{name!r} is compressed by an unusual method ({member.compress_type})")
        if member.file_size > MOST_BYTES:
            wrong.append(f"{name!r} unpacks to {member.file_size >> 20} MiB, more than {MOST_BYTES >> 20}")
    if wrong:
        raise InputError("; ".join(wrong), where=path, fix=f"the zip holds {MEMBER} at its root and nothing else")
    return members[0]


def main(argv: Sequence[str]) -> int:
    parser = Parser("lpr.submission", __doc__ or "")
    parser.add_argument("action", choices=["check"], help="check a submission; exit code 1 if anything is wrong")
    parser.add_argument("path", metavar="ZIP", help="the .zip, or the .txt alone")
    parser.add_argument("--tracks", metavar="DIR", help="the test set: each track must have its line, no other may")
    parser.add_several("--format", "NAME", f"default: {' '.join(COMPETITION)}")
    args = parser.parse_args(argv)

    track_ids = None
    if args.tracks:
        from .data.scan import scan

        track_ids = [track.id for track in scan(Path(args.tracks)).tracks]
    problems = validate(args.path, track_ids, load_formats(args.format or COMPETITION))
    for problem in problems:
        print(problem)
    if problems:
        return 1
    ids = f"a line for each of the {len(track_ids)} tracks" if track_ids else "ids unchecked, for want of --tracks"
    print(f"{args.path}: a valid submission, {ids}")
    return 0


if __name__ == "__main__":
    run(main)
