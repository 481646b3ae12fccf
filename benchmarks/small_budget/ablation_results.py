"""The results of ablations: their file, and the table that is made from it."""

import json
import math
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from semppl.benchmarks.small_budget.ablation_variants import PRESET, TITLES, VARIANTS
from semppl.benchmarks.small_budget.collect import name_of_data
from semppl.benchmarks.small_budget.figures import cell
from semppl.experiments.comparison import results
from semppl.experiments.comparison.significance import Difference, false_positives, paired_difference
from semppl.runs.files import write_atomically

Result = dict[str, Any]
"""The log of a run, see `collect.log_of`, with its "variant", a key of TITLES."""

_CHANGING = {"seed", "label_seed", "steps", "first_steps", "first_large_size", "first_batch_size"}
"""Settings in which runs of one table may differ, whatever their variants."""

_KEYS = {"variant", "seed", "steps", "accuracy", "curve"}


def read(path: pathlib.Path) -> list[Result]:
    """Reads a file of results.

    Raises:
        ValueError: If it cannot be read, or was not written by this program.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"--ablations_file must name a file that can be read. Received: {path}: {error.strerror}"
        ) from error
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(map(_is_result, found)):
        raise ValueError(f"--ablations_file must be a file that this program has written. Received: {path}")
    return found


def require_compatible(path: pathlib.Path, data: str, runs: Mapping[tuple[str, int], Mapping[str, Any]]) -> None:
    """Refuses a file whose runs have other data, or other settings than those that their variants change.

    Runs of the same variant and seed must have the same settings. All others may differ in seeds, steps, what either variant
    changes, and the first part of a run.

    Args:
        path: File of results, which need not exist.
        data: Source of the images of the runs that will be added.
        runs: Their settings that differ from the defaults, by variant and seed.

    Raises:
        ValueError: If something differs, naming the run and the settings.
    """
    for result in read(path) if path.is_file() else []:
        for key, settings in runs.items():
            here = json.loads(json.dumps(dict(settings))) | {"data": name_of_data(data)}
            there = result.get("settings", {}) | {"data": name_of_data(result.get("data", ""))}
            same_run = key == (result["variant"], result["seed"])
            allowed = set() if same_run else _CHANGING.union(*map(_changes_of, (key[0], result["variant"])))
            compared = {**here, **there}.keys() - allowed
            differing = [
                f"{name} = {here.get(name)} (there: {there.get(name)})"
                for name in sorted(compared)
                if here.get(name) != there.get(name)
            ]
            if differing:
                variant, seed = result["variant"], result["seed"]
                raise ValueError(
                    "--ablations_file must have results of the same settings, or be a new file. "
                    f"Received: {path}, whose {variant} of seed {seed} differs in {', '.join(differing)}"
                )


def _changes_of(variant: str) -> set[str]:
    """Returns the names of the settings that a variant changes; none for the rows of `growing`."""
    return set(VARIANTS[variant][1]) if variant in VARIANTS else set()


def add(path: pathlib.Path, found: Sequence[Result]) -> None:
    """Writes results, and keeps those of other variants and seeds that the file has."""
    new = {(result["variant"], result["seed"]): result for result in found}
    merged = {(result["variant"], result["seed"]): result for result in (read(path) if path.is_file() else [])} | new
    order = list(TITLES)
    kept = [merged[key] for key in sorted(merged, key=lambda key: (key[1], order.index(key[0])))]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(kept) + "\n")


def _is_result(found: Any) -> bool:
    return isinstance(found, dict) and found.keys() >= _KEYS and found["variant"] in TITLES


def table(found: Sequence[Result]) -> str:
    """Returns a Markdown table with a row per variant.

    A row has the mean over the seeds (lowest–highest) by each classifier, the difference from the preset by logistic regression,
    with its confidence interval if there are enough seeds, and accuracy and coverage of the last pseudo-labels.
    """
    words = ("nearest labelled image", "logistic regression", "label spreading")
    head = ["", "steps", *words, "difference from the preset", "pseudo-label accuracy", "coverage"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    variants = dict.fromkeys(result["variant"] for result in found)
    of_variant = {name: [result for result in found if result["variant"] == name] for name in variants}
    differences = {
        name: _difference(rows, of_variant[PRESET])
        for name, rows in of_variant.items()
        if name != PRESET and PRESET in of_variant
    }
    for name, rows in of_variant.items():
        cells = [", ".join(f"{number:,}" for number in sorted({row["steps"] for row in rows}))]
        cells += [cell([_accuracy(row, classifier) for row in rows]) for classifier in results.CLASSIFIERS]
        cells.append(_in_words(differences.get(name)))
        last = [row["curve"][-1] for row in rows if row["curve"]]
        for column in ("pseudo_label_accuracy", "pseudo_label_coverage"):
            known = [entry[column] for entry in last if column in entry]
            cells.append(f"{statistics.fmean(known):.3f}" if known else "–")
        lines.append(f"| {_title(name, rows)} | {' | '.join(cells)} |")
    tested = [one for one in differences.values() if one and not math.isnan(one.low)]
    if PRESET not in of_variant:
        lines += ["", "Without the variant preset, there is nothing to compare with."]
    if tested:
        significant = sum(one.significant for one in tested)
        verdict = (
            f"{significant} of {len(tested)} differences {'is' if significant == 1 else 'are'} significant at 95 %"
        )
        expected = round(false_positives(len(tested)), 1)
        lines += ["", f"In bold: {verdict}; {expected:g} false positives are expected."]
    return "\n".join(lines)


def _title(name: str, rows: Sequence[Result]) -> str:
    """Returns the title of a row; for a run with a first part, see `growing`, also what is smaller, and for how many steps."""
    parts = [row["settings"] for row in rows if "first_steps" in row.get("settings", {})]
    said = [
        f"{first['first_steps']:,} steps at {value}"
        for first in parts[:1]
        for key, value in first.items()
        if key.startswith("first_") and key != "first_steps"
    ]
    return f"{TITLES[name]} ({said[0]})" if said else TITLES[name]


def _accuracy(result: Result, classifier: str) -> float:
    return float(result["accuracy"]["projections"][classifier])


def _difference(rows: Sequence[Result], of_preset: Sequence[Result]) -> Difference | None:
    """Computes the difference by logistic regression, paired over seeds; None without a common seed."""
    ours, theirs = (
        {row["seed"]: _accuracy(row, "logistic_regression") for row in group} for group in (rows, of_preset)
    )
    return paired_difference(ours, theirs)


def _in_words(difference: Difference | None) -> str:
    """Writes a difference, its mean in bold if it is significant; nothing for None."""
    if difference is None:
        return ""
    mean, *interval = results.interval(difference).split(" ", 1)
    return " ".join([f"**{mean}**" if difference.significant else mean, *interval])
