"""Plugins are found without being imported, and a broken one is one line that harms nobody else.

The plugins here are installed ones as far as Python can tell: folders on sys.path with a dist-info beside them.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from braindecode_hub.catalogue import Catalogue, read_catalogue
from braindecode_hub.discovery import GROUP, installed_plugins
from braindecode_hub.errors import HubError
from braindecode_hub.manager import Manager

PIPELINE = """
api: "1"
pipelines:
  {name}:
    summary: A pipeline of {name}
    flow: [toy, features]
    dataset: {{use: {name}/data}}
    targets: {{features: [{{use: core/zscore}}]}}
    decoder: {{use: core/ridge}}
"""
MODULE = """
from braindecode_hub import Metric, hookimpl

class Score(Metric):
    def per_unit(self, target, predicted):
        return target[:, 0]

@hookimpl
def register_components(register):
    register.metric("{name}/score", "{module}:Score")
"""


class Site:
    """A folder of installed distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def install(
        self,
        name: str,
        *,
        module: str | None = None,
        code: str | None = MODULE,
        registry: str | None = PIPELINE,
        distribution: str | None = None,
        entry_points: str | None = None,
        package: bool = True,
    ) -> str:
        """Install plugin `name`; returns its module's name."""
        module = f"hub_test_{name}" if module is None else module
        distribution = f"hub-{name}" if distribution is None else distribution
        about = self.folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        points = f"[{GROUP}]\n{name} = {module}\n" if entry_points is None else entry_points
        (about / "entry_points.txt").write_text(points)
        top = module.split(".")[0]
        if code is not None:
            path = self.folder / top / "__init__.py" if package else self.folder / f"{top}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(code.format(name=name, module=module))
        if registry is not None:
            path = self.folder / top / "registry.yaml" if package else self.folder / f"{top}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(registry.format(name=name))
        importlib.invalidate_caches()
        return module

    def run(self, code: str, *, cwd: Path | None = None, **environment: str) -> str:
        """What a fresh interpreter prints that has this folder on its path."""
        return run([sys.executable, "-c", code], self.folder, cwd, environment)

    def list(self, *, cwd: Path | None = None, **environment: str) -> str:
        """What `braindecode-hub list` prints."""
        return self.run("from braindecode_hub.cli import main; main(['list'])", cwd=cwd, **environment)


