"""Slices beside the fewest possible, and the questions they took, by what the service answers with.

The fewest possible are those of somebody who knows every second and packs as full (``fewest_slices``).
"""

from __future__ import annotations

from benchmarks.report import Row, print_table
from orchestrator.core.slicing import Rules, capacity_lines
from orchestrator.testing.planning import STORES, WAYS, fewest_slices, plan_by

MOST_LINES = 1_000_000
QUESTIONS_AT_ONCE = 10
TARGETS = {"SQL": 1.02, "histogram": 1.2}
"""Of the ratio; one slice more is allowed besides (design 7)."""
MOST_QUESTIONS = 30
BIG_DAYS = ("even day", "day and night")
"""Days of 5 × 10^8 lines, for which so many questions are promised."""


def main() -> None:
    """Print a line for every logstore and every way of counting."""
    capacity = capacity_lines(MOST_LINES)
    rules = Rules(capacity, lambda _: None, QUESTIONS_AT_ONCE)
    rows, questions = [], []
    for store, rates in STORES.items():
        fewest = fewest_slices(rates, capacity)
        for way, counter in WAYS.items():
            plan = plan_by(counter(rates), rules, MOST_LINES)
            limit = TARGETS.get(way)
            target = None if limit is None or not fewest else limit + 1 / fewest
            asked = f"{plan.questions} questions" if plan.questions > 1 else "1 question"
            over = f", {plan.truly_over} too full" if plan.truly_over else ""
            rows.append(Row(f"{store}, {way}: {asked}{over}", len(plan.windows), fewest, target=target))
            if limit is not None and store in BIG_DAYS:
                questions.append(Row(f"{store}, {way}", plan.questions, MOST_QUESTIONS, target=1.0))
    print_table("Planning at up to 1,000,000 lines a slice", "slices", "fewest", rows)
    print_table("Questions to plan a day of 500,000,000 lines", "questions", "promised", questions)


if __name__ == "__main__":
    main()
