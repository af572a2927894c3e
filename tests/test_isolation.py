"""No installed plugin can break core: each broken one is one line under "Problems", and an error for who asks for it.

test_plugins.py has the ordinary mistakes; here are the nasty ones, all of them at once too, and a hundred good ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_plugins import MODULE, PIPELINE, Site

from braindecode_hub.catalogue import read_catalogue
from braindecode_hub.discovery import GROUP, installed_plugins
from braindecode_hub.errors import HubError
from braindecode_hub.listing import listing
from braindecode_hub.manager import Manager
from braindecode_hub.report import Section, checked_sections
from braindecode_hub.strangers import Failure, guarded

HOOK = "from braindecode_hub import hookimpl\n\n@hookimpl\n"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
PART = "dataset: {{use: bad/x}}, targets: {{}}, decoder: {{use: core/ridge}}"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty folder on the path, a cache of its own; modules are forgotten again."""
    made = Site(tmp_path / "site")
    monkeypatch.syspath_prepend(str(made.folder))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRAINDECODE_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BRAINDECODE_HUB_PLUGINS", raising=False)
    yield made
    for name in [name for name in sys.modules if name.startswith("hub_test_")]:
        del sys.modules[name]


def harmless(manager: Manager) -> None:
    """The reference pipelines are listed, described and built; the good plugin works."""
    from braindecode_hub.description import describe_pipeline

    assert {"audio_seeg", "good"} <= set(manager.catalogue.pipelines)
    assert "audio_seeg" in listing(manager.catalogue)
    assert "lags_s = " in describe_pipeline("audio_seeg", "smoke", manager)
    assert manager.component("metric", "good/score").__name__ == "Score"


def registry_instead(site: Site, make: Callable[[Path], Any]) -> None:
    """Install "bad" with something else in the place of its registry.yaml."""
    site.install("bad")
    path = site.folder / "hub_test_bad" / "registry.yaml"
    path.unlink()
    make(path)


# Found while the catalogue is read


def odd(pipeline: str) -> dict[str, str]:
    return {"registry": "api: '1'\npipelines:\n  " + pipeline + "\n"}


REGISTRIES: dict[str, tuple[dict[str, str], str]] = {
    "an alias bomb": ({"registry": LAUGHS}, "more than 100000 values"),
    "huge": ({"registry": "api: '1'\n# " + "x" * 1_000_001}, "larger than 1000000 bytes"),
    "twenty thousand equal keys": ({"registry": "{{" + "a: 1, " * 20_000 + "}}"}, "'a' is there twice"),
    "nested deeply": ({"registry": "api: " + "[" * 400_000}, "registry.yaml"),
    "a python tag within": (
        odd("bad: {{dataset: !!python/object/apply:os.mkdir [canary]}}"),
        "the tag tag:yaml.org,2002:python/object/apply:os.mkdir is not allowed",
    ),
    "a tag of its own": (odd("bad: {{dataset: !load x}}"), "the tag !load is not allowed"),
    "a pipeline named 5": (odd("5: {{" + PART + "}}"), "pipeline '5' has a name that is none"),
    "a pipeline named null": (odd("null: {{" + PART + "}}"), "pipeline 'None' has a name that is none"),
    "a pipeline named as a path": (odd("../../up: {{" + PART + "}}"), "pipeline '../../up' has a name that is none"),
    "a pipeline with a terminal code": (odd('"\\e[31mred": {{' + PART + "}}"), "pipeline '\ufffd[31mred' has a name"),
    "a preset named 5": (odd("bad: {{" + PART + ", presets: {{5: {{}}}}}}"), "has the key 5, which is not text"),
    "a key named true": (odd("bad: {{" + PART + ", window: {{true: 1}}}}"), "has the key True, which is not text"),
    "a key far within": (odd("bad: {{" + PART + ", source: {{a: [[{{1: 2}}]]}}}}"), "has the key 1, which is not text"),
    "a window that is a number": (odd("bad: {{" + PART + ", window: 5}}"), "has a 'window' that is not a mapping"),
    "metrics that are text": (odd("bad: {{" + PART + ", metrics: all}}"), "has a 'metrics' that is not a list"),
    "a unit that is text": (odd("bad: {{" + PART + ", unit_s: long}}"), "has a 'unit_s' that is not a number"),
    "plugins that are numbers": (odd("bad: {{" + PART + ", plugins: [1]}}"), "has 'plugins' that are not names"),
    "a chain that is a number": (
        odd("bad: {{dataset: {{use: a/b}}, targets: {{mel: 5}}, decoder: {{use: c/d}}}}"),
        "has a target 'mel' that is not a list of parts",
    ),
    "a part that is a list": (
        odd("bad: {{dataset: {{use: a/b}}, targets: {{}}, decoder: {{use: [c]}}}}"),
        "has a part 'decoder' that does not name what to use",
    ),
    "a module that does not exist": ({"module": "hub_test_no_such"}, "module hub_test_no_such is not installed"),
}
FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a folder": (Path.mkdir, "registry.yaml is not a file"),
    "a pipe": (os.mkfifo if hasattr(os, "mkfifo") else Path.mkdir, "registry.yaml is not a file"),
    "a link to a device": (lambda path: path.symlink_to("/dev/zero"), "registry.yaml is not a file"),
    "a link to nowhere": (lambda path: path.symlink_to(path.parent / "nowhere"), "registry.yaml cannot be read"),
    "a link to itself": (lambda path: path.symlink_to(path), "registry.yaml cannot be read"),
    "binary": (lambda path: path.write_bytes(bytes(range(256)) * 40), "registry.yaml"),
    "an ELF file": (lambda path: path.write_bytes(b"\x7fELF" + b"\0" * 500), "registry.yaml"),
}


