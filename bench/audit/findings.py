"""What an audit has found: problems, what was looked at, and what could not be."""

from collections import Counter
from dataclasses import dataclass, field

MOST = 20
"""Problems of one kind that are shown; of more, how many."""


@dataclass
class Findings:
    """Filled by the checks of this package."""

    problems: dict[str, str] = field(default_factory=dict)
    """Line (where, what, and in brackets why it matters) -> why it matters."""
    checked: Counter[str] = field(default_factory=Counter)
    """What was looked at -> how many."""
    unchecked: Counter[str] = field(default_factory=Counter)
    """What could not be looked at, with the reason -> how many."""

    def problem(self, where: object, what: str, why: str) -> None:
        """Note a contradiction, once."""
        self.problems[" ".join(f"{where}: {what} ({why})".split())] = why

    def text(self) -> str:
        """Return the problems, a line each but for the MOST of a kind, and what was and was not checked."""
        kinds: Counter[str] = Counter()
        shown = []
        for line, why in self.problems.items():
            kinds[why] += 1
            shown += [line] if kinds[why] <= MOST else []
        shown += [f"... and {count - MOST} more like this: {why}" for why, count in kinds.items() if count > MOST]
        checked = ", ".join(f"{count} {what}" for what, count in self.checked.items())
        left = [f"not checked: {what} ({count})" for what, count in self.unchecked.items()]
        count = f"{len(self.problems)} problem{'' if len(self.problems) == 1 else 's'}"
        return "\n".join([*shown, *left, f"checked: {checked or 'nothing'}", count])
