"""Which files are a tracker's results: layouts that are read, and those in which several trackers could be meant."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile

import numpy as np
import pytest

from lib.evaluation import EvaluationError, evaluate
from lib.evaluation.files import FileTree
from lib.evaluation.ground_truth import GroundTruth
from lib.evaluation.protocols import protocols_of
from lib.evaluation.results import export_results, read_results
from lib.report.page import read_speed

NAMES = ("bike", "car", "redcar")
LONG_TERM, MULTI_START = protocols_of("depthtrack")["vot-0.9.0"], protocols_of("votrgbd2022")["vot-0.9.0"]
BOX = "10,10,20,20"


def score(benchmark, source, **options):
    return evaluate("lasher", {"t": source}, ground_truth=benchmark, **options).trackers["t"]


def problem_of(benchmark, source, **options):
    with pytest.raises(EvaluationError) as caught:
        score(benchmark, source, **options)
    return "\n".join(caught.value.problems["t"])


@pytest.fixture
def place(tmp_path, write_tracker):
    """Function that puts the files of a good tracker in `results/<form>`, and returns `results`."""
    source, results = write_tracker("good"), tmp_path / "results"

    def put(form, change=lambda text: text, names=NAMES):
        for name in names:
            path = results / form.format(seq=name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(change((source / f"{name}.txt").read_text()).encode())
        return results

    return put


@pytest.mark.parametrize(
    "form",
    [
        "{seq}.TXT",
        "{seq}.csv",
        "our_{seq}.txt",
        "{seq}_PATrack.txt",
        "our_{seq}_final.Txt",
        "PATrack{seq}.txt",
        "a/b/c/{seq}.txt",
        "a/b/our_{seq}.txt",
        "{seq}/{seq}.txt",
        "t/{seq}/{seq}_001.txt",
        "{seq}/boxes.txt",
        "run/{seq}/track.csv",
    ],
)
def test_files_are_found_wherever_they_lie(benchmark, place, form):
    assert score(benchmark, place(form)).metrics["PR"] == 1.0


CHANGES = {
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "CR": lambda text: text.replace("\n", "\r"),
    "byte order mark": lambda text: "\ufeff" + text,
    "tabs": lambda text: text.replace(",", "\t"),
    "semicolons": lambda text: text.replace(",", ";"),
    "comma and blanks": lambda text: text.replace(",", " ,  "),
    "comma at the end": lambda text: text.replace("\n", ",\n"),
    "blanks at the end": lambda text: text.replace("\n", "  \n") + "\n \n",
    "exponents": lambda text: "\n".join(",".join(f"{float(v):.18e}" for v in row.split(",")) for row in text.split()),
    "integers": lambda text: text.replace(".000", ""),
    "score": lambda text: text.replace("\n", ",0.5\n"),
    "names": lambda text: "x,y,w,h\n" + text,
    "frames": lambda text: "".join(f"{k},{row}\n" for k, row in enumerate(text.split())),
    "frames, scores": lambda text: "".join(f"{k},{row},1\n" for k, row in enumerate(text.split(), start=1)),
    "track.csv": lambda text: (
        "frame,time,x,y,w,h,score,lost\n" + "".join(f"{k},{k / 25},{row},0.5,0\n" for k, row in enumerate(text.split()))
    ),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_every_form_of_the_rows_scores_the_same(benchmark, place, change):
    scores = score(benchmark, place("{seq}.txt", CHANGES[change]))
    assert scores.metrics == pytest.approx({"PR": 1.0, "NPR": 1.0, "SR": 20 / 21})
    assert scores.notes == ()


def test_capital_letters_do_not_count(benchmark, place):
    source = place("{seq}.txt")
    for name in NAMES:
        (source / f"{name}.txt").rename(source / f"{name.title()}.txt")
    assert score(benchmark, source).metrics["PR"] == 1.0


def test_files_of_another_sequence_are_not_taken_for_one_with_a_prefix(benchmark, place):
    source = place("{seq}.txt", names=("redcar",))
    assert "no result files" in problem_of(benchmark, source, names=["car"])


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_several_trackers_are_listed_with_the_path_to_give(benchmark, place, tmp_path, kind):
    place("MANet/lasher/{seq}.txt")
    place("CAT/lasher/{seq}.txt", names=NAMES[:2])
    source = place("old/{seq}_result.txt", names=NAMES[:1])  # too few to be meant
    if kind != "folder":
        kinds = {"zip": "zip", "tar.gz": "gztar"}
        source = tmp_path / f"r.{kind}"
        shutil.make_archive(str(tmp_path / "r"), kinds[kind], tmp_path / "results")
    said = problem_of(benchmark, source)
    assert "several sets of result files; give the path" in said
    assert said.split("\n")[1:] == [
        f"  {source}/CAT/lasher: <sequence>.txt, 2 of 3 sequences",
        f"  {source}/MANet/lasher: <sequence>.txt, 3 of 3 sequences",
    ]
    assert score(benchmark, f"{source}/MANet/lasher").metrics["PR"] == 1.0


def test_prefixes_of_several_trackers_are_listed(benchmark, place):
    place("A_{seq}.txt")
    source = place("B_{seq}.txt")
    assert f"  {source} with --prefix B_: B_<sequence>.txt, 3 of 3" in problem_of(benchmark, source)
    assert score(benchmark, source, prefix="B_").file_format == "x,y,w,h, comma, prefix B_"


def test_files_in_the_folder_itself_go_before_those_below_which_are_stated(benchmark, place):
    place("old/{seq}.txt")
    source = place("our_{seq}.txt")
    said = f"files called by sequences in other folders were not read: {source}/old (3 of 3)"
    assert score(benchmark, source).notes == (said,)


def test_the_folder_of_the_files_is_known_so_that_times_of_another_tracker_are_not_read(benchmark, place):
    source = place("run/lasher/our_{seq}.txt")
    (source / "earlier").mkdir()
    for name in NAMES:
        (source / "earlier" / f"{name}_times.txt").write_text("0.1\n" * 12)
    scores = score(benchmark, source)
    truth = evaluate("lasher", {"t": source}, ground_truth=benchmark).truth
    assert scores.folder == "run/lasher/"
    assert read_speed(source / scores.folder, truth).note == "no files with times"
    (source / "earlier").rename(source / "run/lasher/times")
    assert read_speed(source / scores.folder, truth).fps is None
    for path in (source / "run/lasher/times").iterdir():
        path.rename(source / "run/lasher" / path.name)
    assert read_speed(source / scores.folder, truth).fps == pytest.approx(10)


def test_a_tracker_with_few_files_beside_a_complete_one_is_stated(benchmark, place):
    place("new/{seq}.txt", names=NAMES[:1])
    source = place("all/{seq}.txt")
    said = f"files called by sequences in other folders were not read: {source}/new (1 of 3)"
    assert score(benchmark, source).notes == (said,)


def test_where_nothing_is_found_the_message_says_what_is_there(benchmark, tmp_path):
    for name in NAMES:
        (tmp_path / "r/deep").mkdir(parents=True, exist_ok=True)
        (tmp_path / "r/deep" / f"{name}.mat").touch()
    said = problem_of(benchmark, tmp_path / "r")
    assert (
        "looked for 3 files named <sequence>.txt, such as bike.txt; found 3 *.mat: deep/bike.mat, deep/car.mat" in said
    )
    (tmp_path / "empty").mkdir()
    assert "found no file at all" in problem_of(benchmark, tmp_path / "empty")


# --- tar archives


def write_tar(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
    return path


@pytest.mark.parametrize(("ending", "mode"), [("tar", "w"), ("tgz", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")])
def test_tar_archives_are_read_like_folders(benchmark, place, tmp_path, ending, mode):
    source = place("run/our_{seq}.txt")
    with tarfile.open(tmp_path / f"r.{ending}", mode) as archive:
        archive.add(source, ".")
    before = sorted(tmp_path.rglob("*"))
    scores = score(benchmark, tmp_path / f"r.{ending}")
    assert (scores.sequences, scores.file_format) == (score(benchmark, source).sequences, "x,y,w,h, comma, prefix our_")
    assert sorted(tmp_path.rglob("*")) == before  # nothing is unpacked


@pytest.mark.parametrize("name", ["/etc/car.txt", "../car.txt", "a/../../car.txt"])
def test_tar_archives_with_unsafe_names_are_refused(benchmark, tmp_path, name):
    assert "unsafe name" in problem_of(benchmark, write_tar(tmp_path / "r.tar.gz", {name: b"1,2,3,4\n"}))


def test_links_in_a_tar_archive_are_not_followed(benchmark, place, tmp_path):
    source = place("{seq}.txt")
    members = {f"{name}.txt": (source / f"{name}.txt").read_bytes() for name in NAMES[:2]}
    archive = write_tar(tmp_path / "r.tar.gz", {**members, "redcar.txt": str(source / "redcar.txt")})
    assert "r.tar.gz/redcar.txt: cannot be read (redcar.txt is a link" in problem_of(benchmark, archive)


def test_limits_hold_for_tar_archives_too(benchmark, place, tmp_path, monkeypatch):
    source = place("{seq}.txt")
    members = {f"{name}.txt": (source / f"{name}.txt").read_bytes() for name in NAMES}
    archive = write_tar(tmp_path / "r.tar.gz", {**members, "car.txt": bytes(3000)})
    monkeypatch.setattr("lib.evaluation.files.MAX_BYTES", 2000)
    assert "car.txt: 3000 bytes, expected a text file below 2000" in problem_of(benchmark, archive)
    monkeypatch.setattr("lib.evaluation.files.MAX_ARCHIVE", 2000)
    assert "more than 2000 bytes in all; unpack it" in problem_of(benchmark, archive)


def test_a_damaged_tar_archive_names_the_file(benchmark, place, tmp_path):
    source = place("{seq}.txt")
    archive = write_tar(tmp_path / "r.tar.gz", {f"{name}.txt": (source / f"{name}.txt").read_bytes() for name in NAMES})
    archive.write_bytes(archive.read_bytes()[:-40])
    assert "r.tar.gz is no readable archive" in problem_of(benchmark, archive)


def test_what_macos_adds_to_archives_is_not_read(benchmark, place, tmp_path):
    source = place("our_{seq}.txt")
    for name in NAMES:
        (source / f"._our_{name}.txt").write_bytes(b"\x00\x05\x16\x07")
    archive = shutil.make_archive(str(tmp_path / "r"), "zip", source)
    with zipfile.ZipFile(archive, "a") as added:
        added.writestr("__MACOSX/our_car.txt", b"\x00\x05")
    for path in (source, archive):
        assert (score(benchmark, path).metrics["PR"], score(benchmark, path).notes) == (1.0, ())


def test_a_folder_that_is_not_in_the_archive(benchmark, place, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "r"), "zip", place("a/{seq}.txt"))
    assert "r.zip holds no folder b" in problem_of(benchmark, f"{archive}/b")


@pytest.mark.parametrize("output", ["out.tar.gz", "out.tgz", "out.7z"])
def test_only_zip_archives_are_exported(benchmark, place, tmp_path, output):
    with pytest.raises(ValueError, match=r"--output .*folder or an archive FILE\.zip"):
        export_results("lasher", "t", place("{seq}.txt"), tmp_path / output, ground_truth=benchmark)


# --- files of the VOT toolkit, and confidences


def annotation(frames=3, **extras):
    boxes = np.array([[10.0, 10, 20, 20]] * frames)
    return {name: GroundTruth((boxes,), image_size=(100, 50), **extras) for name in "ab"}


def put_run(folder, scores=True, ending="txt"):
    for name in "ab":
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{name}_001.{ending}").write_text(f"1\n{BOX}\n{BOX}\n")
        if scores:
            (folder / name / f"{name}_001_confidence.value").write_text("\n0.7\n0.5\n")


def test_several_trackers_in_the_layout_of_the_vot_toolkit_are_listed(tmp_path):
    for tracker in ("ViPT", "PATrack"):
        put_run(tmp_path / "results" / tracker / "rgbd-unsupervised")
    said = read_results(FileTree(tmp_path), annotation(), LONG_TERM).problems[""]
    for tracker in ("ViPT", "PATrack"):
        path = tmp_path / "results" / tracker / "rgbd-unsupervised"
        assert f"  {path}: <sequence>/<sequence>_001.txt, 2 of 2 sequences" in said
        for given in (path, path.parent):
            files = read_results(FileTree(given), annotation(), LONG_TERM)
            assert (files.problems, files.rows["a"][1].tolist()) == ({}, [0, 0.7, 0.5])


def test_several_experiments_of_runs_from_anchors_are_listed(tmp_path):
    for tracker in ("ViPT", "PATrack"):
        for name in "ab":
            folder = tmp_path / tracker / "baseline" / name
            folder.mkdir(parents=True)
            for anchor in (0, 2):
                (folder / f"{name}_{anchor:08d}.txt").write_text(f"1\n{BOX}\n{BOX}\n")
    truth = annotation(anchors=np.array([1, 0, -1]))
    said = read_results(FileTree(tmp_path), truth, MULTI_START).problems[""]
    assert f"  {tmp_path}/ViPT/baseline: <sequence>/<sequence>.txt, 2 of 2 sequences" in said
    files = read_results(FileTree(tmp_path / "ViPT"), truth, MULTI_START)
    assert (files.problems, list(files.rows["a"])) == ({}, [0, 2])


def write_boxes_and(folder, scores=None, column="", rows=3):
    folder.mkdir(exist_ok=True)
    for name in "ab":
        (folder / f"{name}.txt").write_text(f"{BOX}{column}\n" * rows)
        if scores:
            (folder / f"{name}{scores}").write_text("0.5\n" * 3)


@pytest.mark.parametrize("beside", ["_scores.txt", "_confidence.txt", "_confidence.value"])
def test_confidences_are_read_from_a_file_beside(tmp_path, beside):
    write_boxes_and(tmp_path, beside)
    assert read_results(FileTree(tmp_path), annotation(), LONG_TERM).rows["a"][1].tolist() == [0.5] * 3


@pytest.mark.parametrize("column", ["", ",0.5"])
def test_special_codes_are_read_in_plain_files_too(tmp_path, column):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(f"1\n{BOX}{column}\n0\n")
        (tmp_path / f"{name}_scores.txt").write_text("\n0.5\n0\n")
    if column:
        (tmp_path / "a_scores.txt").unlink()
        (tmp_path / "b_scores.txt").unlink()
    files = read_results(FileTree(tmp_path), annotation(), LONG_TERM)
    assert files.problems == {}
    assert np.isnan(files.rows["a"][0]).all(axis=1).tolist() == [True, False, True]
    assert files.rows["a"][1][1] == 0.5


def test_recordings_have_their_confidences_in_the_same_folder(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "boxes.txt").write_text(f"{BOX}\n" * 3)
        (tmp_path / name / "scores.txt").write_text("0.5\n" * 3)
        (tmp_path / name / "track.csv").write_text(
            "frame,x,y,w,h,score\n" + "".join(f"{k},{BOX},0.5\n" for k in range(3))
        )
    files = read_results(FileTree(tmp_path), annotation(), LONG_TERM)
    assert (files.rows["a"][1].tolist(), files.file_format) == ([0.5] * 3, "x,y,w,h, comma, confidences")
    for name in "ab":
        (tmp_path / name / "boxes.txt").unlink()
    assert read_results(FileTree(tmp_path), annotation(), LONG_TERM).rows["a"][1].tolist() == [0.5] * 3


def test_confidences_are_read_from_a_column(tmp_path):
    write_boxes_and(tmp_path, column=",0.25")
    files = read_results(FileTree(tmp_path), annotation(), LONG_TERM)
    assert files.rows["b"][1].tolist() == [0.25] * 3
    assert files.file_format == "x,y,w,h and a score, comma"
    write_boxes_and(tmp_path, "_scores.txt", column=",0.25")
    problems = read_results(FileTree(tmp_path), annotation(), LONG_TERM).problems
    assert "a_scores.txt: other confidences than in the boxes' file" in problems["a"]


@pytest.mark.parametrize("layout", ["VOT", "plain"])
def test_without_confidences_every_frame_is_reported_as_in_the_toolkit(tmp_path, layout):
    if layout == "VOT":
        put_run(tmp_path, scores=False)
    else:
        write_boxes_and(tmp_path)
    files = read_results(FileTree(tmp_path), annotation(), LONG_TERM)
    assert files.rows["a"][1].tolist() == [0] * 3
    assert "no confidences" in files.file_format
    assert "all count as 0, the VOT toolkit's rule" in files.notes[0]


def test_confidences_of_some_sequences_only_are_an_error(tmp_path):
    write_boxes_and(tmp_path, "_scores.txt")
    (tmp_path / "b_scores.txt").unlink()
    files = read_results(FileTree(tmp_path), annotation(), LONG_TERM)
    assert "b_scores.txt: missing, while other sequences have confidences" in files.problems["b"]
    assert list(files.rows) == ["a"]


def test_a_confidence_that_is_no_number_is_stated(tmp_path):
    write_boxes_and(tmp_path, "_scores.txt")
    (tmp_path / "b_scores.txt").write_text("0.5\nnan\n0.5\n")
    assert (
        "confidence NaN in 1 sequences never count: b"
        in read_results(FileTree(tmp_path), annotation(), LONG_TERM).notes[0]
    )


def test_corners_and_prefixes_of_long_term_results_are_read_or_refused(tmp_path):
    for name in "ab":
        (tmp_path / f"t_{name}.txt").write_text("10,10,30,30,1\n" * 3)
    files = read_results(FileTree(tmp_path), annotation(), LONG_TERM)
    assert (files.file_format, files.rows["a"][0][1].tolist()) == (
        "corners x1,y1,x2,y2 and a score, comma, prefix t_",
        [10, 10, 20, 20],
    )
    put_run(tmp_path / "vot")
    files = read_results(FileTree(tmp_path / "vot"), annotation(), LONG_TERM, box_format="corners")
    assert "VOT files hold x,y,w,h, not --format corners" in files.problems[""]
    files = read_results(FileTree(tmp_path), annotation(anchors=np.array([1, 0, 0])), MULTI_START, prefix="t_")
    assert "no --format corners and no --prefix here" in files.problems[""]
