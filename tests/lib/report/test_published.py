"""The published numbers: complete, typed, with sources, and what a mistake in the file would lead to."""

import pytest

from lib.evaluation.protocols import LongTerm, MultiStart, get_protocol
from lib.report.published import load_published, parse_published

FILE = """
sources:
  readme: {kind: primary, where: "a README"}
venues:
  A: CVPR 2023
tables:
  lasher:
    metrics: [PR, NPR, SR]
    rows:
"""


def metrics_of(dataset):
    rules = get_protocol(dataset)[1]
    if isinstance(rules, LongTerm):
        return {"Pr", "Re", "F"}
    return {"EAO", "A", "R"} if isinstance(rules, MultiStart) else {metric.name for metric in rules.metrics}


@pytest.mark.parametrize("dataset", ["lasher", "rgbt234", "rgbt210", "gtot", "vtuav", "depthtrack", "visevent"])
def test_metrics_have_the_names_of_our_protocols(dataset):
    used = {metric for row in load_published().tables[dataset] for metric in row.values}
    assert used
    assert used <= metrics_of(dataset)


def test_every_value_is_a_percentage_with_a_source_that_is_described():
    library = load_published()
    rows = [row for table in library.tables.values() for row in table]
    assert len(rows) > 100
    for row in rows:
        assert all(0 < value <= 100 for value in row.values.values()), row
        assert bool(row.values) == bool(row.sources), row
        assert set(row.sources) <= set(library.sources), row


@pytest.mark.parametrize(
    ("dataset", "tracker", "values"),
    [
        ("lasher", "ViPT", {"PR": 65.1, "NPR": 61.6, "SR": 52.5}),
        ("rgbt234", "BAT", {"MPR": 86.8, "MSR": 64.1}),
        ("depthtrack", "SDSTrack", {"Pr": 61.9, "Re": 60.9, "F": 61.4}),
        ("votrgbd2022", "STTrack", {"EAO": 77.6, "A": 82.5, "R": 93.7}),
        ("visevent", "OSTrack", {"PR": 69.5, "SR": 53.4}),
        ("gtot", "PATrack", {"MPR": 92.4586, "MSR": 78.3097}),
        ("lasher", "PATrack", {}),
    ],
)
def test_values_as_published(dataset, tracker, values):
    row = next(row for row in load_published().tables[dataset] if row.tracker == tracker)
    assert row.values == values


def test_other_values_that_circulate_are_in_the_note():
    row = next(row for row in load_published().tables["lasher"] if row.tracker == "Un-Track")
    assert "also published: PR 66.7, SR 53.6 (stt_readme, tang_rgbt)" in row.note


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param("{tracker: A, SR: 0.5, sources: [blog]}", "sources must be among", id="source"),
        pytest.param("{tracker: A, EAO: 50, sources: [readme]}", "metrics must be among", id="metric"),
        pytest.param("{tracker: A, SR: 152, sources: [readme]}", "percentage", id="too large"),
        pytest.param("{tracker: A, SR: .nan, sources: [readme]}", "percentage", id="nan"),
        pytest.param("{tracker: A, SR: 50, sources: []}", "without a source", id="no source"),
        pytest.param(
            "{tracker: A, SR: 50, sources: [readme], also: [{SR: x, sources: [readme]}]}", "percentage", id="also"
        ),
    ],
)
def test_a_mistake_is_an_error_that_names_the_tracker(row, message):
    with pytest.raises(ValueError, match=f"lasher, A: .*{message}"):
        parse_published(f"{FILE}      - {row}\n")
