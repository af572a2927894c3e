"""The documentation keeps its word: its code runs, its tables are the catalogue's, its links lead somewhere."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from braindecode_hub import hookspecs
from braindecode_hub.cli import cli
from braindecode_hub.description import registry_table
from braindecode_hub.manager import Manager

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PAGES = [README, *sorted(path for path in (ROOT / "docs").rglob("*.md") if path not in DECISIONS), *DECISIONS]
TEXTS = [*PAGES, ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("plugins/*/*.md")), *sorted(ROOT.glob("core/**/*.md"))]
FILES = ("python", "toml", "yaml")
"""Languages of blocks that may be files: their first line is a comment with the file's name."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line it begins at, and whether `<!-- run -->` stands before it."""

    language: str
    text: str
    line: int
    run: bool

    @property
    def file(self) -> str | None:
        """The name of the file that it is, if it is one."""
        named = re.match(r"# ([\w./-]+\.\w+)(, continued)?\n", self.text) if self.language in FILES else None
        return named[1] if named else None

    @property
    def continued(self) -> bool:
        return ", continued" in self.text.partition("\n")[0]

    def commands(self) -> list[list[str]]:
        """Return the command lines of braindecode-hub, as words after that name."""
        lines = [line.removeprefix("$ ") for line in self.text.splitlines()]
        parts = [part.strip() for line in lines for part in line.split("&&")]
        return [shlex.split(part)[1:] for part in parts if part.startswith("braindecode-hub ")]


def blocks(path: Path) -> Iterator[Block]:
    text = path.read_text("utf-8")
    for found in re.finditer(r"(<!-- run -->\n)?^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(found[2], found[3], text.count("\n", 0, found.start(3)) + 1, bool(found[1]))


# Code


def execute(path: Path, folder: Path) -> None:
    """Run a page in `folder`, block by block."""
    names: dict[str, Any] = {"__name__": "documentation"}
    for block in blocks(path):
        where = f"{path.name}, line {block.line}"
        if block.file:
            target = folder / block.file
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("a" if block.continued else "w", encoding="utf-8") as file:
                file.write(("\n" if block.continued else "") + block.text)
            installed(target)
            if target.name.startswith("test_"):
                done = subprocess.run(
                    [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", target.name], **around(folder)
                )
                assert done.returncode == 0, f"{where}\n{done.stdout}{done.stderr}"
        elif block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, path.name, "exec"), names)
        elif block.language == "console" and block.run:
            for words in block.commands():
                line = [sys.executable, "-P", "-c", "from braindecode_hub.cli import main; main()", *words]
                done = subprocess.run(line, **around(folder))
                assert done.returncode == 0, f"{where}: {shlex.join(words)}\n{done.stdout}{done.stderr}"


def around(folder: Path) -> dict[str, Any]:
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"}
    return {"cwd": folder, "env": environment, "capture_output": True, "text": True, "encoding": "utf-8"}


