"""The command line as a person meets it: help, lists, one line of cause and one of remedy, exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from braindecode_hub.api import configure
from braindecode_hub.cli import main
from braindecode_hub.manager import Manager


def hub(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "braindecode_hub.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment})


def test_list_shows_pipelines_flows_and_presets() -> None:
    done = hub("list")
    assert done.returncode == 0
    assert "audio_seeg" in done.stdout
    assert "seeg → mel → audio" in done.stdout
    assert "naplib" in done.stdout


def test_list_imports_nothing_heavy() -> None:
    code = (
        "import sys; from braindecode_hub import cli\n"
        "try: cli.main(['list'])\n"
        "except SystemExit: pass\n"
        "print('HEAVY', sorted({'numpy', 'scipy', 'torch', 'mne', 'librosa', 'matplotlib', 'rich',"
        " 'braindecode_hub_audio_seeg'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "HEAVY []" in done.stdout


def test_help_names_every_command_and_a_plugins_own() -> None:
    done = hub("--help")
    for command in ("list", "describe", "run", "adapt", "render", "report", "fetch", "cache", "doctor", "vocode"):
        assert command in done.stdout


def test_commands_of_later_issues_are_absent() -> None:
    for command in ("bench", "stream", "export"):
        done = hub(command)
        assert done.returncode == 2
        assert f"unknown command '{command}'" in done.stderr


def test_describe_shows_every_parameter_and_a_component() -> None:
    done = hub("describe", "audio_seeg", "--preset", "smoke")
    assert done.returncode == 0
    assert "lags_s = [0.0, 0.3]" in done.stdout
    assert "contacts = 16" in done.stdout
    assert "positive means the brain follows" in hub("describe", "core/ridge").stdout


def test_dry_run_prints_splits_rates_units_and_lag_and_writes_nothing(tmp_path: Path) -> None:
    done = hub("run", "audio_seeg", "--preset", "smoke", "--dry-run", "--out", str(tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    for text in ("SIMULATED", "1024 Hz", "86.13 Hz", "5 s block", "gap 2 s", "brain follows the stimulus by"):
        assert text in done.stdout
    assert not (tmp_path / "runs").exists()


MISTAKES = {
    "unknown pipeline": (["run", "audio_segg"], 2, "unknown pipeline 'audio_segg'", "did you mean audio_seeg?"),
    "unknown preset": (["run", "audio_seeg", "--preset", "naplab"], 2, "no preset 'naplab'", "did you mean naplib?"),
    "unknown key": (["run", "audio_seeg", "--set", "encoder.0.lo=5"], 2, "no parameter 'lo'", "did you mean"),
    "unknown top key": (["run", "audio_seeg", "--set", "windoww=5"], 2, "unknown key 'windoww'", "did you mean window?"),
    "unknown split key": (["run", "audio_seeg", "--set", "split.gap=5"], 2, "split.gap", "did you mean gap_s?"),
    "wrong type": (["run", "audio_seeg", "--set", "encoder.0.low=abc"], 2, "'abc', which is not a number", "default is 70"),
    "wrong type for bool": (["run", "audio_seeg", "--set", "encoder.0.legacy=3"], 2, "not true or false", "default"),
    "no assignment": (["run", "audio_seeg", "--set", "encoder.0.low"], 2, "is not an assignment", "write it as"),
    "no such part": (["run", "audio_seeg", "--set", "encoder.7.low=3"], 2, "encoder has no part '7'", "parts 0 to 2"),
    "unknown component": (["run", "audio_seeg", "--set", "decoder.use=core/rigde"], 2, "unknown decoder", "core/ridge"),
    "python tag": (["run", "audio_seeg", "--set", "decoder=!!python/object/apply:os.system [id]"], 1, "--set decoder", ""),
    "parts that do not fit": (
        ["run", "audio_seeg", "--set", "dataset={use: core/phantom_eeg}"], 2,
        "audio_seeg/high_gamma does not fit behind core/phantom_eeg: it needs seeg, gets eeg", "change one",
    ),
    "another mel spec": (
        ["run", "audio_seeg", "--set", "targets.mel.0.scale=htk"], 2,
        "audio_seeg/griffin_lim cannot render targets.mel", "same settings",
    ),
    "unknown device": (["run", "audio_seeg", "--device", "tpu"], 2, "no device 'tpu'", "use auto"),
    "unknown backend": (
        ["run", "audio_seeg", "--preset", "smoke", "--set", "dataset.stories=3", "--backend", "slrum"], 2,
        "no job backend is called 'slrum'", "--backend local",
    ),
    "not a run folder": (["report", "nowhere"], 1, "nowhere is not a run folder", "printed"),
    "unknown scheme": (["fetch", "gopher://x/y"], 1, "gopher", ""),
    "too many stories": (["run", "audio_seeg", "--set", "dataset.stories=99"], 2, "there are 8 stories", "dataset.stories=8"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_of_cause_and_one_of_remedy(case: str, tmp_path: Path) -> None:
    arguments, code, cause, remedy = MISTAKES[case]
    done = hub(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith(("Error: ", "  Try: "))]
    assert len(said) == 2, done.stderr
    assert cause in said[0]
    assert remedy in said[1]
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback() -> None:
    done = hub("--debug", "run", "audio_segg")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_a_file_in_the_place_of_the_out_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    done = hub("run", "audio_seeg", "--preset", "smoke", "--out", str(tmp_path / "runs"))
    assert done.returncode == 1
    assert "runs" in done.stderr.splitlines()[0]
    assert "--out" in done.stderr
    assert (tmp_path / "runs").read_text() == "a file"


def test_a_missing_package_names_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys, importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'librosa' else real(name, *a)\n"
        "from braindecode_hub import cli; cli.main(['run', 'audio_seeg', '--preset', 'smoke'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "audio_seeg/griffin_lim needs librosa" in done.stderr
    assert "pip install 'braindecode-hub[audio-seeg]'" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_no_network_is_one_line(tmp_path: Path) -> None:
    done = hub("fetch", "https://example.invalid/a.bin", BRAINDECODE_HUB_OFFLINE="1", cwd=tmp_path)
    assert done.returncode == 1
    assert "needs the network" in done.stderr
    assert "Traceback" not in done.stderr


def test_other_bytes_than_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"not what was promised")
    done = hub("fetch", (tmp_path / "a.bin").as_uri(), "--sha256", "0" * 64)
    assert done.returncode == 1
    assert "0" * 64 in done.stderr


def test_vocode_turns_a_mel_file_and_a_sound_file_into_sound(tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    from braindecode_hub.phantom.speech import audio
    from braindecode_hub_audio_seeg.mel import log_mel_spectrogram

    speech = audio(_first_story())[:44100]
    np.save(tmp_path / "mel.npy", log_mel_spectrogram(speech))
    soundfile.write(tmp_path / "speech.wav", speech, 22050)
    for source, sound in (("mel.npy", "a.flac"), ("speech.wav", "b.mp3")):
        done = hub("vocode", str(tmp_path / source), str(tmp_path / sound))
        assert done.returncode == 0, done.stderr
        samples, rate = soundfile.read(tmp_path / sound)
        assert rate == 22050
        assert len(samples) == pytest.approx(len(speech), rel=0.05)
        assert np.abs(samples).max() > 0.05


def _first_story() -> str:
    from braindecode_hub.phantom.speech import stories

    return stories()[0].id


def test_render_and_report_work_on_a_finished_run(tmp_path: Path) -> None:
    sets = ["--set", "dataset.stories=3", "--set", "dataset.contacts=12", "--set", "dataset.shafts=2"]
    done = hub("run", "audio_seeg", "--preset", "smoke", "--dev", *sets, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip().splitlines()[-1])
    assert folder.is_dir()
    (folder / "report.html").unlink()
    assert hub("report", str(folder)).returncode == 0
    assert (folder / "report.html").is_file()
    rendered = hub("render", str(folder), "--seconds", "2")
    assert rendered.returncode == 0, rendered.stderr
    files = [Path(line) for line in rendered.stdout.splitlines()]
    assert files
    assert all(path.is_file() and path.name.startswith("SIMULATED-") for path in files)


def test_doctor_and_cache_answer(tmp_path: Path) -> None:
    assert "no problems found" in hub("doctor").stdout
    shown = hub("cache", BRAINDECODE_HUB_CACHE=str(tmp_path))
    assert shown.returncode == 0
    assert "0.0 MB" in shown.stdout


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["--seed", "-1"], "the seed is -1"),
        (["--backend", "banana"], "no job backend is called 'banana'"),
        (["--set", "unit_s=0"], "unit_s is 0 s"),
        (["--set", "unit_s=.nan"], "unit_s is nan s"),
        (["--set", "window.length_s=1e9"], "a window of 1e\\+09 s is too long"),
        (["--set", "decoder.alphas=[]"], "core/ridge: alphas are \\[\\]"),
        (["--set", "decoder.alphas=[-1]"], "core/ridge: alphas are \\[-1\\]"),
        (["--set", "decoder.lags_s=[0, 1e9]"], "are too many"),
        (["--set", "targets.mel.0.hop=0"], "hop=0.* is impossible"),
        (["--set", "targets.mel.0.rate=0"], "does not fit audio at 0 Hz"),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_anything_is_scored(
    words: list[str], cause: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "audio_seeg", "--preset", "smoke", "--out", str(tmp_path), "--set", "dataset.stories=3", *words])
    said = capsys.readouterr().err
    assert ended.value.code in (1, 2)
    assert re.search(f"Error: .*{cause}", said), said
    assert not list(tmp_path.rglob("metrics.json"))


@pytest.mark.parametrize(
    ("words", "cause", "remedy"),
    [
        (
            ["run", "--set", "targets.mel=[]", "--set", "renderer=null"],
            "targets.mel makes audio, not mel",
            "a step that",
        ),
        (["run", "--set", "flow=[a, b]"], "nothing here reads 'flow' of audio_seeg", "known: baseline"),
        (["run", "--set", "plugin=core"], "nothing here reads 'plugin'", "did you mean plugins?"),
        (["run", "--set", "presets={}"], "nothing here reads 'presets'", "known: "),
        (["inspect", "--set", "split.folds=3"], "nothing here reads 'split'", "known: dataset"),
        (["run", "--set", "renderer={}"], "renderer does not say what to use", "plugin/part"),
        (["run", "--set", "dataset.contacts=0"], "recording 01 cannot be simulated: ", "usual numbers"),
        (["run", "--set", "dataset.seed=-1"], "recording 01 cannot be simulated: ", "usual numbers"),
        (["run", "--set", "encoder.0.rate=0"], "rate is 0", "null for the recording's own"),
        (["run", "--set", "encoder.0.rate=.nan"], "encoder.0.rate is nan, which is not a number", "its default"),
    ],
)
def test_what_nothing_would_read_or_take_as_it_stands_is_refused(
    words: list[str], cause: str, remedy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *sets = words
    place = ["--out", str(tmp_path)] if command == "run" else []
    with pytest.raises(SystemExit) as ended:
        main([command, "audio_seeg", "--preset", "smoke", *place, *sets])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("Error: ", "  Try: "))]
    assert ended.value.code == 2
    assert cause in said[0]
    assert remedy in said[1]


def test_no_answer_takes_the_place_of_what_the_command_did_not_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    target = rng.standard_normal((40, 6))
    arrays, table, sound = tmp_path / "guess.npz", tmp_path / "split.csv", tmp_path / "sound.wav"
    np.savez(arrays, target=target, predicted=target + rng.standard_normal(target.shape))
    table.write_text(
        "trial,side,start,stop\n" + "".join(f"{n},{'test' if n > 30 else 'train'},{n},{n + 1}\n" for n in range(40))
    )
    soundfile.write(sound, 0.1 * rng.standard_normal(22050), 22050)
    foreign = {"config.yaml": "pipeline: audio_seeg\n", "metrics.json": '{"schema": 1, "scores": {}}', "x.json": "{"}
    for name, text in foreign.items():
        (tmp_path / name).write_text(text)
    said = "is nothing that this command wrote"
    for words in (["score", str(arrays)], ["audit", str(table)], ["inspect", "audio_seeg"]):
        for name, text in foreign.items():
            with pytest.raises(SystemExit) as ended:
                main([*words, "--json", str(tmp_path / name)])
            assert ended.value.code == 2
            assert said in capsys.readouterr().err
            assert (tmp_path / name).read_text() == text
    for words in (["score", str(arrays)], ["audit", str(table)]):
        for _ in range(2):  # its own answer is replaced
            with pytest.raises(SystemExit) as ended:
                main([*words, "--json", str(tmp_path / f"{words[0]}.json")])
            assert ended.value.code == 0, capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["score", str(arrays), "--json", str(tmp_path / "audit.json")])
    assert ended.value.code == 2
    before = sound.read_bytes()
    with pytest.raises(SystemExit) as ended:
        main(["vocode", str(sound), str(sound)])
    assert ended.value.code == 2
    assert sound.read_bytes() == before


@pytest.mark.parametrize(
    ("line", "words", "cause"),
    [
        ("windoww: {length_s: 3.0}", [], "unknown key 'windoww'"),
        ("run: {sede: 5}", [], "unknown key 'run.sede'"),
        ("", ["--preset", "smoke"], "is a whole configuration"),
    ],
)
def test_a_configuration_edited_by_hand_is_not_ignored_in_part(
    line: str, words: list[str], cause: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = yaml.safe_load((Path(__file__).parents[1] / "registry.yaml").read_text())["pipelines"]["audio_seeg"]
    entry = {"pipeline": "audio_seeg", **{key: value for key, value in entry.items() if key != "presets"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(entry) + line + "\n")
    with pytest.raises(SystemExit) as ended:
        main(["run", str(tmp_path / "config.yaml"), "--dry-run", *words])
    assert ended.value.code == 2
    assert cause in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "expected"), [({}, (7, 3)), ({"seed": 0}, (0, 3)), ({"folds": 1, "seed": 9}, (9, 1))]
)
def test_what_is_said_now_outweighs_what_a_configuration_says(
    given: dict[str, int], expected: tuple[int, int], tmp_path: Path
) -> None:
    manager = Manager()
    config, _ = configure("audio_seeg", manager, preset=None, data=None, sets=[], subjects=None)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**config, "run": {"seed": 7, "folds": 3, "dev": True}}))
    _, options = configure(tmp_path, manager, preset=None, data=None, sets=[], subjects=None, **given)
    assert (options.seed, options.folds) == expected
    assert options.dev
