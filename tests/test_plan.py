"""A plan says how far a training is; a budget changes it so that the whole command ends in time."""

from __future__ import annotations

import itertools

import pytest

from iconoclass.training.plan import Budget, Plan


class Machine:
    """A machine with a clock of its own, on which a step takes as long as we say."""

    def __init__(self, started: float = 0.0) -> None:
        self.now = started

    def clock(self) -> float:
        return self.now

    def run(self, budget: Budget, step_s: list[float] | float, finish_s: float) -> Plan:
        """A whole training and what follows it. step_s: of each step; the last one is repeated."""
        plan = Plan(budget.steps())
        times = iter(step_s if isinstance(step_s, list) else [step_s])
        each = 0.0
        budget.begin()
        for step in itertools.count(1):
            each = next(times, each)
            self.now += each
            budget.watch(plan, step)
            if step % budget.epoch_steps == 0 or step == plan.steps:
                self.now += 1.0
                budget.judged(1.0)
            if step >= plan.steps:
                break
        self.now += finish_s
        return plan


def budget(machine: Machine, seconds: float = 120.0, step_s: float = 0.1, finish_s: float = 8.0) -> Budget:
    return Budget(seconds, 0.0, step_s, 1.0, finish_s, epoch_steps=100, clock=machine.clock)


def test_a_plan_runs_from_nothing_to_all() -> None:
    plan = Plan(4)
    assert [plan.share(step) for step in range(5)] == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize("steps", [3, 40, 1000])
def test_a_changed_plan_goes_on_where_it_was_and_still_ends_at_all(steps: int) -> None:
    plan = Plan(10)
    before = plan.share(2)
    plan.change(2, steps)
    assert plan.share(2) == before
    assert plan.share(steps) == 1
    shares = [plan.share(step) for step in range(2, steps + 1)]
    assert shares == sorted(shares)


@pytest.mark.parametrize("seconds", [30.0, 120.0, 600.0])
@pytest.mark.parametrize("factor", [0.5, 0.97, 1.0, 1.03, 1.5, 2.0, 3.0])
def test_a_budget_is_kept_on_a_machine_that_is_faster_or_slower_than_it_was_when_measured(
    seconds: float, factor: float
) -> None:
    machine = Machine(started=5.0)
    plan = machine.run(budget(machine, seconds), 0.1 * factor, 4.0 + 4.0 * max(1.0, factor))
    assert 0.85 * seconds <= machine.now <= 1.05 * seconds
    assert plan.changes > 0 or factor in (0.97, 1.0, 1.03)


@pytest.mark.parametrize("at", [0.2, 0.5, 0.8])
def test_a_budget_is_kept_when_another_process_comes_or_goes(at: float) -> None:
    for first, then in ((0.1, 0.19), (0.19, 0.1)):
        machine = Machine(started=5.0)
        steps = int(at * 120 / first)
        machine.run(budget(machine, 120.0, step_s=first), [first] * steps + [then], 8.0)
        assert 0.85 * 120 <= machine.now <= 1.05 * 120


def test_a_plan_that_ends_about_in_time_is_left_alone_so_that_it_can_be_repeated() -> None:
    machine = Machine(started=5.0)
    uneven = [0.1 + 0.02 * (step % 3 - 1) for step in range(10_000)]
    assert machine.run(budget(machine), uneven, 8.0).changes == 0


def test_no_epoch_of_a_few_steps_is_begun() -> None:
    for seconds in range(90, 140):
        over = budget(Machine(), float(seconds)).steps() % 100
        assert over == 0 or over >= 10


def test_no_more_steps_are_taken_than_do_any_good() -> None:
    machine = Machine()
    few = budget(machine)
    few.most_steps = 50
    plan = machine.run(few, 0.1, 8.0)
    assert plan.steps == 50
    assert plan.changes == 0