def installed(pyproject: Path) -> None:
    """Write the metadata that installing a package leaves on the path; no build backend, no network."""
    if pyproject.name != "pyproject.toml":
        return
    project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    folder = pyproject.parent / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    folder.mkdir()
    named = {"Name": project["name"], "Version": project["version"]}
    folder.joinpath("METADATA").write_text("Metadata-Version: 2.1\n" + "".join(f"{k}: {v}\n" for k, v in named.items()))
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {module}" for name, module in points.items())]
    folder.joinpath("entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Forget the plugin file of a page: the next page has its own."""
    yield
    sys.modules.pop("braindecode_hub_local", None)


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the README; return the folder of the run that it makes from Python, which the other pages read."""
    folder = tmp_path_factory.mktemp("readme")
    before = Path.cwd()
    try:
        os.chdir(folder)
        execute(README, folder)
    finally:
        os.chdir(before)
    runs = [path.parent for path in folder.glob("runs/audio_seeg/*/metrics.json")]
    [whole] = [run for run in runs if json.loads((run / "metrics.json").read_text("utf-8"))["side"] == "test"]
    return whole


@pytest.mark.slow
@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs(page: Path, first_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page == README:
        runs = sorted(first_run.parent.glob("2*"))
        assert [(run / "status").read_text().strip() for run in runs] == ["done", "done"]
        return
    if any(block.file or block.run or block.language == "python" for block in blocks(page)):
        shutil.copytree(first_run, tmp_path / "runs" / "audio_seeg" / first_run.name)
        monkeypatch.chdir(tmp_path)
        execute(page, tmp_path)


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_are_shown_exist(page: Path) -> None:
    own = set(re.findall(r"^def (\w+)\(folder\):", page.read_text("utf-8"), re.MULTILINE))
    for block in blocks(page):
        for name, *words in block.commands() if block.language in ("sh", "console") else ():
            if name in own or name.startswith("-"):
                continue
            assert name in cli.commands, f"line {block.line}: {name}"
            options = {option for parameter in cli.commands[name].params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= options, f"line {block.line}"


def test_a_plugin_has_twenty_lines() -> None:
    [block] = [block for block in blocks(README) if block.file]
    lines = [line for line in block.text.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 20


# What is told


def test_the_readmes_table_is_the_catalogue() -> None:
    assert README.read_text("utf-8") == with_table(), "write it again: python tests/test_docs.py"


def with_table() -> str:
    """Return the README with the table of pipelines as the catalogue has it now."""
    before, begin, rest = README.read_text("utf-8").partition("<!-- registry -->\n")
    _, end, after = rest.partition("\n<!-- /registry -->")
    assert begin and end
    return before + begin + registry_table(Manager()) + end + after


def test_every_hook_is_documented_with_its_arguments() -> None:
    hooks = {
        name: list(inspect.signature(function).parameters)
        for name, function in vars(hookspecs).items()
        if hasattr(function, "braindecode_hub_spec")
    }
    assert hooks
    text = (ROOT / "docs" / "hooks.md").read_text("utf-8")
    sections = dict(re.findall(r"^## (\w+\([^)]*\))\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert set(sections) == {f"{name}({', '.join(arguments)})" for name, arguments in hooks.items()}
    for title, section in sections.items():
        assert f"@hookimpl\ndef {title}:" in section, f"{title} has no example"


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert ROOT in target.parents, link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles], link


def test_decision_records_are_numbered_without_a_gap_and_listed() -> None:
    assert [path.name[:5] for path in DECISIONS] == [f"{n:04d}-" for n in range(1, len(DECISIONS) + 1)]
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    for number, path in enumerate(DECISIONS, 1):
        text = path.read_text("utf-8")
        assert text.startswith(f"# {number}. "), path.name
        for part in ("Context", "Decision", "Consequences", "How to undo"):
            assert f"**{part}.**" in text, f"{path.name} has no {part}"
        assert f"{number}. [" in index and f"](decisions/{path.name})" in index, f"docs/index.md lacks {path.name}"


def test_fragments_become_the_changelog() -> None:
    kinds = "feature|bugfix|doc|removal|misc"
    names = sorted(path.name for path in (ROOT / "changes").iterdir() if not path.name.startswith("."))
    assert names
    for name in names:
        assert re.fullmatch(rf"(\d+(\.\w+)?|\+[\w-]+)\.({kinds})(\.\d+)?\.md", name), name
    done = subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "0"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    for name in names:
        if ".misc." not in name:
            first = (ROOT / "changes" / name).read_text("utf-8").split()[:5]
            assert " ".join(first) in " ".join(done.stdout.split()), f"{name} is not in the changelog"


# What is never told


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_machine_and_no_package_index_is_named() -> None:
    machine = [f"/{folder}/" for folder in ("tmp", "root", "work", "home")]
    index = ["pypi" + ".org", "python" + "hosted", "pypi" + ".python"]
    wrong = []
    for path in {*tracked(), *TEXTS}:
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        wrong += [f"{path.relative_to(ROOT)}: {word}" for word in (*machine, *index) if word in text]
    assert not wrong, "\n".join(sorted(wrong))


if __name__ == "__main__":
    README.write_text(with_table(), "utf-8")