@pytest.mark.parametrize("fault", [*REGISTRIES, *FILES])
def test_a_hostile_registry_is_one_line_and_harms_nobody(site: Site, tmp_path: Path, fault: str) -> None:
    if fault in REGISTRIES:
        options, line = REGISTRIES[fault]
        if "module" in options:
            site.install("bad", module=options["module"], code=None, registry=None)
        else:
            site.install("bad", registry=options["registry"])
    else:
        make, line = FILES[fault]
        registry_instead(site, make)
    site.install("good")
    for _ in range(2):  # parsed, and then remembered
        catalogue = read_catalogue()
        [found] = catalogue.problems
        assert found.startswith("bad (hub-bad): ")
        assert line in found
        assert found.isprintable()
        assert len(found) <= 300
        with pytest.raises(HubError) as caught:
            catalogue.pipeline("bad")
        assert "\n" not in caught.value.cause
    harmless(Manager(catalogue))
    assert "hub_test_bad" not in sys.modules
    assert not list(tmp_path.rglob("canary"))


NAMES = ["\x1b[31mred", "a b", "../up", "core/zscore", "a/b", "\u202eevil", "x" * 200]


@pytest.mark.parametrize("name", NAMES)
def test_a_plugin_with_an_odd_name_is_one_plain_line(site: Site, name: str) -> None:
    site.install("odd", entry_points=f"[{GROUP}]\n{name} = hub_test_odd\n", distribution="hub-odd")
    site.install("good")
    catalogue = read_catalogue()
    [found] = catalogue.problems
    assert "that is no name for a plugin" in found or len(name) > 100
    assert found.isprintable()
    assert name not in catalogue.plugins
    harmless(Manager(catalogue))


def test_terminal_codes_never_reach_the_terminal(site: Site) -> None:
    site.install(
        "good",
        registry=PIPELINE.replace("A pipeline of {name}", '"\\e]0;owned\\a \\u202e \\e[2J and more"'),
        distribution="hub-go\x1b[31mod",
    )
    site.install("bad", code="raise RuntimeError('\\x1b[2J\\u202e cleared')")
    shown = listing()
    assert not set(shown) & set("\x1b\x07\u202e")
    assert "and more" in shown
    manager = Manager()
    manager.load_all()
    assert all(line.isprintable() for line in manager.problems)
    for command in (["list"], ["doctor"], ["describe", "good/score"], ["describe", "good"], ["describe", "bad"]):
        done = hub(site, *command)
        assert not set(done.stdout + done.stderr) & set("\x1b\x07\u202e")
        assert "Traceback" not in done.stderr


