"""What a run's numbers allow one to say, in one sentence that never claims more than they do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

ALPHA = 0.05
FEWEST_UNITS = 10
FEWEST_REFITS = 3
ACRONYMS = {
    "mcd": "MCD",
    "stoi": "STOI",
    "estoi": "ESTOI",
    "ssim": "SSIM",
    "cca": "CCA",
    "clip": "CLIP",
    "n": "N",
    "ci95": "95 % interval",
}

Metrics = Mapping[str, Any]
Level = Literal["above", "tentative", "none", "void"]


@dataclass(frozen=True)
class Verdict:
    """A judgement: how far it goes (`level`), the claim, the numbers behind it, what weakens or frames it."""

    level: Level
    claim: str
    evidence: str
    caveats: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.claim}: {'; '.join((self.evidence, *self.caveats))}."


def verdict(metrics: Metrics, score: str | None = None) -> str:
    """Return one plain sentence about a run from its metrics.json; `score` as in `headline`."""
    return str(judge(metrics, score))


def judge(metrics: Metrics, score: str | None = None) -> Verdict:
    """Judge a run by its headline score: above chance, tentatively so, no evidence, or void."""
    name = headline(metrics, score)
    if name is None:
        return _framed(metrics, Verdict("void", "No result", f"nothing was scored{_because(metrics, 'scores')}"))
    entry = metrics["scores"][name] or {}
    value = finite(entry.get("value"))
    if value is None:
        why = f"{label(name)} was not computed{_because(metrics, 'scores', name, 'value')}"
        return _framed(metrics, Verdict("void", "No result", why))
    raised = [str(flag).upper() for flag in metrics.get("flags") or ()]
    if any(flag.startswith("LEAK") for flag in raised):
        shown = f"{label(name)} {amount(value, entry)}"
        why = f"a check for leaks failed, so {shown} must not be taken for decoding"
        return _framed(metrics, Verdict("void", "Not a result", why))
    if "CHANCE" in raised:
        shown = f"{label(name)} {amount(value, entry)}"
        why = f"the shuffled control beats the stated chance, so {shown} has no valid p"
        return _framed(metrics, Verdict("void", "Not a result", why))
    evidence = _evidence(metrics, name, entry, value)
    doubts = tuple(_doubts(metrics, name, entry, value))
    beside = tuple(_beside(metrics, name, entry, value))
    p, chance = finite(entry.get("p")), finite(entry.get("chance"))
    if p is None:
        claim = Verdict("none", "Not tested against chance", evidence, beside)
    elif p > ALPHA or (chance is not None and not _better(entry, value, chance)):
        claim = Verdict("none", "No evidence of decoding", evidence, (*_too_few(metrics, entry), *beside))
    elif doubts:
        claim = Verdict("tentative", "Above chance, but tentatively", evidence, (*doubts, *beside))
    else:
        claim = Verdict("above", "Decoded above chance", evidence, beside)
    return _framed(metrics, claim)


def headline(metrics: Metrics, score: str | None = None) -> str | None:
    """Return the score that the verdict is about: `score` if it was reported, else the first with a value."""
    scores = metrics.get("scores") or {}
    if score in scores:
        return score
    valued = [name for name, entry in scores.items() if finite((entry or {}).get("value")) is not None]
    return next(iter(valued or scores), None)


def finite(value: Any) -> float | None:
    """Return `value` as a float, or None where it is missing, not a number, or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def interval(entry: Metrics) -> tuple[float, float] | None:
    """Return the two ends of a score's 95 % interval, or None where there is none."""
    ends = [finite(end) for end in entry.get("ci95") or ()]
    if len(ends) != 2 or ends[0] is None or ends[1] is None:
        return None
    return ends[0], ends[1]


def reason(metrics: Metrics, *path: str) -> str | None:
    """Return why the value at `path` of metrics.json is null: the line of `reasons` that fits best."""
    reasons = metrics.get("reasons") or {}
    for stop in range(len(path), 0, -1):
        for start in range(stop):
            for joint in (".", "/"):
                line = reasons.get(joint.join(path[start:stop]))
                if line:
                    return str(line)
    return None


def label(name: str) -> str:
    """Return a score's name as prose: "mel_correlation" becomes "mel correlation"."""
    return " ".join(ACRONYMS.get(word, word) for word in name.split("_"))


def number(value: float, digits: int = 2) -> str:
    """Return a number with `digits` decimals (fewer from 100 on), a true minus sign and no negative zero."""
    text = f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.5g}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def amount(value: float, entry: Metrics, digits: int = 2) -> str:
    """Return a number with the symbol of its score's unit: "5.31 dB", but no "0.61 r"."""
    unit = str(entry.get("unit") or "")
    return number(value, digits) if unit in ("", "r") or symbolless(entry) else f"{number(value, digits)} {unit}"


def symbolless(entry: Metrics) -> str:
    """Return the unit of a score if it is a description ("1 of 50, 5 s each") and no symbol, else nothing."""
    unit = str(entry.get("unit") or "")
    return unit if " " in unit else ""


def probability(p: float) -> str:
    """Return a p value to two significant digits; three beside .05, so that none is rounded across it."""
    return f"{p:.3g}" if 0.045 <= p < 0.055 else f"{p:.2g}"


def _evidence(metrics: Metrics, name: str, entry: Metrics, value: float) -> str:
    ends = interval(entry)
    parts = [f"{label(name)} {amount(value, entry)}"]
    if ends:
        parts[0] += f" (95 % interval {number(ends[0])} to {number(ends[1])})"
    chance, p = finite(entry.get("chance")), finite(entry.get("p"))
    parts.append(f"chance {number(chance)}" if chance is not None else "chance unknown")
    parts.append(f"p = {probability(p)}" if p is not None else f"no p value{_because(metrics, 'scores', name, 'p')}")
    unit = metrics.get("unit") or {}
    if unit.get("n") is not None:
        each = f" ({unit['name']})" if unit.get("name") else ""
        parts.append(f"{unit['n']} unit{'' if unit['n'] == 1 else 's'}{each}")
    return ", ".join(parts)


