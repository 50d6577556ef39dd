"""Equal to the benchmarks' toolkits on generated data; where the numbers come from is in the file itself."""

import json
from pathlib import Path

import numpy as np
import pytest

from lib.evaluation import evaluate
from lib.evaluation.ground_truth import GroundTruth
from lib.evaluation.protocols import protocols_of
from lib.evaluation.scoring import score_multi_start

GOLDEN = json.loads((Path(__file__).parents[2] / "data" / "evaluation_golden.json").read_text())
TOLERANCE = 1e-9  # the stored values have twelve digits


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def check_sequences(scores, expected):
    for metric in set(expected) - {"seqs"}:
        found = [scores.sequences[name][metric] for name in expected["seqs"]]
        assert found == pytest.approx(expected[metric], abs=TOLERANCE), metric


@pytest.mark.parametrize("part", ["vtuav", "vtuav_corners"])
def test_vtuav(tmp_path, part):
    golden = GOLDEN[part]
    truth = {f"{name}/{file}": text for name, files in golden["sequences"].items() for file, text in files.items()}
    evaluation = evaluate(
        "vtuav",
        {"t": write(tmp_path / "results", golden["results"])},
        ground_truth=write(tmp_path / "truth", truth),
        prefix=golden["prefix"],
        names=list(golden["sequences"]),
    )
    scores = evaluation.trackers["t"]
    check_sequences(scores, golden["expected"]["per_sequence"])
    assert scores.metrics == pytest.approx(golden["expected"].get("overall", scores.metrics), abs=TOLERANCE)


@pytest.mark.parametrize("tracker", list(GOLDEN["visevent"]["trackers"]))
def test_visevent(tmp_path, tracker):
    parts = {"gt_rect.txt": "gt_rect", "absent.txt": "absent", "att.txt": "att"}
    sequences = GOLDEN["visevent"]["sequences"]
    truth = {f"{parts[file]}/{name}.txt": files[file] for name, files in sequences.items() for file in parts}
    golden = GOLDEN["visevent"]["trackers"][tracker]
    results = write(tmp_path / "results", golden["results"])
    evaluation = evaluate("visevent", {"t": results}, ground_truth=write(tmp_path / "truth", truth))
    check_sequences(evaluation.trackers["t"], golden["expected"]["per_sequence"])


@pytest.mark.parametrize("variant", ["vot-0.9.0", "vot-0.5.3"])
@pytest.mark.parametrize("tracker", list(GOLDEN["long_term"]["trackers"]))
def test_long_term(tmp_path, tracker, variant):
    width, height = GOLDEN["long_term"]["image_size"]
    truth = {}
    for name, files in GOLDEN["long_term"]["sequences"].items():
        truth[f"{name}/groundtruth.txt"] = files["groundtruth.txt"]
        truth[f"{name}/sequence"] = f"width={width}\nheight={height}\n"
    golden = GOLDEN["long_term"]["trackers"][tracker]
    results = write(tmp_path / "results", golden["results"])
    truth = write(tmp_path / "truth", truth)
    evaluation = evaluate("depthtrack", {"t": results}, ground_truth=truth, protocol=variant)
    assert evaluation.trackers["t"].metrics == pytest.approx(golden["expected"][variant], abs=TOLERANCE)


def decoded(text):
    return np.cumsum([[float(number) for number in row.split(",")] for row in text.split(";")], axis=0)


@pytest.mark.parametrize("variant", ["vot-0.9.0", "vot-0.5.3"])
def test_multi_start(variant):
    part = GOLDEN["multi_start"]
    truth = {}
    for name, sequence in part["sequences"].items():
        boxes = decoded(sequence["boxes"])
        boxes[sequence["absent"]] = np.nan
        anchors = np.zeros(len(boxes))
        anchors[[int(frame) for frame in sequence["anchors"]]] = list(sequence["anchors"].values())
        truth[name] = GroundTruth((boxes,), image_size=tuple(part["image_size"]), anchors=anchors)
    golden = part["trackers"]["A"]
    runs = {name: {} for name in truth}
    for file, text in golden["results"].items():
        name, anchor = file.split("/")[0], int(Path(file).stem[-8:])
        runs[name][anchor] = np.concatenate([np.full((1, 4), np.nan), decoded(text)])
    scores = score_multi_start(protocols_of("votrgbd2022")[variant], truth, runs)
    assert scores.metrics == pytest.approx(golden["expected"][variant], abs=TOLERANCE)
