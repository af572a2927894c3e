"""A finished run of several caps, applied to recordings of its own subjects and of a stranger."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import braindecode_hub as bdh
from braindecode_hub.environment import context
from braindecode_hub.errors import HubError
from braindecode_hub.facts import fitted_to, width_of
from braindecode_hub.prediction import Fits
from braindecode_hub.runfolder import Run
from braindecode_hub_speech_wav2vec.phantom import Phantom

QUICK = {"decoder.max_steps": 1, "decoder.validate_every": 1, "dataset.stories": 3}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs")
    return bdh.run("speech_wav2vec", preset="smoke", set=QUICK, until="predict", out=out)


@pytest.fixture(scope="module")
def heard() -> Phantom:
    dataset = Phantom(subjects=3, stories=1, snr=0.3)
    dataset.prepare(context())
    return dataset


@pytest.mark.slow
def test_each_subject_is_predicted_from_its_own_sensors(run: Run, heard: Phantom) -> None:
    facts = Fits(run, 0).of(heard.recording("01"), None).facts
    assert [facts["montages"][name]["channels"] for name in ("01", "02")] == [32, 19]
    assert width_of(facts) == 32
    for name in ("01", "02"):
        recording = heard.recording(name)
        made = run.predict(recording)
        frames = len(made["mel"])
        assert abs(frames / 50.0 - recording.seconds) < 0.1
        assert made["mel"].shape == (frames, 40)
        assert made["deep_mel"].shape[0] == frames, "what was learned is predicted beside the target"
        assert all(np.isfinite(values).all() for values in made.values())


@pytest.mark.slow
def test_a_subject_is_known_by_name_and_a_stranger_by_where_the_sensors_are(run: Run, heard: Phantom) -> None:
    known = heard.recording("02")
    stranger = replace(known, subject="somebody")
    assert not np.allclose(run.predict(known)["deep_mel"], run.predict(stranger)["deep_mel"])
    other = heard.recording("03")
    assert np.isfinite(run.predict(other)["mel"]).all()
    facts = Fits(run, 0).of(known, None).facts
    assert fitted_to(other, facts)[1] == ["the run knows no subject 03: decoded as somebody unknown"]


@pytest.mark.slow
def test_a_known_subject_with_other_sensors_is_refused(run: Run, heard: Phantom) -> None:
    with pytest.raises(HubError, match="recording 03 has 27 channels, this run was fitted on 19"):
        run.predict(replace(heard.recording("03"), subject="02"))
