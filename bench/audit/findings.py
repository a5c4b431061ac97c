"""What an audit has found: problems, what was looked at, and what could not be."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Findings:
    """Filled by the checks of this package."""

    problems: list[str] = field(default_factory=list)
    """One line each: where, what, and in brackets why it matters."""
    checked: Counter[str] = field(default_factory=Counter)
    """What was looked at -> how many."""
    unchecked: Counter[str] = field(default_factory=Counter)
    """What could not be looked at, with the reason -> how many."""

    def problem(self, where: object, what: str, why: str) -> None:
        """Note a contradiction, once."""
        line = " ".join(f"{where}: {what} ({why})".split())
        if line not in self.problems:
            self.problems.append(line)

    def text(self) -> str:
        """Return the problems, a line each, and what was and was not checked."""
        checked = ", ".join(f"{count} {what}" for what, count in self.checked.items())
        left = [f"not checked: {what} ({count})" for what, count in self.unchecked.items()]
        count = f"{len(self.problems)} problem{'' if len(self.problems) == 1 else 's'}"
        return "\n".join([*self.problems, *left, f"checked: {checked or 'nothing'}", count])
