"""What every strategy promises; subclass it and say how to make one."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.search.trial import Ask, Purpose, Strategy, Trial
from tests.lengths import examples
from tests.search.worlds import World, run, world

BATCH = 3
_QUICK = settings(
    max_examples=examples(12),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)


class StrategyContract:
    def strategy(self, problem: World) -> Strategy:
        raise NotImplementedError

    def problem(self, seed: int = 0) -> World:
        return world(seed, variables=3, levels=3, examples=12)

    @_QUICK
    @given(seed=st.integers(0, 50), batch=st.integers(1, 4))
    def test_the_same_arguments_get_the_same_answer_from_a_fresh_strategy(self, seed: int, batch: int) -> None:
        problem = self.problem(seed)
        first = run(self.strategy(problem), problem, seed=seed, batch=batch, prior=[problem.baseline()])
        second = run(self.strategy(problem), problem, seed=seed, batch=batch, prior=[problem.baseline()])
        assert first == second

    @_QUICK
    @given(data=st.data(), seed=st.integers(0, 50))
    def test_what_was_asked_before_changes_no_answer(self, data: st.DataObject, seed: int) -> None:
        problem = self.problem(seed)
        history = run(self.strategy(problem), problem, prior=[problem.baseline()])
        used = self.strategy(problem)
        cuts = data.draw(st.lists(st.integers(1, len(history)), min_size=1, max_size=6))
        for cut in cuts:
            rng = f"{seed}/{cut}"
            fresh = self.strategy(problem).ask(problem.space, history[:cut], [], random.Random(rng))
            assert used.ask(problem.space, history[:cut], [], random.Random(rng)) == fresh

    @_QUICK
    @given(shuffle=st.randoms(use_true_random=False), share=st.floats(0, 1))
    def test_the_order_in_which_trials_arrive_is_irrelevant(self, shuffle: random.Random, share: float) -> None:
        problem = self.problem(1)
        history = run(self.strategy(problem), problem, prior=[problem.baseline()])
        history = history[: 1 + int(share * (len(history) - 1))]
        mixed = list(history)
        shuffle.shuffle(mixed)
        ask = self.strategy(problem).ask
        assert ask(problem.space, mixed, [], random.Random(3)) == ask(problem.space, history, [], random.Random(3))

    def test_arguments_are_left_as_they_were(self) -> None:
        problem = self.problem()
        history: list[Trial] = [problem.baseline()]
        pending: list[Ask] = []
        self.strategy(problem).ask(problem.space, history, pending, random.Random(0))
        assert (history, pending) == ([problem.baseline()], [])

    def test_a_complete_point_is_never_asked_again(self) -> None:
        for seed in range(3):
            problem = self.problem(seed)

            def watch(history: list[Trial], pending: list[Ask], ask: Ask) -> None:
                full = {t.ask.point for t in history if t.ask.purpose is Purpose.FULL}
                assert ask.point not in full
                seen = {o.example for t in history if t.ask.point == ask.point for o in t.observations}
                assert ask.purpose is Purpose.FULL or not seen & set(ask.examples)
                assert ask.examples
                assert len(set(ask.examples)) == len(ask.examples)

            run(self.strategy(problem), problem, seed=seed, batch=BATCH, prior=[problem.baseline()], watch=watch)

    def test_the_points_of_a_batch_are_distinct(self) -> None:
        problem = self.problem()

        def watch(history: list[Trial], pending: list[Ask], ask: Ask) -> None:
            assert ask.point not in [other.point for other in pending]

        run(self.strategy(problem), problem, batch=BATCH, prior=[problem.baseline()], watch=watch)

    def test_a_tiny_space_is_used_up_and_the_search_ends(self) -> None:
        problem = world(0, variables=1, levels=2, examples=6)
        history = run(self.strategy(problem), problem, batch=2, prior=[problem.baseline()])
        full = [t.ask.point for t in history if t.ask.purpose is Purpose.FULL]
        assert len(full) == len(set(full)) <= 2

    def test_a_space_without_a_choice_asks_for_nothing_new(self) -> None:
        problem = world(0, variables=2, levels=1, examples=6)
        history = run(self.strategy(problem), problem, prior=[problem.baseline()])
        assert len(history) == 1