def run(command: list[str], folder: Path, cwd: Path | None, environment: dict[str, str]) -> str:
    clean = {key: value for key, value in os.environ.items() if key not in ("BRAINDECODE_HUB_PLUGINS", "PYTHONPATH")}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=folder if cwd is None else cwd,
        env={**clean, "PYTHONPATH": str(folder), **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty folder on the path, and no plugin in the working directory; modules are forgotten again."""
    made = Site(tmp_path / "site")
    monkeypatch.syspath_prepend(str(made.folder))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BRAINDECODE_HUB_PLUGINS", raising=False)
    yield made
    for name in [name for name in sys.modules if name.startswith(("hub_test_", "braindecode_hub_local"))]:
        del sys.modules[name]


def harmless(catalogue: Catalogue) -> Manager:
    """A manager whose good plugin and reference pipelines work, whatever else is installed."""
    manager = Manager(catalogue)
    assert {"audio_seeg", "good"} <= set(catalogue.pipelines)
    assert manager.component("metric", "good/score").__name__ == "Score"
    assert manager.component("decoder", "core/ridge").__name__ == "Ridge"
    return manager


def problem(lines: list[str]) -> str:
    assert len(lines) == 1, lines
    assert "\n" not in lines[0]
    return lines[0]


def test_an_installed_plugin_is_found_read_and_used(site: Site) -> None:
    site.install("good")
    catalogue = read_catalogue()
    assert catalogue.problems == []
    entry = catalogue.pipeline("good")
    assert (entry.plugin.name, entry.plugin.distribution, entry.plugin.reference) == ("good", "hub-good", False)
    assert "hub_test_good" not in sys.modules
    harmless(catalogue)
    assert "hub_test_good" in sys.modules


def test_a_plugin_may_be_one_module_with_its_yaml_beside_it(site: Site) -> None:
    site.install("good", package=False)
    harmless(read_catalogue())


CATALOGUE_FAULTS = {
    "unreadable YAML": ({"registry": "api: [unclosed"}, "registry.yaml"),
    "not UTF-8": ({"registry": ""}, "registry.yaml is not UTF-8 text"),
    "not a mapping": ({"registry": "- a\n- b"}, "registry.yaml is not a mapping"),
    "empty": ({"registry": ""}, "registry.yaml is not a mapping"),
    "a python tag": ({"registry": "api: !!python/object/apply:os.system ['touch {name}-was-here']"}, "registry.yaml"),
    "an old api": ({"registry": "api: '0.9'\npipelines: {{}}"}, "its registry is for api 0.9, this is api 1.0"),
    "a future api": ({"registry": "api: 2\npipelines: {{}}"}, "its registry is for api 2, this is api 1.0"),
    "no api": ({"registry": "pipelines: {{}}"}, "its registry is for api missing, this is api 1.0"),
    "pipelines that are a list": (
        {"registry": "api: '1'\npipelines: [a, b]"},
        "`pipelines` in registry.yaml is not a mapping",
    ),
    "not a top-level module": (
        {"module": "hub_test_bad.plugin"},
        "must name a top-level module, not hub_test_bad.plugin",
    ),
    "a module that is missing": ({"code": None, "registry": None}, "module hub_test_bad is not installed"),
    "no module but a folder": ({"code": None}, "module hub_test_bad is not installed"),
    "a built-in module": ({"module": "sys", "code": None, "registry": None}, "module sys is not installed"),
}


@pytest.mark.parametrize("fault", CATALOGUE_FAULTS)
def test_a_plugin_with_a_bad_registry_is_one_line_and_harms_nobody(site: Site, fault: str, tmp_path: Path) -> None:
    options, line = CATALOGUE_FAULTS[fault]
    site.install("bad", **options)  # type: ignore[arg-type]
    if fault == "not UTF-8":
        (site.folder / "hub_test_bad" / "registry.yaml").write_bytes(b"api: '1'\nsummary: \xff\xfe")
    site.install("good")
    catalogue = read_catalogue()
    found = problem(catalogue.problems)
    assert found.startswith("bad (hub-bad): ")
    assert line in found
    assert "bad" not in catalogue.pipelines
    manager = harmless(catalogue)
    for ask in (
        lambda: catalogue.pipeline("bad"),
        lambda: manager.load("bad"),
        lambda: manager.component("metric", "bad/x"),
    ):
        with pytest.raises(HubError, match="plugin 'bad' cannot be used: "):
            ask()
    assert not list(tmp_path.rglob("*was-here"))
    assert "hub_test_bad" not in sys.modules


ENTRY_FAULTS = {
    "just text": ("not a mapping", "pipeline 'odd' is not a mapping"),
    "{{summary: x}}": ("no dataset", "pipeline 'odd' has no 'dataset', or one that is not a mapping"),
    "{{dataset: {{}}, targets: {{}}, decoder: {{}}, presets: [a]}}": (
        "",
        "pipeline 'odd' has a 'presets' that is not a mapping",
    ),
    "{{dataset: {{}}, targets: {{}}, decoder: {{}}, presets: {{p: 3}}}}": (
        "",
        "pipeline 'odd' has a preset 'p' that is not a mapping",
    ),
    "{{dataset: {{}}, targets: {{}}, decoder: {{}}, flow: 5}}": ("", "pipeline 'odd' has a 'flow' that is not a list"),
    "{{dataset: {{}}, targets: {{}}, decoder: {{}}, summary: 5}}": (
        "",
        "pipeline 'odd' has a 'summary' that is not text",
    ),
}


@pytest.mark.parametrize("entry", ENTRY_FAULTS)
def test_a_pipeline_of_a_wrong_form_is_one_line_and_its_plugins_others_stay(site: Site, entry: str) -> None:
    site.install("good", registry=PIPELINE + f"  odd: {entry}\n")
    catalogue = read_catalogue()
    assert problem(catalogue.problems) == f"good (hub-good): {ENTRY_FAULTS[entry][1]}"
    harmless(catalogue)


USE_FAULTS = {
    "raises on import": ("raise RuntimeError('no\\nway')", "RuntimeError: no"),
    "a missing dependency": ("import hub_nowhere_at_all", "ModuleNotFoundError: No module named 'hub_nowhere_at_all'"),
    "a syntax error": ("def broken(:", "SyntaxError"),
    "leaves the interpreter": ("raise SystemExit(3)", "SystemExit: 3"),
    "a misspelt hook": (
        "from braindecode_hub import hookimpl\n@hookimpl\ndef register_component(register): pass\n",
        "unknown hook 'register_component'",
    ),
    "a misspelt argument": (
        "from braindecode_hub import hookimpl\n@hookimpl\ndef observe(evnt): pass\n",
        "PluginValidationError",
    ),
    "a component outside its prefix": (MODULE.replace('"{name}/score"', '"good/score"'), "does not begin with 'bad/'"),
    "a component of core": (MODULE.replace('"{name}/score"', '"core/ridge"'), "does not begin with 'bad/'"),
    "a target without a class": (
        MODULE.replace("{module}:Score", "{module}"),
        "component 'bad/score' is at 'hub_test_bad'",
    ),
    "a component twice": (
        MODULE + "    register.metric('{name}/score', 'a:B')\n",
        "metric 'bad/score' is registered twice",
    ),
}


@pytest.mark.parametrize("fault", USE_FAULTS)
def test_a_plugin_that_cannot_be_loaded_is_one_line_and_harms_nobody(site: Site, fault: str) -> None:
    code, line = USE_FAULTS[fault]
    site.install("bad", code=code)
    site.install("good")
    catalogue = read_catalogue()
    assert catalogue.problems == []
    manager = harmless(catalogue)
    assert manager.problems == []
    manager.load_all()
    manager.load_all()
    found = problem(manager.problems)
    assert found.startswith("bad (hub-bad): ")
    assert line in found
    harmless(catalogue)
    assert not [name for _, name in manager.components if name.startswith("bad/")]
    assert not [plugin for plugin, _ in manager.hooks("observe") if plugin == "bad"]
    for _ in range(2):
        with pytest.raises(HubError, match=r"plugin 'bad' \(hub-bad\) cannot be used: "):
            manager.component("metric", "bad/score")
    assert manager.component("metric", "good/score").__name__ == "Score"


def test_a_stolen_pipeline_name_stays_with_its_owner_and_both_are_named(site: Site) -> None:
    site.install("good", registry=PIPELINE + "  audio_seeg: {{dataset: {{}}, targets: {{}}, decoder: {{}}}}\n")
    site.install("later", registry=PIPELINE.replace("  {name}:", "  good:", 1))
    catalogue = read_catalogue()
    assert catalogue.problems == [
        "good (hub-good): pipeline 'audio_seeg' is already that of braindecode-hub, which keeps it",
        "later (hub-later): pipeline 'good' is already that of hub-good, which keeps it",
    ]
    assert catalogue.pipeline("audio_seeg").plugin.reference
    harmless(catalogue)


@pytest.mark.parametrize("stolen", ["good", "audio_seeg", "core"])
def test_a_stolen_plugin_name_stays_with_its_owner_and_both_are_named(site: Site, stolen: str) -> None:
    site.install("good")
    site.install(stolen, module="hub_test_thief", distribution="hub-thief", code="raise RuntimeError")
    catalogue = read_catalogue()
    owner = "hub-good" if stolen == "good" else "braindecode-hub"
    assert problem(catalogue.problems) == f"{stolen} (hub-thief): the name is taken by {owner}"
    harmless(catalogue).load_all()
    assert "hub_test_thief" not in sys.modules


COMPONENT_FAULTS = {
    "requires = ('hub_nowhere',)": ("good/other needs hub_nowhere", "pip install hub_nowhere"),
    "requires = ('hub_nowhere.deep',)": ("good/other needs hub_nowhere.deep", "pip install hub_nowhere.deep"),
}


@pytest.mark.parametrize("line", COMPONENT_FAULTS)
def test_a_component_names_the_package_that_it_misses(site: Site, line: str) -> None:
    extra = f"    register.metric('{{name}}/other', '{{module}}:Other')\n\nclass Other(Score):\n    {line}\n"
    site.install("good", code=MODULE + extra)
    manager = harmless(read_catalogue())
    with pytest.raises(HubError) as caught:
        manager.component("metric", "good/other")
    assert (caught.value.cause, caught.value.remedy) == COMPONENT_FAULTS[line]


PART_FAULTS = {
    "import hub_nowhere": ("good/part needs hub_nowhere", "pip install hub_nowhere"),
    "raise ValueError('why not')": (
        "good/part (hub_test_good.part:Part) cannot be imported: ValueError: why not",
        "update or correct hub-good",
    ),
    "from braindecode_hub.types import Nothing": (
        "good/part (hub_test_good.part:Part) cannot be imported: ImportError: cannot import name 'Nothing'",
        "update or correct hub-good",
    ),
    "Else = 1": ("good/part is not at hub_test_good.part:Part", "correct the name in good"),
    "class Part: pass": ("good/part (hub_test_good.part:Part) is not a metric", "derive it from Metric"),
    None: ("good/part is not at hub_test_good.part:Part", "correct the name in good"),
}


@pytest.mark.parametrize("code", PART_FAULTS)
def test_a_part_that_cannot_be_imported_is_two_lines_for_who_asks_and_nothing_for_others(
    site: Site, code: str | None
) -> None:
    site.install("good", code=MODULE + "    register.metric('{name}/part', '{module}.part:Part')\n")
    if code is not None:
        (site.folder / "hub_test_good" / "part.py").write_text(code)
    manager = harmless(read_catalogue())
    with pytest.raises(HubError) as caught:
        manager.component("metric", "good/part")
    assert caught.value.cause.startswith(PART_FAULTS[code][0])
    assert caught.value.remedy == PART_FAULTS[code][1]
    harmless(read_catalogue())


def test_unknown_names_get_their_nearest(site: Site) -> None:
    site.install("good")
    manager = Manager()
    with pytest.raises(HubError, match="unknown metric 'good/scor'\ndid you mean good/score"):
        manager.component("metric", "good/scor")
    with pytest.raises(HubError, match="unknown pipeline 'goood'\ndid you mean good"):
        manager.catalogue.pipeline("goood")
    with pytest.raises(HubError, match="unknown plugin 'god'\ndid you mean good"):
        manager.load("god")


def test_an_observer_that_raises_is_one_line_and_the_others_go_on(site: Site) -> None:
    code = "from braindecode_hub import hookimpl\n@hookimpl\ndef observe(event): {0}\n"
    site.install("bad", code=code.replace("{0}", "raise OSError('full')").replace("{", "{{").replace("}", "}}"))
    site.install("good", code=code.replace("{0}", "event['seen'] = 1").replace("{", "{{").replace("}", "}}"))
    manager = Manager()
    manager.load_all()
    event: dict = {"kind": "note"}
    for _ in range(3):
        list(manager.each("observe", event=event))
    assert event["seen"] == 1
    assert problem(manager.problems) == "bad: observe failed: OSError: full"


@pytest.mark.parametrize(
    ("limit", "found"),
    [(None, {"one", "two"}), ("one", {"one"}), (" one , two", {"one", "two"}), ("none", set()), ("", set())],
)
def test_the_environment_limits_which_plugins_are_read(
    site: Site, limit: str | None, found: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("one")
    site.install("two")
    site.install("broken", registry="- no")
    if limit is not None:
        monkeypatch.setenv("BRAINDECODE_HUB_PLUGINS", limit)
    catalogue = read_catalogue()
    assert set(catalogue.pipelines) & {"one", "two"} == found
    assert "audio_seeg" in catalogue.pipelines
    assert len(catalogue.problems) == (limit is None)


def test_a_file_in_the_working_directory_is_a_plugin(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "braindecode_hub_local.py"
    local.write_text(MODULE.format(name="local", module="braindecode_hub_local"))
    catalogue = read_catalogue()
    assert catalogue.plugins["local"].distribution == "this folder"
    assert Manager(catalogue).component("metric", "local/score").__name__ == "Score"

    local.with_suffix(".yaml").write_text(PIPELINE.format(name="mine"))
    assert read_catalogue().pipeline("mine").plugin.name == "local"
    monkeypatch.setenv("BRAINDECODE_HUB_PLUGINS", "none")
    assert "local" not in read_catalogue().plugins


def test_a_broken_local_file_is_one_line(site: Site, tmp_path: Path) -> None:
    (tmp_path / "braindecode_hub_local.py").write_text("1 / 0")
    site.install("good")
    manager = harmless(read_catalogue())
    manager.load_all()
    assert problem(manager.problems) == "local (this folder): ZeroDivisionError: division by zero"
    assert "braindecode_hub_local" not in sys.modules


def test_another_folder_has_another_local_file(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        code = MODULE.format(name="local", module="braindecode_hub_local").replace("Score", f"Score{name}")
        (folder / "braindecode_hub_local.py").write_text(code)
        monkeypatch.chdir(folder)
        assert Manager().component("metric", "local/score").__name__ == f"Score{name}"


def installed_by_the_standard_library() -> set[tuple[str, str, str]]:
    points = importlib.metadata.entry_points(group=GROUP)
    return {(p.name, p.module, p.dist.name.lower().replace("_", "-")) for p in points if p.dist is not None}


def test_discovery_finds_what_the_standard_library_finds(site: Site) -> None:
    site.install("one")
    site.install("two", package=False)
    site.install("deep", module="hub_test_deep.inner")
    site.install("three", distribution="Hub_Three")
    site.install("several", entry_points=f"[console_scripts]\nx = y:z\n[{GROUP}]\nseveral = m_a\nfourth = m_b:attr\n")
    found = {tuple(one) for one in installed_plugins()}
    assert found == installed_by_the_standard_library()
    assert len(found) >= 7


@pytest.mark.parametrize("content", ["no section at all\n", "[a]\nx = y\nx = z\n", f"[{GROUP}]\nx = 1\nx = 2\n"])
def test_an_entry_points_file_that_nobody_can_read_hides_no_plugin(site: Site, content: str) -> None:
    site.install("mess", entry_points=content)
    site.install("good")
    assert "good" in {one.name for one in installed_plugins()}
    harmless(read_catalogue())


def test_list_imports_no_plugin_and_nothing_heavy(site: Site) -> None:
    module = site.install("good", code="raise SystemExit('imported')")
    site.install("bad", registry="api: '9'")
    code = """
import json, sys
from braindecode_hub.cli import cli
cli.main(["list"], standalone_mode=False)
print(json.dumps(sorted(sys.modules)))
"""
    *text, modules = site.run(code).splitlines()
    loaded = set(json.loads(modules))
    heavy = {"numpy", "scipy", "torch", "mne", "librosa", "matplotlib", "rich", "soundfile", "pluggy", "jinja2"}
    assert not loaded & {*heavy, "braindecode_hub_audio_seeg", module, "hub_test_bad"}
    listing = "\n".join(text)
    assert "audio_seeg" in listing
    assert "from hub-good" in listing
    assert "Problems\n  bad (hub-bad): its registry is for api 9, this is api 1.0" in listing


def test_list_in_a_fresh_process_shows_problems_and_never_a_traceback(site: Site, tmp_path: Path) -> None:
    site.install("tagged", registry="api: !!python/object/apply:os.system ['touch executed']")
    site.install("listed", registry="api: '1'\npipelines: 3")
    site.install("good")
    (tmp_path / "braindecode_hub_local.py").write_text("raise RuntimeError('never imported by list')")
    text = site.list(cwd=tmp_path)
    assert "A pipeline of good" in text
    assert text.count("(hub-") == 2
    assert not list(tmp_path.rglob("executed"))
    assert "hub-good" not in site.list(cwd=tmp_path, BRAINDECODE_HUB_PLUGINS="none")
