"""Preprocessing: the user's word, then the file's; what nobody states is asked for, and never guessed in silence."""

from __future__ import annotations

from typing import Any

import pytest

from models.catalog.preprocessing import GivenPreprocessing
from models.conversion.converted import PreprocessingFacts
from models.importers.errors import ImportRejected
from models.importers.preprocessing import ask, decide
from models.importers.report import SampleCheck, Trial
from tests.support.imported_networks import as_read, make_graph, make_network

CAFFE = Trial(
    name="BGR, Caffe's", channel_order="bgr", mean=(0.5, 0.4, 0.3), std=(1 / 255, 1 / 255, 1 / 255), accuracy=0.9
)
OTHER = CAFFE.model_copy(update={"name": "RGB, 0 to 1", "channel_order": "rgb", "accuracy": 0.4})
SAMPLES = SampleCheck(images=40, classes=4, measured_by="classifier", trials=[CAFFE, OTHER], is_clear=True)


def read(**facts: Any) -> Any:
    return as_read(make_graph(make_network()), facts=PreprocessingFacts(**facts))


def test_what_the_file_says_counts() -> None:
    decision = decide(read(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0), interpolation="bicubic", crop_pct=1.0), None)
    assert decision.mean == (0.1, 0.2, 0.3)
    assert decision.preprocessing.interpolation == "bicubic"
    assert decision.preprocessing.input_size == (3, 32, 32)
    assert decision.report.missing == []
    assert decision.report.sources["mean"] == decision.report.sources["crop_pct"] == "file"
    assert decision.report.assumed == ["crop_mode: center", "channel_order: rgb"]


def test_a_normalization_that_the_file_contradicts_is_rejected() -> None:
    given = GivenPreprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    inside = read(
        mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255), evidence=("It begins with a division by 255.",)
    )
    with pytest.raises(ImportRejected, match="division by 255") as caught:
        decide(inside, given)
    assert caught.value.code == "preprocessing_contradicts"
    assert decide(inside, None, SAMPLES).report.sources["mean"] == "samples"
    decide(read(mean=(0.498, 0.498, 0.498), std=(0.5, 0.5, 0.5)), GivenPreprocessing(mean=(0.5, 0.5, 0.5)))


def test_the_user_decides_about_the_crop_and_the_report_says_so() -> None:
    facts = {"mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0), "crop_pct": 0.9}
    decision = decide(read(**facts), GivenPreprocessing(crop_pct=1.0))
    assert decision.preprocessing.crop_pct == 1.0
    assert decision.report.sources["crop_pct"] == "user"
    assert decision.report.reasons == ["The file says crop_pct 0.9; 1.0 is used, as of the request."]


def test_means_of_bgr_are_turned_to_rgb() -> None:
    decision = decide(read(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0), channel_order="bgr"), None)
    assert (decision.mean, decision.std, decision.channel_order) == ((0.3, 0.2, 0.1), (3.0, 2.0, 1.0), "bgr")


def test_what_nobody_states_is_asked_for_with_a_proposal() -> None:
    decision = decide(read(), None)
    assert decision.report.missing == ["mean", "std", "channel_order"]
    error = ask(decision, None)
    assert error.code == "preprocessing_needed"
    assert "0.485, 0.456, 0.406" in str(error)
    proposal = decision.report.proposal
    assert proposal is not None
    assert (proposal.mean, proposal.channel_order) == ((0.485, 0.456, 0.406), "rgb")
    again = decide(read(), proposal)
    assert again.report.missing == again.report.assumed == []


def test_half_of_it_is_not_enough() -> None:
    decision = decide(read(), GivenPreprocessing(mean=(0.5, 0.5, 0.5)))
    assert decision.report.missing == ["std", "channel_order"]
    assert decision.mean == (0.5, 0.5, 0.5)


def test_an_architecture_proposes_what_it_usually_takes() -> None:
    usual = as_read(
        make_graph(make_network()),
        proposed=PreprocessingFacts(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop_pct=0.9),
        proposed_because="Its published weights take it.",
    )
    decision = decide(usual, None)
    assert decision.report.proposal is not None
    assert (decision.report.proposal.std, decision.report.proposal.crop_pct) == ((0.5, 0.5, 0.5), 0.9)
    assert "Its published weights take it." in str(ask(decision, None))


def test_samples_make_the_proposal_but_decide_only_if_asked_to() -> None:
    decision = decide(read(), None)
    error = ask(decision, SAMPLES)
    assert decision.report.proposal is not None
    assert (decision.report.proposal.mean, decision.report.proposal.channel_order) == (CAFFE.mean, "bgr")
    assert "90.0%" in str(error)
    assert "40.0%" in str(error)
    chosen = decide(read(), None, SAMPLES)
    assert (chosen.mean, chosen.channel_order, chosen.report.missing) == (CAFFE.mean, "bgr", [])
    assert chosen.report.sources["mean"] == "samples"


def test_a_graph_keeps_its_size() -> None:
    with pytest.raises(ImportRejected, match="32x32") as caught:
        decide(read(), GivenPreprocessing(input_size=(3, 64, 64)))
    assert caught.value.code == "input_size_differs"


def test_a_file_with_values_that_no_image_has_is_rejected() -> None:
    with pytest.raises(ImportRejected) as caught:
        decide(read(mean=(0.0, 0.0, 0.0), std=(0.0, 1.0, 1.0)), None)
    assert caught.value.code == "preprocessing_unusable"
