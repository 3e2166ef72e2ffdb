"""A predictor with random weights."""

import pytest

from selfsam_d2.prediction.predictor import NucleiPredictor


@pytest.fixture(scope="session")
def tiny_predictor(tiny_run):
    return NucleiPredictor(tiny_run / "model_final.pth")
