"""What is found in a folder: by which rule, how bad, where, why it matters, and what to do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ERROR", "HINT", "LEVELS", "WARNING", "Finding", "Report", "Rule"]

ERROR, WARNING, HINT = "error", "warning", "hint"
LEVELS = (ERROR, WARNING, HINT)
"""From what keeps a task from being published or run to what is only worth knowing."""

_SHOWN = 20
"""Findings of one rule that are listed: whoever has more has them for one reason."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is looked for.

    Parameters
    ----------
    name : str
        As people write it after ``--ignore``: ``base-unpinned``.
    level : str
        ``error``, ``warning`` or ``hint``.
    about : str
        What is found, for the reference.
    why : str
        Why it matters.
    fix : str
        What to do, where nothing better can be said of a single finding.
    """

    name: str
    level: str
    about: str
    why: str
    fix: str

    def at(self, file: str, what: str, *, line: int | None = None, fix: str = "") -> Finding:
        """Make a finding.

        Parameters
        ----------
        file : str
            Relative to the folder; ``.`` is the folder itself.
        what : str
            What is there.
        line : int or None
            Counted from 1.
        fix : str
            What to do, where it can be said better than in the rule.
        """
        return Finding(self.name, self.level, file, line, what, self.why, fix or self.fix)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something found in a folder.

    Parameters
    ----------
    rule : str
    level : str
        ``error``, ``warning`` or ``hint``.
    file : str
        Relative to the folder; ``.`` is the folder itself.
    line : int or None
        Counted from 1; None for the whole file.
    what, why, fix : str
        What is there, why it matters, and what to do.
    """

    rule: str
    level: str
    file: str
    line: int | None
    what: str
    why: str
    fix: str

    @property
    def place(self) -> str:
        """Where, as compilers write it: ``Dockerfile:3``."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    @property
    def text(self) -> str:
        """One line: ``Dockerfile:3: error: ... [copy-source-missing]``."""
        return f"{self.place}: {self.level}: {self.what} [{self.rule}]"


@dataclass(slots=True)
class Report:
    """What was found in a folder.

    Parameters
    ----------
    folder : Path
        As it was given.
    contract : str
        ``meca``, ``processing`` or ``golem``.
    ignored : frozenset of str
        Names of rules whose findings are left out.
    """

    folder: Path
    contract: str
    ignored: frozenset[str] = frozenset()
    _found: list[Finding] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)

    def add(self, finding: Finding) -> None:
        """Keep a finding; of one rule, no more than can be read."""
        if finding.rule in self.ignored:
            return
        self._counts[finding.rule] += 1
        if self._counts[finding.rule] <= _SHOWN:
            self._found.append(finding)

    @property
    def findings(self) -> list[Finding]:
        """All, the worst first, and in the order of files and lines."""
        rank = {level: place for place, level in enumerate(LEVELS)}
        found = list(self._found)
        for rule, count in self._counts.items():
            if count > _SHOWN:
                last = next(one for one in reversed(found) if one.rule == rule)
                what = f"and {count - _SHOWN} more like these"
                found.append(Finding(rule, last.level, ".", None, what, last.why, last.fix))
        # "." sorts before every name; what sums up comes last within its level.
        return sorted(
            found,
            key=lambda one: (rank[one.level], one.what.startswith("and "), one.file, one.line or 0),
        )

    @property
    def errors(self) -> list[Finding]:
        """What keeps the task from being published, or from running elsewhere."""
        return [one for one in self.findings if one.level == ERROR]

    @property
    def warnings(self) -> list[Finding]:
        """What will bite later."""
        return [one for one in self.findings if one.level == WARNING]

    @property
    def hints(self) -> list[Finding]:
        """What is worth knowing."""
        return [one for one in self.findings if one.level == HINT]