def test_a_terminal_of_ascii_gets_the_list_too(site: Site) -> None:
    site.install("good", registry=PIPELINE.replace("A pipeline", "Une chaîne \U0001f9e0"))
    for start in ("start", "cli"):
        done = hub(site, "list", module=start, PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
        assert done.returncode == 0, done.stderr
        assert "Une cha" in done.stdout


def test_two_plugins_of_one_name_are_one_line_that_names_both(site: Site) -> None:
    site.install("good")
    site.install("twin", module="hub_test_first", distribution="hub-a")
    site.install("twin", module="hub_test_second", distribution="hub-b", registry=None)
    catalogue = read_catalogue()
    assert catalogue.problems == ["twin (hub-b): the name is taken by hub-a"]
    assert catalogue.plugins["twin"].distribution == "hub-a"
    manager = Manager(catalogue)
    harmless(manager)
    assert manager.component("metric", "twin/score").__module__ == "hub_test_first"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00bad", b"[" * 9000, b"no section", None])
def test_an_entry_points_file_of_a_stranger_hides_nobody(site: Site, content: bytes | None) -> None:
    site.install("good")
    site.install("mess")
    path = site.folder / "hub_mess-1.0.dist-info" / "entry_points.txt"
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    assert {"good", "audio_seeg"} <= {one.name for one in installed_plugins()}
    harmless(Manager())


# Found when it is loaded

SAYS = "class Odd(BaseException):\n    def __str__(self): raise ValueError\n"
MODULES = {
    "raises KeyboardInterrupt": ("raise KeyboardInterrupt('no')", "KeyboardInterrupt: no"),
    "raises its own KeyboardInterrupt": ("class Stop(KeyboardInterrupt): pass\nraise Stop('now')", "Stop: now"),
    "raises what is no Exception": ("class Odd(BaseException): pass\nraise Odd('at the root')", "Odd: at the root"),
    "raises GeneratorExit": ("raise GeneratorExit", "GeneratorExit"),
    "raises what cannot be printed": (SAYS + "raise Odd", "Odd"),
    "exits": ("import sys; sys.exit('bye')", "SystemExit: bye"),
    "recurses": ("def f(): f()\nf()", "RecursionError"),
    "an endless first line": ("raise ValueError('x' * 10_000_000)", "ValueError: xxx"),
    "exits when it registers": (HOOK + "def register_components(register): raise SystemExit(0)", "SystemExit: 0"),
    "a name that is a number": (
        HOOK + "def register_components(register): register.metric(5, 'a:B')",
        "AttributeError",
    ),
}


@pytest.mark.parametrize("fault", MODULES)
def test_whatever_a_module_raises_is_one_line_and_harms_nobody(site: Site, fault: str) -> None:
    code, line = MODULES[fault]
    site.install("bad", code=code.replace("{", "{{").replace("}", "}}"))
    site.install("good")
    manager = Manager()
    assert manager.problems == []
    harmless(manager)
    manager.load_all()
    [found] = manager.problems
    assert found.startswith("bad (hub-bad): ")
    assert line in found
    assert len(found) <= 300
    harmless(manager)
    with pytest.raises(HubError, match="plugin 'bad'"):
        manager.component("metric", "bad/score")


def test_a_part_whose_module_exits_is_an_error_for_who_asks(site: Site) -> None:
    site.install("good", code=MODULE + "    register.metric('{name}/part', '{module}.part:Part')\n")
    (site.folder / "hub_test_good" / "part.py").write_text("raise KeyboardInterrupt")
    manager = Manager()
    harmless(manager)
    with pytest.raises(HubError, match=r"good/part .* cannot be imported: KeyboardInterrupt"):
        manager.component("metric", "good/part")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_a_persons_ctrl_c_still_stops(site: Site, request: pytest.FixtureRequest) -> None:
    found = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, found))
    before = signal.getsignal(signal.SIGINT)
    site.install("slow", code="import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nfor _ in range(10**9): pass")
    with pytest.raises(KeyboardInterrupt):
        Manager().load("slow")
    assert signal.getsignal(signal.SIGINT) is before


