"""Writes signals, one folder per recording, and a table of what is in them."""

import csv
import math
import os
import pathlib
import random

SIGNALS = pathlib.Path("/channels/signals")
LABELS = pathlib.Path("/channels/labels")
WAVES = {
    "sine": math.sin,
    "square": lambda angle: math.copysign(1.0, math.sin(angle)),
    "mixed": lambda angle: (math.sin(angle) + math.sin(3 * angle)) / 2,
}


def main() -> None:
    count = int(os.environ["COUNT"])
    samples = int(os.environ["SAMPLES"])
    wave = WAVES[os.environ["WAVE"]]
    chance = random.Random(int(os.environ["SEED"]))  # signals, no secrets
    with (LABELS / "labels.csv").open("w", newline="") as table:
        labels = csv.writer(table)
        labels.writerow(["recording", "hertz"])
        for number in range(1, count + 1):
            name, hertz = f"recording-{number:02}", chance.randint(1, 40)
            folder = SIGNALS / name
            folder.mkdir(exist_ok=True)
            with (folder / "signal.csv").open("w", newline="") as file:
                rows = csv.writer(file)
                for step in range(samples):
                    second = step / 1000
                    value = wave(2 * math.pi * hertz * second) + chance.gauss(0, 0.05)
                    rows.writerow([f"{second:.3f}", f"{value:.4f}"])
            labels.writerow([name, hertz])
            print(f"{name}: {samples} samples of a {os.environ['WAVE']} at {hertz} Hz", flush=True)


if __name__ == "__main__":
    main()
