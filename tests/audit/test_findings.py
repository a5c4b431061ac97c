from bench.audit.findings import MOST, Findings


def test_many_problems_of_a_kind_are_counted_and_each_is_noted_once() -> None:
    findings = Findings()
    for number in range(MOST + 5):
        findings.problem(f"cells/{number}", "its id is another", "altered")
    findings.problem("cells/0", "its id is another", "altered")
    findings.problem("plan", "it is missing", "removed")
    lines = findings.text().splitlines()
    assert lines[MOST - 1] == f"cells/{MOST - 1}: its id is another (altered)"
    assert lines[MOST:] == [
        "plan: it is missing (removed)",
        "... and 5 more like this: altered",
        "checked: nothing",
        f"{MOST + 6} problems",
    ]
