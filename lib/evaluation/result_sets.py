"""Which files below a folder, or in an archive, are the results of one tracker.

Trackers and toolkits put a file per sequence in a folder, perhaps with the tracker's name before or behind the
sequence's, or a folder per sequence, and folders above that for trackers, experiments and data sets. `find_sets` finds
all sets of files that could be meant; `choose_set` takes the only one, or says which there are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass

from lib.evaluation.files import FileTree
from patrack.recordings.sequence import first_few

__all__ = ["DEPTH", "SIDE_FILES", "ResultSet", "choose_set", "find_sets", "merge_anchors"]

DEPTH = 4
"""Folders below the given one in which results are looked for."""
SIDE_FILES = re.compile(r"_(times?|scores?|confidences?|all_boxes|all_scores|object_presence(_scores)?)$")
"""What follows the sequence's name in files that trackers write beside the boxes."""
LONE_FILES = ("boxes", "track")
"""Names of files in a folder per sequence that don't have its name; `tracking/test.py` writes them for recordings."""
SAME_RUN = (("{seq}/track.csv", "{seq}/boxes.txt"), (".csv", ".txt"), (".bin", ".txt"))
"""Ends of paths of which the first is a second form of the other; the other is read."""
ANCHOR = re.compile(r"(.*\{seq\}/\{seq\})_[0-9]{8}(\.(?:txt|bin))")


@dataclass(frozen=True)
class ResultSet:
    """Files of one run of a tracker over several sequences.

    Attributes:
        form: their path in the tree, with `{seq}` for the name of the sequence and the ending in small letters.
        files: path by sequence.
    """

    form: str
    files: dict[str, str]

    @property
    def folder(self) -> str:
        """The folders above the first part of the path that has the sequence's name; ends with `/`, or is empty."""
        above = self.form[: self.form.index("{seq}")]
        return above[: above.rfind("/") + 1]

    @property
    def ending(self) -> str:
        """Ending of the files, with its dot."""
        return "." + self.form.rpartition(".")[2]

    @property
    def affixes(self) -> tuple[str, str]:
        """What names of files have before and behind the sequence's name."""
        before, _, after = self.form.rpartition("/")[2].removesuffix(self.ending).partition("{seq}")
        return (before, after) if "{seq}" in self.form.rpartition("/")[2] else ("", "")


def find_sets(
    tree: FileTree, names: Collection[str], endings: tuple[str, ...], prefix: str | None = None
) -> list[ResultSet]:
    """Find all sets of files that could be the results of a tracker, down to `DEPTH` folders.

    Capital letters don't count where sequences can be told apart without them. What stands beside the sequence's name
    in those of files is taken for chance if it serves under half of the sequences, or a single one without a `_` or
    another mark between.

    Args:
        tree: folder or archive.
        names: of the sequences.
        endings: of the files, such as ".txt", the usual one first.
        prefix: what names of files begin with; None: anything.

    Returns:
        Those with most files first.
    """
    usual = {name: f"{prefix or ''}{name}{endings[0]}" for name in names}
    if set(usual.values()) <= set(tree.files()):  # needs no search
        return [ResultSet(f"{prefix or ''}{{seq}}{endings[0]}", usual)]

    fold: Callable[[str], str] = str.lower
    keys = {fold(name): name for name in names}
    if len(keys) < len(names) or any(len(key) != len(name) for key, name in keys.items()):
        fold, keys = str, {name: name for name in names}
    found: dict[str, dict[str, str]] = {}

    def add(parts: list[str], name: str, path: str) -> None:
        form = "/".join(parts)
        files = found.setdefault(form, {})
        if name not in files or form.replace("{seq}", name) == path:  # the very name goes before other letters
            files[name] = path

    for path in tree.walk(DEPTH):
        *folders, file = path.split("/")
        stem, dot, ending = file.rpartition(".")
        ending = (dot + ending).lower()
        if ending not in endings:
            continue
        owner = keys.get(fold(folders[-1])) if folders else None  # the sequence that the folder is called by
        folded = fold(stem)
        for key, name in keys.items():
            at = folded.find(key)
            while at >= 0:
                form = f"{stem[:at]}{{seq}}{stem[at + len(key) :]}{ending}"
                add([*folders, form], name, path)
                if name == owner:
                    add([*folders[:-1], "{seq}", form], name, path)
                at = folded.find(key, at + 1)
        if owner is not None and folded in LONE_FILES:
            add([*folders[:-1], "{seq}", folded + ending], owner, path)

    sets = []
    for one in (ResultSet(form, files) for form, files in found.items()):
        before, after = one.affixes
        if SIDE_FILES.fullmatch(after.lower()) or (prefix is not None and before != prefix):
            continue
        marked = not before[-1:].isalnum() and not after[:1].isalnum()
        beside = after if before == prefix else before + after
        if beside and "{seq}/" not in one.form and (2 * len(one.files) < len(names) or len(one.files) < 2 - marked):
            continue
        sets.append(one)
    return sorted(sets, key=lambda one: (-len(one.files), -one.form.count("{seq}"), one.form))


