"""What speech_wav2vec adds to a report: what was retrieved, and how far down the right answers stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from braindecode_hub.intervals import wilson
from braindecode_hub.report import Section, figure_html
from braindecode_hub.retrieval import ranks
from braindecode_hub.verdict import reason
from braindecode_hub_speech_wav2vec.published import CANDIDATES, MODELS, SOURCE, TOP10
from braindecode_hub_speech_wav2vec.report_figures import rank_figure, similarity_figure, subjects_figure
from braindecode_hub_speech_wav2vec.report_listening import nearest_html, played_html
from braindecode_hub_speech_wav2vec.report_sensors import sensors_html

if TYPE_CHECKING:
    from braindecode_hub.report import Reported
    from braindecode_hub.types import Array

LARGEST_CHANCE = 0.15
"""Chance above which a share of hits says little: fewer of the nearest are looked at then."""
EXTRAS = {
    "averaged": "<b>averaged</b>: all that was predicted for one window, over subjects and repeats, is averaged before "
    "it is looked up, which needs several presentations of the same",
    "context": "<b>context</b>: a candidate gains by how well the other windows of the same trial fit the presentation "
    "that it comes from; nothing is trained for it, but the trial's other windows must be known, and they are right or "
    "wrong together, so p and interval count trials",
    "word": "<b>word</b>: windows around single words; the probability of all candidates with the same word is added "
    "up, so that chance follows how often each is said",
}
"""What was done at test time, beside looking up one window at a time; by a part of the score's name."""


@dataclass(frozen=True)
class Pool:
    """One fit's look-ups: `scores` (queries, candidates), `own` (queries,), `shown` queries, and what each is."""

    scores: Array
    own: Array
    shown: Array
    subjects: list[str]
    candidates: list[dict[str, Any]]
    seconds: float
    space: str

    @property
    def ranks(self) -> Array:
        """The rank of every query's own candidate, from 1."""
        return ranks(self.scores)[np.arange(len(self.own)), self.own]

    def whole(self) -> bool:
        """Whether its arrays and texts fit together; a damaged file may say anything."""
        queries, candidates = self.scores.shape if self.scores.ndim == 2 else (0, 0)
        fitting = self.own.shape == (queries,) and len(self.subjects) == queries and len(self.candidates) == candidates
        if not fitting or not queries or self.shown.ndim != 1 or not np.isfinite(self.scores).all():
            return False
        inside = ((self.own >= 0) & (self.own < candidates)).all() and (
            (self.shown >= 0) & (self.shown < queries)
        ).all()
        return bool(inside) and all(isinstance(one, Mapping) for one in self.candidates)


def sections(run: Reported) -> list[Section]:
    """Return what was retrieved, how far down the right answers stand, the sensors, and published scores.

    A run that looks nothing up has none of them; one whose look-ups are missing says so.
    """
    pools = pools_of(run)
    if not pools:
        why = _why_nothing(run)
        return [Section("What was retrieved", f'<p class="missing">{escape(why)}</p>', 10)] if why else []
    found = [Section("What was retrieved", played_html(run, pools) + nearest_html(run, pools), 10)]
    found.append(Section("Where the right one stands", _extras(run) + _ranked(pools), 22))
    sensors = sensors_html(run)
    found += [Section("Sensors that were attended to", sensors, 27)] if sensors else []
    published = [] if "sinusoids" in (run.config.get("targets") or {}) else [_published(run)]
    return [*found, *(Section("Published scores", html, 62) for html in published)]


