from __future__ import annotations

from luthier.search.halving import SuccessiveHalving
from luthier.search.random import RandomSearch
from luthier.search.schedule import FullSchedule, MinibatchSchedule
from luthier.search.tpe import TPE
from luthier.search.trial import Strategy
from tests.search.strategy_contract import BATCH, StrategyContract
from tests.search.worlds import World, all_points


class TestRandomSearchInFull(StrategyContract):
    def strategy(self, problem: World) -> Strategy:
        return FullSchedule(RandomSearch(), problem.examples, 8)


class TestTPEInFull(StrategyContract):
    def strategy(self, problem: World) -> Strategy:
        return FullSchedule(TPE(startup=2), problem.examples, 8)


class TestRandomSearchOnMinibatches(StrategyContract):
    def strategy(self, problem: World) -> Strategy:
        return MinibatchSchedule(RandomSearch(), problem.examples, problem.blocks(5), 12, closing=2, batch=BATCH)


class TestOurSchedule(StrategyContract):
    def strategy(self, problem: World) -> Strategy:
        return MinibatchSchedule(TPE(startup=3), problem.examples, problem.blocks(4), 10, closing=2, batch=BATCH)


class TestOurScheduleWithAnchors(StrategyContract):
    def strategy(self, problem: World) -> Strategy:
        anchors = tuple(all_points(problem.space)[:3])
        return MinibatchSchedule(
            TPE(startup=3), problem.examples, problem.blocks(4), 10, closing=2, batch=BATCH, anchors=anchors
        )


class TestPaperSchedule(StrategyContract):
    def strategy(self, problem: World) -> Strategy:
        suggest = TPE(startup=3, adjust=False, explore_only=True)
        return MinibatchSchedule(suggest, problem.examples, problem.blocks(4), 10, full_every=3, first_full=True)


class TestHalvingAtRandom(StrategyContract):
    def strategy(self, problem: World) -> Strategy:
        return SuccessiveHalving(RandomSearch(), problem.examples, problem.blocks(4), 90, 2, smallest=3)