def test_what_is_guarded_in_a_thread_is_guarded() -> None:
    seen: list[BaseException] = []

    def work() -> None:
        try:
            with guarded():
                raise SystemExit(3)
        except Failure as failure:
            seen.append(failure.error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert isinstance(seen[0], SystemExit)


# Found when a hook is called


def with_hook(site: Site, name: str, code: str) -> Manager:
    site.install(name, code=(HOOK + code).replace("{", "{{").replace("}", "}}"))
    site.install(
        "good", code=MODULE + HOOK.split("\n", 1)[1] + "def observe(event): event['seen'].append(event['kind'])\n"
    )
    manager = Manager()
    manager.load_all()
    return manager


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("event.clear(); event['kind'] = 'mine'; raise ValueError('two\\nlines')", "ValueError: two"),
        ("return 1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_an_observer_is_never_fatal_and_changes_nothing_for_others(site: Site, code: str, said: str) -> None:
    manager = with_hook(site, "bad", f"def observe(event): {code}\n")
    seen: list[str] = []
    event = {"kind": "note", "seen": seen}
    for _ in range(3):
        manager.tell(event)
    assert seen == ["note"] * 3
    assert event == {"kind": "note", "seen": seen}
    assert manager.problems == [f"bad: observe failed: {said}"]
    harmless(manager)


RUBBISH = {
    "a number": ("return 5", "TypeError: 'int' object is not iterable"),
    "text": ("return '<p>hello</p>'", "TypeError: report_sections returned a str, not a Section"),
    "a list of None": ("return [None]", "TypeError: report_sections returned a NoneType, not a Section"),
    "a title that is none": ("from braindecode_hub.report import Section; return [Section(5, '')]", "a Section has"),
    "html that is none": ("from braindecode_hub.report import Section; return [Section('a', None)]", "a Section has"),
    "an order that is none": (
        "from braindecode_hub.report import Section; return [Section('a', '', 'x')]",
        "a Section",
    ),
    "an exit, later": ("return (exit() for _ in range(3))", "SystemExit"),
    "its own list": ("return type('L', (list,), {'__iter__': lambda self: 1 / 0})()", "ZeroDivisionError"),
}


@pytest.mark.parametrize("fault", RUBBISH)
def test_rubbish_sections_are_one_line_and_the_others_stay(site: Site, fault: str) -> None:
    code, said = RUBBISH[fault]
    manager = with_hook(site, "bad", f"def report_sections(run): {code}\n")
    manager.register(Sections(), "whole")
    found = dict(manager.each("report_sections", read=checked_sections, run=None))
    assert [section.title for section in found["whole"]] == ["Mine"]
    assert "bad" not in found
    [problem] = [line for line in manager.problems if line.startswith("bad: report_sections failed: ")]
    assert said in problem


class Sections:
    """Sections as they should be."""

    from braindecode_hub import hookimpl

    @hookimpl
    def report_sections(self, run: Any) -> Iterator[Section]:
        """Give one, lazily."""
        yield Section("Mine", "<p>x</p>")


def test_a_fetcher_that_raises_is_passed_over_and_one_that_answers_is_heard(site: Site, tmp_path: Path) -> None:
    from braindecode_hub.environment import context

    manager = with_hook(site, "bad", "def fetch(uri, folder, ctx): raise SystemExit(uri)\n")
    (tmp_path / "a.bin").write_bytes(b"whole")
    assert context(manager=manager).fetch((tmp_path / "a.bin").as_uri()).read_bytes() == b"whole"
    assert [line.startswith("bad: fetch failed: SystemExit: file:///") for line in manager.problems] == [True]
    site.install(
        "says", code=HOOK + "def fetch(uri, folder, ctx):\n    from braindecode_hub import HubError\n"
        "    raise HubError('it is on tape', 'ask the librarian')\n"
    )  # fmt: skip
    with pytest.raises(HubError, match="it is on tape"):
        context(manager=Manager()).fetch("tape://x/y")


def test_a_plugin_cannot_replace_a_command_or_break_help(site: Site) -> None:
    site.install("thief", code=HOOK + "def register_commands(cli):\n    import click\n"
                 "    cli.add_command(click.Command('list', callback=lambda: print('stolen')))\n")  # fmt: skip
    site.install("bad", code=HOOK + "def register_commands(cli):\n    raise SystemExit('no')\n")
    shown = hub(site, "--help")
    assert shown.returncode == 0
    assert "Show the pipelines" in shown.stdout
    assert "bad: register_commands failed: SystemExit: no" in shown.stderr
    code = "from braindecode_hub.cli import cli, main\ncli._load_plugins()\nmain(['list'])"
    shown = python(site, "-c", code)
    assert "audio_seeg" in shown.stdout
    assert "stolen" not in shown.stdout


# All at once, in processes of their own


def hub(site: Site, *arguments: str, module: str = "start", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a fresh interpreter that has the site on its path."""
    return python(site, "-m", f"braindecode_hub.{module}", *arguments, **environment)


def python(site: Site, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, **environment}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env, check=False)


def test_with_every_broken_plugin_installed_the_reference_pipelines_work(site: Site, tmp_path: Path) -> None:
    """The registries and modules above as plugins of one environment: list, doctor, describe, and a run."""
    registries = {
        f"r{n}": options["registry"] for n, (options, _) in enumerate(REGISTRIES.values()) if "registry" in options
    }
    for name, registry in registries.items():
        site.install(name, registry=registry.replace("bad:", f"{name}:"))
    for n, (code, _) in enumerate(MODULES.values()):
        site.install(f"m{n}", code=code.replace("{", "{{").replace("}", "}}"))
    site.install("observer", code=HOOK + "def observe(event): raise SystemExit(event)\n")
    site.install("good")
    listed = hub(site, "list")
    assert listed.returncode == 0, listed.stderr
    problems = listed.stdout.partition("\nProblems\n")[2].splitlines()
    assert [line.split()[0] for line in problems] == sorted(registries)
    assert "A pipeline of good" in listed.stdout
    checked = hub(site, "doctor")
    assert checked.returncode == 1
    problems = checked.stdout.partition("\nProblems\n")[2].splitlines()
    assert sorted(line.split()[0] for line in problems) == sorted(
        [*registries, *(f"m{n}" for n in range(len(MODULES)))]
    )
    assert "lags_s" in hub(site, "describe", "audio_seeg").stdout
    sets = ["--set", "dataset.stories=3", "--set", "dataset.contacts=8", "--set", "dataset.shafts=2"]
    sets += ["--set", "plugins=[observer]", "--until", "fit", "--out", str(tmp_path / "runs")]
    done = hub(site, "run", "audio_seeg", "--preset", "smoke", *sets)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[-1], "status").read_text() == "fitted\n"
    assert done.stderr.count("observer: observe failed") == 1
    for one in (listed, checked, done):
        assert "Traceback" not in one.stderr
    asked = hub(site, "run", "audio_seeg", "--set", "plugins=[m0]", "--out", str(tmp_path / "runs"))
    assert (asked.returncode, "Traceback" in asked.stderr) == (1, False)
    assert "plugin 'm0' (hub-m0) cannot be used: KeyboardInterrupt: no" in asked.stderr
    assert not list(tmp_path.rglob("canary"))


def test_a_plugin_installed_by_pip_is_found_and_its_fault_is_one_line(tmp_path: Path) -> None:
    wheel = tmp_path / "hub_wheel-1.0-py3-none-any.whl"
    about = "hub_wheel-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as box:
        box.writestr("hub_test_wheel/__init__.py", "raise KeyboardInterrupt('from a wheel')\n")
        box.writestr("hub_test_wheel/registry.yaml", PIPELINE.format(name="wheel"))
        box.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: hub-wheel\nVersion: 1.0\n")
        box.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        box.writestr(f"{about}/entry_points.txt", f"[{GROUP}]\nwheel = hub_test_wheel\n")
        box.writestr(f"{about}/RECORD", "")
    site = Site(tmp_path / "site")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        str(site.folder),
    ]
    subprocess.run([*command, "--disable-pip-version-check", str(wheel)], check=True, capture_output=True)
    assert "from hub-wheel" in hub(site, "list").stdout
    problems = hub(site, "doctor").stdout.partition("\nProblems\n")[2].splitlines()
    assert problems == ["  wheel (hub-wheel): KeyboardInterrupt: from a wheel"]


def test_a_hundred_plugins_are_listed_and_not_one_is_imported(site: Site, tmp_path: Path) -> None:
    """How long that takes is for benchmarks/many_plugins.py to say."""
    for n in range(100):
        site.install(f"crowd_{n}", code="raise SystemExit('imported')")
    code = """
import json, sys
sys.argv[1:] = ["list"]
from braindecode_hub.start import main
try:
    main()
except SystemExit as end:
    assert end.code == 0
print(json.dumps(sorted(sys.modules)))
"""
    environment = {"BRAINDECODE_HUB_CACHE": str(tmp_path / "cache")}
    first = python(site, "-c", code, **environment).stdout
    again = python(site, "-c", code, **environment).stdout
    assert again.splitlines()[:-1] == first.splitlines()[:-1]
    for text in (first, again):
        assert text.count("from hub-crowd-") == 100
        loaded = json.loads(text.splitlines()[-1])
        assert not [name for name in loaded if name.startswith(("hub_test_", "braindecode_hub_"))]
    assert "yaml" not in json.loads(again.splitlines()[-1]), "an unchanged registry is parsed once"
    assert not {"numpy", "click", "pluggy", "dataclasses"} & set(json.loads(again.splitlines()[-1]))


# What was remembered of registries


def test_a_changed_registry_is_read_again(site: Site) -> None:
    site.install("good")
    assert read_catalogue().problems == []
    path = site.folder / "hub_test_good" / "registry.yaml"
    path.write_text("api: '9'\n")
    assert read_catalogue().problems == ["good (hub-good): its registry is for api 9, this is api 1.0"]
    path.write_text(PIPELINE.format(name="good"))
    assert read_catalogue().problems == []


@pytest.mark.parametrize(
    "content", ["", "[" * 100_000, "\x00\xff", "[]", '{"form": "0", "registries": {}}', '{"registries": 5}', "{}"]
)
def test_damaged_memories_cost_time_and_nothing_else(site: Site, tmp_path: Path, content: str) -> None:
    site.install("good")
    before = listing()
    path = tmp_path / "cache" / "registries.json"
    path.write_text(content)
    assert listing() == before
    assert json.loads(path.read_text())["registries"]


def test_memories_that_lie_are_checked_like_a_registry(site: Site, tmp_path: Path) -> None:
    site.install("good")
    listing()
    path = tmp_path / "cache" / "registries.json"
    kept = json.loads(path.read_text())
    [own] = [name for name in kept["registries"] if "hub_test_good" in name]
    for lie in (5, None, {"api": "1", "pipelines": [1]}, {"api": "1", "pipelines": {"good": {"dataset": 5}}}):
        kept["registries"][own][1] = lie
        path.write_text(json.dumps(kept))
        assert len(read_catalogue().problems) == 1


@pytest.mark.parametrize("place", ["a file", "no place"])
def test_a_cache_that_cannot_be_written_is_no_problem(site: Site, tmp_path: Path, place: str) -> None:
    site.install("good")
    (tmp_path / "cache").write_text("in the way")
    with contextlib.suppress(OSError):
        assert "A pipeline of good" in listing()
    assert read_catalogue().problems == []