def pools_of(run: Reported) -> list[Pool]:
    """Return every fit's look-ups; none where the run kept none. Those that do not fit together are left out."""
    found = []
    for number, about in enumerate(run.retrieval):
        scores, own, shown = (run.details.get(f"retrieval/{number}/{name}") for name in ("scores", "own", "shown"))
        if scores is None or own is None or shown is None:
            continue
        try:
            pool = Pool(
                scores, own, shown, [str(one) for one in about["subjects"]], list(about["candidates"]),
                float(about["seconds"]), str(about["space"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError):
            continue
        found += [pool] if pool.whole() else []
    return found


def _why_nothing(run: Reported) -> str:
    """Return why nothing was looked up; nothing of a run that is not about looking up."""
    renderer = str((run.config.get("renderer") or {}).get("use", ""))
    named = [str(name).rsplit("/", 1)[-1] for name in run.config.get("metrics") or ()]
    asked = [name for name in (*named, *(run.metrics.get("scores") or {})) if name.startswith(("top", "mean_rank"))]
    if not asked and not renderer.endswith("/retrieved_speech"):
        return ""
    if run.retrieval:
        return "What was looked up cannot be read from details.safetensors: finish the run again, with run … --resume."
    given = next((why for why in (reason(run.metrics, "scores", name, "value") for name in asked) if why), None)
    told = given or "the test side has fewer than two distinct windows"
    return f"Nothing was retrieved: {told}. Retrieval needs at least two candidates to choose from."


# How often it was right


def _extras(run: Reported) -> str:
    scores = run.metrics.get("scores") or {}
    told = [text for part, text in EXTRAS.items() if any(_is_of(name, part) for name in scores)]
    if not told:
        return ""
    return f"<p>Scores above that look up something other than one window at a time: {'; '.join(told)}.</p>"


def _is_of(name: str, part: str) -> bool:
    return name.startswith("word_top") if part == "word" else name.endswith(f"_{part}")


def _ranked(pools: list[Pool]) -> str:
    """Draw the rank curve and subjects of all fits that have as many candidates as the first, and its similarities."""
    first = pools[0]
    count = len(first.candidates)
    alike = [pool for pool in pools if len(pool.candidates) == count]
    found = np.concatenate([pool.ranks for pool in alike])
    subjects = [name for pool in alike for name in pool.subjects]
    top = ", ".join(
        f"top-{n} {100 * float((found <= n).mean()):.1f} % (chance {100 * n / count:.1f} %)"
        for n in (1, 5, 10)
        if n < count
    )
    told = f"{top}, mean rank {found.mean():.2f} (chance {(count + 1) / 2:g})".removeprefix(", ")
    k = next((n for n in (10, 5) if n / count <= LARGEST_CHANCE), 1)
    shares = _shares(found, subjects, k)
    heard = ", ".join(f"{name} {100 * value:.0f} %" for name, (value, _) in shares.items())
    left = f" {len(pools) - len(alike)} fits with other candidates are left out." if len(alike) < len(pools) else ""
    of_first = f" Of the first of {len(pools)} fits." if len(pools) > 1 else ""
    place = "first" if k == 1 else f"among the nearest {k}"
    parts = [
        figure_html(
            rank_figure(found, count), f"Rank curve. Windows found among the nearest k of {count}: {told}",
            f"Windows found among the nearest k of {count}: {told}. Dashed: chance, exactly k / {count}.{left}",
        ),
        figure_html(
            subjects_figure(shares, k / count, k), f"Windows whose own candidate is {place}, by subject: {heard}",
            f"By subject: windows whose own candidate is {place}. Lines: 95 % over windows (Wilson); "
            f"dashed: chance, {100 * k / count:.1f} %.",
        ),
        figure_html(
            similarity_figure(first.scores, first.own),
            f"Similarity matrix: cosine of {len(first.scores)} windows of brain with {count} candidates",
            f"Cosines in {first.space} of each window of brain (rows, sorted by what was heard) with each candidate. "
            f"The line marks the right ones.{of_first}",
        ),
    ]  # fmt: skip
    return f'<div class="grid">{"".join(parts)}</div>'


def _shares(found: Array, subjects: list[str], k: int) -> dict[str, tuple[float, tuple[float, float]]]:
    shares = {}
    for name in sorted(set(subjects)):
        hits = (found[[one == name for one in subjects]] <= k).astype(float)
        shares[name or "all"] = float(hits.mean()), wilson(float(hits.mean()), len(hits))
    return shares


def _published(run: Reported) -> str:
    """Return the published scores as a table, the row of this run's data set marked."""
    used = str((run.config.get("dataset") or {}).get("use", "")).split("/")[-1]
    head = "<th>Data</th><th>Candidates</th>" + "".join(f"<th>{escape(model)}</th>" for model in MODELS)
    rows = []
    for name, values in TOP10.items():
        labels = ("candidates", *MODELS)
        given = (f"{CANDIDATES[name]}", *(f"{mean:.1f} ± {sd:.1f}" for mean, sd in values))
        cells = "".join(
            f'<td data-label="{escape(label)}">{value}</td>' for label, value in zip(labels, given, strict=True)
        )
        mark = "<br><small>the data of this run</small>" if name == used else ""
        rows.append(f'<tr><th scope="row">{escape(name)}{mark}</th>{cells}</tr>')
    own = (run.metrics.get("scores") or {}).get("top10") or {}
    values_ = own.get("value"), own.get("chance")
    ours = (
        f" This run: {100 * values_[0]:.1f} % {escape(str(own.get('unit', '')))}, chance {100 * values_[1]:.1f} %."
        if values_[0] is not None and values_[1] is not None
        else ""
    )
    caption = f"Top-10 accuracy in percent, mean ± SD over 3 seeds: {escape(SOURCE)}."
    about = f"<p>Printed for comparison and not claimed: other preprocessing, other splits, other candidates.{ours}</p>"
    table = f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'{about}<table class="cards">{table}</table>'
