"""Counts the words of each item's texts: a program that knows nothing of channels."""

# ruff: noqa: PTH103, PTH118, PTH119, PTH123, PTH207 - written as such programs are

import glob
import os
import shutil

import settings


def count(path):
    with open(path, encoding=os.environ.get("ENCODING", "utf-8")) as file:
        words = [word for word in file.read().split() if len(word) >= settings.MIN_LENGTH]
    return len(words)


total = 0
for item in sorted(glob.glob(f"{settings.BATCH}/*")):
    name = os.path.basename(item)
    texts = glob.glob(os.path.join(item, settings.INPUT, "**", "*.txt"), recursive=True)
    if not texts or settings.ONLY not in (None, name):
        continue
    words = sum(map(count, texts))
    total += words
    output = os.path.join(item, settings.OUTPUT)
    os.makedirs(output)
    with open(os.path.join(output, "words.txt"), "w", encoding="utf-8") as file:
        file.write(f"{words} {settings.CONFIGURATION.get('unit', 'words')}\n")
    shutil.rmtree(os.path.join(item, settings.INPUT))  # it always tidied up
    print(f"{name}: {words}")

output = settings.WORKFLOW / settings.OUTPUT
output.mkdir()
(output / "total.txt").write_text(f"{total}\n", "utf-8")