def _doubts(metrics: Metrics, name: str, entry: Metrics, value: float) -> Iterator[str]:
    """Yield each reason why a p below .05 alone is not enough."""
    units, ends = finite((metrics.get("unit") or {}).get("n")), interval(entry)
    chance = finite(entry.get("chance"))
    if units is None:
        yield "the number of units is unknown"
    elif units < FEWEST_UNITS:
        yield f"fewer than {FEWEST_UNITS} units are too few for an interval"
    elif ends is None:
        yield f"there is no interval{_because(metrics, 'scores', name, 'ci95')}"
    if chance is None:
        yield "the level of chance is unknown"
    elif ends is not None and not _better(entry, min(ends) if _higher(entry) else max(ends), chance):
        yield "the interval reaches chance"
    mean = _beside_value(metrics, "mean", name)
    if mean is not None and not _better(entry, value, mean):
        yield f"predicting the mean does as well ({number(mean)})"
    yield from _control_doubts(metrics, name, entry, value)


def _control_doubts(metrics: Metrics, name: str, entry: Metrics, value: float) -> Iterator[str]:
    chance = finite(entry.get("chance"))
    means = {kind: finite((by_score or {}).get(name)) for kind, by_score in (metrics.get("controls") or {}).items()}
    run = {kind: mean for kind, mean in means.items() if mean is not None}
    refits = metrics.get("control_refits") or {}
    if not run:
        yield f"no control was run{_because(metrics, 'controls')}"
    few = [kind for kind in run if (finite(refits.get(kind)) or 0) < FEWEST_REFITS]
    if few:
        yield f"too few refits to judge the {' and '.join(few)} control{'s' if len(few) > 1 else ''}"
    for kind, mean in run.items():
        if chance is not None and _better(entry, mean, (chance + value) / 2):
            yield f"the {kind} control reaches {number(mean)}, more than half way from chance"


def _beside(metrics: Metrics, name: str, entry: Metrics, value: float) -> Iterator[str]:
    """Yield what stands beside the score: the linear baseline, what else does better, looks at the test."""
    values = {other: _beside_value(metrics, other, name) for other in metrics.get("baselines") or {}}
    ridge, untrained = values.pop("ridge", None), values.pop("untrained", None)
    others = {other: reached for other, reached in values.items() if other != "mean" and reached is not None}
    if ridge is None and not others:
        yield f"no linear baseline beside it{_because(metrics, 'baselines', 'ridge', name)}"
    elif ridge is not None:
        yield f"the linear baseline reaches {number(ridge)}{_compared(metrics, name, entry, value, ridge)}"
    if untrained is not None:
        yield f"untrained, it reaches {number(untrained)}"
    for other, reached in others.items():
        if ridge is None or _better(entry, reached, value):
            yield f"the {label(other)} reaches {number(reached)}"
    looks = finite(metrics.get("test_looks"))
    if looks is not None and looks != 1:
        yield f"the test side was scored {int(looks)} times" if looks else "the test side was not looked at"


def _compared(metrics: Metrics, name: str, entry: Metrics, value: float, ridge: float) -> str:
    paired = ((metrics.get("differences") or {}).get("pipeline-ridge") or {}).get(name) or {}
    ends = interval(paired)
    if ends is None:
        return ", numerically better" if _better(entry, ridge, value) else ""
    shown = f"paired difference {number(ends[0], 3)} to {number(ends[1], 3)}"
    if min(ends) <= 0 <= max(ends):
        return f", no clear difference ({shown})"
    return f" and is {'worse' if _better(entry, min(ends), 0.0) else 'better'} ({shown})"


def _too_few(metrics: Metrics, entry: Metrics) -> Iterator[str]:
    smallest = finite(entry.get("smallest_p", (metrics.get("unit") or {}).get("smallest_p")))
    if smallest is not None and smallest > ALPHA:
        yield f"this test could not have found any (smallest p attainable {probability(smallest)})"


def _framed(metrics: Metrics, made: Verdict) -> Verdict:
    """Put before the claim what kind of data it is about."""
    flags = {flag.upper().replace("_", " ") for flag in metrics.get("flags") or ()}
    frames = []
    if metrics.get("simulated") or "SIMULATED" in flags:
        frames.append("simulated data")
    if metrics.get("closed_set") or "CLOSED SET" in flags:
        frames.append("a closed set of targets")
    if "UNVERIFIED" in flags:
        frames.append("an unverified loader")
    if "DEV" in flags:
        frames.append("validation scores only")
    if not frames or made.level == "void":
        return made
    listed = " and ".join([", ".join(frames[:-1]), frames[-1]] if frames[1:] else frames)
    claim = made.claim[0].lower() + made.claim[1:]
    return Verdict(made.level, f"With {listed}, {claim}", made.evidence, made.caveats)


def _because(metrics: Metrics, *path: str) -> str:
    line = reason(metrics, *path)
    return f" ({line.rstrip('.')})" if line else ""


def _beside_value(metrics: Metrics, baseline: str, name: str) -> float | None:
    return finite(((metrics.get("baselines") or {}).get(baseline) or {}).get(name))


def _higher(entry: Metrics) -> bool:
    return entry.get("higher_is_better") is not False


def _better(entry: Metrics, one: float, other: float) -> bool:
    return one > other if _higher(entry) else one < other
