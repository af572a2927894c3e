"""Commands that judge what others made: score, audit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from braindecode_hub.errors import HubError
from braindecode_hub.text import visible


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option("--split", type=click.Path(path_type=Path), help="A run's split.json: which trials are the test side.")
@click.option("--fold", type=click.IntRange(0), help="The fold of --split; without it the first.")
@click.option("--metric", "metrics", metavar="USE", multiple=True, help="A registered metric, e.g. core/correlation.")
@click.option("--rate", type=float, metavar="HZ", help="Frames per second.")
@click.option("--static", is_flag=True, help="Nothing runs in time: all axes behind the first are features.")
@click.option("--predicted", metavar="KEY", help="The field with the predictions.")
@click.option("--target", metavar="KEY", help="The field with the targets.")
@click.option("--center", metavar="KEY", help="The field with the training targets' mean.")
@click.option("--field", "fields", metavar="ROLE=KEY", multiple=True, help="Another field, e.g. subject=sub_id.")
@click.option("--unit", "unit_s", type=float, metavar="SECONDS", help="Length of the blocks that are scored (5).")
@click.option("--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the scores there.")
@click.option("--seed", type=int, help="Seed of nulls and pools (0, or the run's own).")
def score(predictions: Path, fields: tuple[str, ...], json_file: Path | None, **options: Any) -> None:
    """Score anybody's predictions (.npz, .mat, .safetensors, a folder of .npy, a run) as a run is scored."""
    from braindecode_hub.files import refuse_foreign
    from braindecode_hub.scorefile import score_file

    refuse_foreign(json_file, ("schema", "judged", "scores"))
    named = {key: options.pop(key) for key in ("predicted", "target", "center")}
    given = _fields(fields) | {role: key for role, key in named.items() if key is not None}
    scores = score_file(predictions, fields=given, **options)
    click.echo(visible(str(scores)))
    if json_file is not None:
        scores.save(json_file)


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--split", type=click.Path(path_type=Path), help="A split.json, or a table of the trials' sides.")
@click.option("--features", type=click.Path(path_type=Path), help="Arrays (trials, …) that decoders are refitted on.")
@click.option("--field", "fields", metavar="ROLE=KEY", multiple=True, help="A column or array, e.g. side=fold_name.")
@click.option("--near", "near_s", type=float, default=1.0, show_default=True, help="Seconds that are neighbours.")
@click.option("--closed-set", is_flag=True, help="The same stimuli may be on both sides.")
@click.option("--refits", type=click.IntRange(3), default=20, show_default=True, help="Refits of each check.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the refits.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the findings there.")
def audit(path: Path | None, fields: tuple[str, ...], json_file: Path | None, **options: Any) -> None:
    """Look for leaks in a split: a run folder, a table, or arrays; exit 1 if there is one."""
    from braindecode_hub.audit import audit as audited
    from braindecode_hub.files import refuse_foreign

    refuse_foreign(json_file, ("schema", "leaks", "findings", "checks", "unseen"))
    found = audited(path, fields=_fields(fields), **options)
    click.echo(visible(str(found)))
    if json_file is not None:
        found.save(json_file)
    if found.leaks:
        sys.exit(1)


def _fields(given: tuple[str, ...]) -> dict[str, str]:
    """Return the roles of fields, as --field ROLE=KEY gave them."""
    for text in given:
        if "=" not in text:
            raise HubError(f"--field {text} is not an assignment", "write it as --field subject=sub_id", usage=True)
    return dict(text.split("=", 1) for text in given)
