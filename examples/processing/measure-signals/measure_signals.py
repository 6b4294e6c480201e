"""Measures the frequency of each recording, and compares it with its label."""

import csv
import json
import os
import pathlib

SIGNALS = pathlib.Path("/channels/signals")
LABELS = pathlib.Path("/channels/labels")
REPORT = pathlib.Path("/channels/report")


def frequency(rows: list[list[str]]) -> float:
    """Count how often a signal rises through zero, per second."""
    seconds = [float(row[0]) for row in rows]
    values = [float(row[1]) for row in rows]
    # Smoothed, so that noise around zero doesn't count as a wave.
    smooth = [sum(values[at : at + 5]) / 5 for at in range(len(values) - 4)]
    risings, below = 0, True
    for value in smooth:
        if below and value > 0.1:
            risings, below = risings + 1, False
        elif value < -0.1:
            below = True
    return risings / (seconds[-1] - seconds[0])


def main() -> None:
    tolerance = float(os.environ["TOLERANCE"])
    with (LABELS / "labels.csv").open(newline="") as table:
        labels = {row["recording"]: float(row["hertz"]) for row in csv.DictReader(table)}
    report = {}
    for folder in sorted(path for path in SIGNALS.iterdir() if path.is_dir()):
        with (folder / "signal.csv").open(newline="") as file:
            rows = list(csv.reader(file))  # a whole recording at once: see scale_rule
        measured, expected = frequency(rows), labels[folder.name]
        report[folder.name] = {
            "hertz": round(measured, 2),
            "expected": expected,
            "agrees": abs(measured - expected) <= tolerance,
        }
        print(f"{folder.name}: {measured:.2f} Hz, its label says {expected:g}", flush=True)
    (REPORT / "report.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
