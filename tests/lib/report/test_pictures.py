"""Film strips of a report: the annotated frames, at their numbers."""

from dataclasses import replace

import numpy as np
import pytest

from lib.report.page import find_images
from lib.report.pictures import film_strip
from report_data import make_evaluation


def test_images_of_other_numbers_than_the_annotation_are_refused(tmp_path):
    evaluation = make_evaluation(tmp_path)
    images, _ = find_images("synthrgbt", "test", str(tmp_path))
    truth = replace(evaluation.truth["bike"], boxes=(np.ones((70, 4)),))
    with pytest.raises(ValueError, match="bike: 40 images, but 70 annotation rows"):
        film_strip(images("bike"), truth, {}, {}, "00")


def test_an_annotation_of_every_tenth_frame_shows_those_frames(tmp_path):
    evaluation = make_evaluation(tmp_path)
    images, _ = find_images("synthrgbt", "test", str(tmp_path))
    truth = replace(evaluation.truth["bike"], boxes=(np.ones((4, 4)),))
    strip, files = film_strip(images("bike"), truth, {}, {}, "00")
    assert [name for picture in strip.pictures for name in picture.files] == list(files)
    assert [picture.frame for picture in strip.pictures] == [0, 10, 20, 30]
