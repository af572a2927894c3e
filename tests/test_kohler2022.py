"""Kohler et al. 2022 in its published layout, from a small server that answers as OSF does."""

from __future__ import annotations

import http.server
import io
import json
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest

import braindecode_hub as bdh
from braindecode_hub.cache import Cache
from braindecode_hub.errors import HubError
from braindecode_hub.runner import context
from braindecode_hub.types import Context, Event, Space
from braindecode_hub_audio_seeg.kohler2022 import Kohler2022

AUDIO = Space("audio", ("time",), "*")
SECONDS = 40


class Osf(http.server.BaseHTTPRequestHandler):
    """OSF's listing of node 7wf6n, and its files."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        base = f"http://{self.headers['Host']}"
        name = self.path.removeprefix("/download/")
        body = self.files.get(name, b"")
        if self.path.startswith("/v2/nodes/7wf6n/files/osfstorage/"):
            entries = [
                {"attributes": {"name": name, "kind": "file"}, "links": {"download": f"{base}/download/{name}"}}
                for name in self.files
            ]
            body = json.dumps({"data": entries, "links": {"next": None}}).encode()
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def npy(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


@pytest.fixture(scope="module")
def patients() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """SEEG (time, channels) at 1024 Hz and audio (samples,) at 22,050 Hz of two patients, 6 and 9 contacts."""
    rng = np.random.default_rng(0)
    found = {}
    for name, channels in (("p1", 6), ("p2", 9)):
        audio = (rng.uniform(-0.3, 0.3, SECONDS * 22050) * 32768).astype(np.int16)
        found[name] = rng.standard_normal((SECONDS * 1024 + 100, channels)), audio
    return found


@pytest.fixture
def osf(patients: dict[str, tuple[np.ndarray, np.ndarray]], monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Osf]]:
    Osf.asked.clear()
    Osf.files = {"README.md": b"hello"}
    for name, (brain, audio) in patients.items():
        Osf.files |= {f"{name}_sEEG.npy": npy(brain), f"{name}_audio_final.npy": npy(audio)}
    monkeypatch.delenv("BRAINDECODE_HUB_OFFLINE", raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Osf) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("BRAINDECODE_HUB_OSF_API", f"http://127.0.0.1:{running.server_address[1]}/v2")
        yield Osf
        running.shutdown()
        thread.join()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def ctx(tmp_path: Any, events: list[Event]) -> Context:
    return context(cache=Cache(tmp_path / "cache"), log=events.append)


@pytest.mark.usefixtures("osf")
def test_patients_are_fetched_and_read_as_published(
    ctx: Context, patients: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    dataset = Kohler2022(patients=[2, 1])
    dataset.prepare(ctx)
    assert [trial.id for trial in dataset.trials()] == ["p1", "p2"]
    for trial in dataset.trials():
        brain, audio = patients[trial.id]
        recording, sound = dataset.recording(trial.recording), dataset.stimulus(trial.id, AUDIO)
        assert recording.brain.rate == 1024.0
        assert recording.brain.modality == "seeg"
        assert recording.line_freq == 50.0
        assert recording.subject == trial.groups["subject"] == trial.id
        assert trial.stop == trial.stimulus_stop == SECONDS
        np.testing.assert_array_equal(recording.brain.data[:, 500:600], brain[500:600].T.astype(np.float32))
        assert sound.rate == 22050.0
        np.testing.assert_allclose(sound.data[5000:5100], audio[5000:5100] / 32768, atol=1e-6)


def test_files_come_once_and_their_hashes_are_told(osf: type[Osf], ctx: Context, events: list[Event]) -> None:
    first = Kohler2022(patients=[1])
    first.prepare(ctx)
    told = [event["uri"] for event in events if event["kind"] == "not_pinned"]
    assert told == ["osf://7wf6n/p1_sEEG.npy", "osf://7wf6n/p1_audio_final.npy"]
    osf.asked.clear()
    again = Kohler2022(patients=[1])
    again.prepare(ctx)
    assert osf.asked == []
    assert again.fingerprint() == first.fingerprint()


@pytest.mark.usefixtures("osf")
def test_a_patient_that_is_missing_is_named(ctx: Context) -> None:
    with pytest.raises(HubError, match="p3_sEEG"):
        Kohler2022().prepare(ctx)


@pytest.mark.parametrize(
    ("patients", "why"), [([4], "no patient 4"), ([], "no patient is asked"), ([1, 0], "no patient 0")]
)
def test_impossible_patients_are_refused_before_any_download(ctx: Context, patients: list[int], why: str) -> None:
    with pytest.raises(HubError, match=why):
        Kohler2022(patients=patients).prepare(ctx)


def test_it_must_be_prepared() -> None:
    with pytest.raises(HubError, match="not prepared"):
        Kohler2022().trials()


def test_it_says_that_it_was_never_seen_to_work() -> None:
    assert Kohler2022.unverified is True
    assert Kohler2022.simulated is False
    assert (Kohler2022.__doc__ or "").startswith("UNVERIFIED")


@pytest.mark.slow
@pytest.mark.usefixtures("osf")
def test_a_run_says_unverified_and_noise_is_not_decoded(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINDECODE_HUB_CACHE", str(tmp_path / "cache"))
    quick = {
        "dataset.patients": [1],
        "renderer.iterations": 2,
        "metrics": ["audio_seeg/mel_correlation"],
        "split.gap_s": 0.5,
        "split.blocks": 1,
    }
    run = bdh.run("audio_seeg", preset="kohler2022", set=quick, dev=True, jobs=1, out=tmp_path)
    assert "UNVERIFIED" in run.metrics["flags"]
    assert run.metrics["simulated"] is False
    assert abs(run.metrics["scores"]["mel_correlation"]["value"]) < 0.2