def merge_anchors(sets: list[ResultSet]) -> list[ResultSet]:
    """Make one set of each multi-start experiment, whose runs have a file per sequence and anchor.

    Returns:
        Sets whose form lacks the number of the anchor, with the file of any anchor for every sequence.
    """
    merged: dict[str, dict[str, str]] = {}
    for one in sets:
        if match := ANCHOR.fullmatch(one.form):
            merged.setdefault(match[1] + match[2], {}).update(one.files)
    return sorted((ResultSet(form, files) for form, files in merged.items()), key=lambda one: -len(one.files))


def choose_set(
    tree: FileTree, sets: list[ResultSet], names: Collection[str], wanted: str, notes: list[str]
) -> ResultSet:
    """Take the set that is meant: the only one with about as many sequences, or the only one not in folders below.

    Args:
        tree: where they are.
        sets: most files first.
        names: of the sequences.
        wanted: what was looked for, in words.
        notes: gets a remark on sets that are not read.

    Raises:
        ValueError: there is none, or several could be meant.
    """
    if not sets:
        raise ValueError(f"{tree.describe()}: no result files; looked for {wanted}; {_found(tree)}")
    rivals: list[ResultSet] = []
    for one in sets:
        paths = set(one.files.values())
        if 2 * len(paths) >= len(sets[0].files) and not any(paths <= set(other.files.values()) for other in rivals):
            rivals.append(one)
    forms = {one.form for one in rivals}
    rivals = [
        one
        for one in rivals
        if not any(one.form.endswith(end) and one.form.removesuffix(end) + other in forms for end, other in SAME_RUN)
    ]
    given = [one for one in rivals if not one.folder] or rivals
    plain = [one for one in given if one.affixes == ("", "") and len(one.files) == len(sets[0].files)]
    if len(plain) == 1 and len({one.folder for one in given}) == 1:
        given = plain
    if len(given) > 1:
        lines = []
        for one in sorted(given, key=lambda one: one.form)[:12]:
            alone = [other.folder for other in given].count(one.folder) == 1
            prefix = f" with --prefix {one.affixes[0]}" if one.affixes[0] and not alone else ""
            form = one.form.removeprefix(one.folder).replace("{seq}", "<sequence>")
            count = f"{len(one.files)} of {len(names)} sequences"
            lines.append(f"  {tree.describe(one.folder)}{prefix}: {form}, {count}")
        lines += [f"  ... and {len(given) - 12} more"] * (len(given) > 12)
        raise ValueError(
            f"{tree.describe()}: ambiguous, it holds several sets of result files; give the path of the one that is "
            "meant, or a folder that has only that one:\n" + "\n".join(lines)
        )
    others: list[ResultSet] = []
    for one in sets:
        paths = set(one.files.values())
        if not any(one.folder == other.folder or paths <= set(other.files.values()) for other in [given[0], *others]):
            others.append(one)
    if others:
        places = first_few([f"{tree.describe(one.folder)} ({len(one.files)} of {len(names)})" for one in others])
        notes.append(f"files called by sequences in other folders were not read: {places}")
    return given[0]


def _found(tree: FileTree) -> str:
    """Say what is there instead of results."""
    paths = tree.walk(DEPTH)
    if not paths:
        return f"found no file at all down to {DEPTH} folders below"
    kinds = Counter(f"*.{path.rpartition('.')[2]}" if "." in path.rpartition("/")[2] else "*" for path in paths)
    return f"found {', '.join(f'{count} {kind}' for kind, count in kinds.most_common(3))}: {first_few(paths)}"
